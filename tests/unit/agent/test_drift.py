import pytest

from agent import state
from agent.apply import revert
from agent.drift import DIFF_BYTES, file_drift, unit_drift
from agent.state import Applied
from katgen.bundle import Artifact, artifact
from katgen.protocol import Drift
from tests.fakes import FakeNode
from tests.unit.agent.cluster import QUADLETS, TARGET, Cluster, instance, rules, target_unit

WEB = instance(0, 1)
ALL = (target_unit(), rules("one\ntwo\n"), WEB)
NFT = "/etc/kat/kat.nft"


async def in_place(*files: Artifact) -> tuple[FakeNode, Applied]:
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, *files))
    applied = state.load(node.files, state.APPLIED, Applied)
    assert applied is not None
    node.trace.clear()
    return node, applied


async def test_a_node_as_it_was_left_has_no_drift_and_only_the_disk_is_asked() -> None:
    node, applied = await in_place(*ALL)
    assert file_drift(node.files, applied) == ()
    assert {call.method.partition(".")[0] for call in node.trace.calls} == {"files"}
    assert node.trace.changes() == []


async def test_an_edited_file_is_shown_as_a_diff() -> None:
    node, applied = await in_place(*ALL)
    node.files.put(NFT, b"one\n2\n")
    assert file_drift(node.files, applied) == (
        Drift(
            "edited",
            NFT,
            diff=f"--- {NFT}\n+++ {NFT} (on this node)\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n",
        ),
    )


async def test_a_long_diff_is_cut() -> None:
    node, applied = await in_place(*ALL)
    node.files.put(NFT, b"x\n" * DIFF_BYTES)
    (found,) = file_drift(node.files, applied)
    assert len(found.diff) <= DIFF_BYTES
    assert found.diff.endswith("... (the rest is not shown)\n")


async def test_what_not_every_user_may_read_is_not_shown() -> None:
    path = "/etc/systemd/network/50-kat0.netdev"
    secret = artifact(path, "PresharedKey=abc", mode=0o640, owner="root:systemd-network")
    node, applied = await in_place(secret)
    node.files.put(path, b"PresharedKey=def", 0o640, "root:systemd-network")
    (found,) = file_drift(node.files, applied)
    assert found.diff == "(not shown: not every user may read this file)\n"


async def test_a_missing_file() -> None:
    node, applied = await in_place(*ALL)
    node.files.take(NFT)
    assert file_drift(node.files, applied) == (Drift("missing", NFT),)


async def test_another_mode() -> None:
    node, applied = await in_place(*ALL)
    node.files.put(NFT, b"one\ntwo\n", 0o600)
    assert file_drift(node.files, applied) == (
        Drift("mode", NFT, diff=f"-0644 root:root {NFT}\n+0600 root:root {NFT}\n"),
    )


async def test_a_foreign_file_among_kats_is_named_and_never_touched() -> None:
    node, applied = await in_place(*ALL)
    foreign = f"{QUADLETS}/mine.container"
    node.files.put(foreign, b"[Container]\n")
    found = file_drift(node.files, applied)
    assert found == (Drift("foreign", foreign),)
    await revert(node.ports, found)
    assert foreign in node.files.tree


async def test_a_unit_that_was_stopped_by_hand() -> None:
    node, applied = await in_place(*ALL)
    await node.systemd.stop(WEB.unit, 1)
    states = await node.systemd.states([WEB.unit, TARGET])
    assert unit_drift(applied, states, frozenset()) == (Drift("stopped", WEB.path, WEB.unit),)


async def test_a_unit_that_failed_was_not_stopped() -> None:
    node, applied = await in_place(*ALL)
    node.systemd.crash(WEB.unit)
    states = await node.systemd.states([WEB.unit, TARGET])
    assert unit_drift(applied, states, frozenset()) == ()


async def test_a_finished_run_was_not_stopped() -> None:
    node, applied = await in_place(*ALL)
    await node.systemd.stop(WEB.unit, 1)
    states = await node.systemd.states([WEB.unit, TARGET])
    assert unit_drift(applied, states, frozenset({WEB.unit})) == ()


@pytest.mark.parametrize("kind", ["edited", "missing", "mode"])
async def test_reverting_writes_a_file_again_and_has_it_taken_up(kind: str) -> None:
    node, applied = await in_place(*ALL)
    if kind == "missing":
        node.files.take(NFT)
    else:
        node.files.put(NFT, b"x" if kind == "edited" else b"one\ntwo\n", 0o600)
    await revert(node.ports, file_drift(node.files, applied))
    assert node.trace.changes() == [f"files.write {NFT}", "systemd.reload kat-nft.service"]
    assert file_drift(node.files, applied) == ()


async def test_reverting_starts_what_was_stopped_and_nothing_else() -> None:
    node, applied = await in_place(*ALL)
    await node.systemd.stop(WEB.unit, 1)
    states = await node.systemd.states([WEB.unit, TARGET])
    node.trace.clear()
    await revert(node.ports, unit_drift(applied, states, frozenset()))
    changes = [c for c in node.trace.changes() if not c.startswith("files.write /run/")]
    assert changes == [f"systemd.start {WEB.unit}"]


async def test_nothing_is_reverted_while_an_apply_is_unfinished() -> None:
    node, applied = await in_place(*ALL)
    node.files.put(state.JOURNAL, b"{}")
    node.files.put(NFT, b"of the next generation")
    await revert(node.ports, file_drift(node.files, applied))
    assert node.trace.changes() == []
