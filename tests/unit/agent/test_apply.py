import pytest

from agent import state
from agent.apply import Outcome, apply, resume
from agent.ports import UnfitError, UnitError
from agent.start_units import FailedUnit
from agent.target import kept, kept_folders
from katgen.bundle import Activation, Artifact, artifact
from katgen.diff import Action, Verb
from tests.fakes import FakeNode
from tests.unit.agent.cluster import (
    QUADLETS,
    TARGET,
    Cluster,
    instance,
    rules,
    target_unit,
    zone,
)

WEB1, WEB2 = instance(0, 1), instance(0, 2, activation=Activation.STOP_FIRST)
BOOKKEEPING = (
    "files.write /var/lib/kat/",
    "files.delete /var/lib/kat/",
    "files.delete_tree",
    "files.write /run/kat/",
)


async def in_place(*files: Artifact) -> tuple[FakeNode, Cluster]:
    """Return a node on which a first generation is applied."""
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, *files))
    node.trace.clear()
    return node, cluster


def steps(node: FakeNode) -> list[str]:
    """Return what was changed on the node, without the agent's own files."""
    return [step for step in node.trace.changes() if not step.startswith(BOOKKEEPING)]


async def test_a_first_apply_writes_then_has_rules_loaded_then_starts() -> None:
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, rules(), target_unit(), WEB1)
    cluster.put_contents(node.ports)
    node.trace.clear()
    await apply(target, node.ports)
    assert steps(node) == [
        f"files.write {WEB1.path}",
        "files.write /etc/kat/kat.nft",
        f"files.write /etc/systemd/system/{TARGET}",
        "systemd.reload kat-nft.service",
        "systemd.daemon_reload",
        f"files.write /run/systemd/system/{WEB1.unit}",
        f"systemd.begin {TARGET}",
        f"systemd.start {WEB1.unit}",
    ]
    assert list(node.podman.running) == ["kat.shop.web.0-1"]


async def test_a_second_pass_writes_nothing_and_asks_nobody() -> None:
    node, cluster = await in_place(rules(), target_unit(), WEB1)
    assert await apply(cluster.target(1, rules(), target_unit(), WEB1), node.ports) == Outcome()
    assert node.trace.changes() == []
    assert node.trace.texts("systemd.") == []
    assert node.trace.texts("podman.") == []
    assert node.trace.texts("tools.") == []


async def test_a_generation_that_changes_nothing_here_is_only_remembered() -> None:
    node, cluster = await in_place(WEB1)
    await apply(cluster.target(2, WEB1), node.ports)
    assert node.trace.changes() == [
        "files.write /var/lib/kat/agent/high-water.json",
        "files.write /var/lib/kat/agent/applied.json",
        "files.delete_tree /run/kat/staged/2",
    ]
    assert node.trace.texts("systemd.") == []


async def test_a_first_generation_without_files_is_kept_like_any_other() -> None:
    node, _ = await in_place()
    assert kept_folders(node.files) == ("1-1",)
    assert kept(node.files, "1-1").entries == {}


async def test_a_new_instance_starts_without_a_reload() -> None:
    node, cluster = await in_place(target_unit(), WEB1)
    second = instance(1, 2)
    await cluster.apply(node.ports, cluster.target(2, target_unit(), WEB1, second))
    assert steps(node) == [
        f"files.write {second.path}",
        f"files.write /run/systemd/system/{second.unit}",
        f"systemd.start {second.unit}",
    ]


async def test_the_service_names_the_file_that_stays() -> None:
    node, _ = await in_place(WEB1)
    text = node.files.tree[f"/run/systemd/system/{WEB1.unit}"].content.decode()
    assert f"SourcePath={WEB1.path}\n" in text
    assert "/run/kat" not in text


async def test_a_replacement_starts_when_its_predecessor_is_gone() -> None:
    node, cluster = await in_place(WEB1)
    await cluster.apply(node.ports, cluster.target(2, WEB2))
    assert steps(node) == [
        f"systemd.stop {WEB1.unit}",
        f"files.delete {WEB1.path}",
        f"files.delete /run/systemd/system/{WEB1.unit}",
        f"systemd.reset_failed {WEB1.unit}",
        f"files.write {WEB2.path}",
        f"files.write /run/systemd/system/{WEB2.unit}",
        f"systemd.start {WEB2.unit}",
    ]


async def test_a_container_that_outlives_its_unit_is_removed_before_its_file() -> None:
    node, cluster = await in_place(WEB1)
    node.systemd.effects[f"stop {WEB1.unit}"] = lambda: node.podman.appear(
        "kat.shop.web.0-1", "kat.shop.web.0-1.service"
    )
    node.files.put(f"/run/systemd/system/{WEB1.unit}", b"[Service]\nExecStart=/bin/true\n")
    await node.ports.systemd.daemon_reload()
    node.trace.clear()
    await cluster.apply(node.ports, cluster.target(2))
    assert steps(node)[:3] == [
        f"systemd.stop {WEB1.unit}",
        "podman.remove kat.shop.web.0-1",
        f"files.delete {WEB1.path}",
    ]


async def test_a_unit_that_does_not_stop_keeps_its_file_and_its_successor_waits() -> None:
    node, cluster = await in_place(WEB1)
    node.trace.fail(f"systemd.stop {WEB1.unit}", UnitError(WEB1.unit, "timeout"))
    with pytest.raises(UnfitError, match=r"kat.shop.web.0-1.service does not stop: timeout"):
        await cluster.apply(node.ports, cluster.target(2, WEB2))
    assert WEB1.path in node.files.tree
    assert f"systemd.start {WEB2.unit}" not in node.trace.changes()


async def test_a_unit_that_fails_to_start_is_reported_and_stops_no_other() -> None:
    node, cluster = FakeNode(), Cluster()
    other = instance(1, 1)
    node.systemd.failing[WEB1.unit] = "exit-code"
    node.journal.write(WEB1.unit, "no such file")
    outcome = await cluster.apply(node.ports, cluster.target(1, WEB1, other))
    assert outcome.failed == (FailedUnit(WEB1.unit, "failed", ("no such file",)),)
    assert list(node.podman.running) == ["kat.shop.web.1-1"]


async def test_a_journal_that_does_not_answer_keeps_no_apply_from_its_end() -> None:
    node, cluster = FakeNode(), Cluster()
    node.systemd.failing[WEB1.unit] = "exit-code"
    node.trace.fail("journal.tail", UnfitError("journalctl has not ended after 10 s"))
    outcome = await cluster.apply(node.ports, cluster.target(1, WEB1))
    assert [one.unit for one in outcome.failed] == [WEB1.unit]
    assert node.files.stat(state.JOURNAL) is None


async def test_a_job_is_begun_and_not_waited_for() -> None:
    node, cluster = FakeNode(), Cluster()
    job = instance(0, 1, workload="job", more="[Service]\nType=oneshot\n")
    node.systemd.slow.add(job.unit)
    outcome = await cluster.apply(node.ports, cluster.target(1, job))
    assert f"systemd.begin {job.unit}" in node.trace.changes()
    assert outcome.waiting == ()


async def test_an_instances_file_is_written_once() -> None:
    node, cluster = await in_place(WEB1)
    again = instance(0, 1, more="Label=rendered=again")
    await cluster.apply(node.ports, cluster.target(2, again))
    assert node.files.tree[WEB1.path].content == WEB1.content
    assert steps(node) == []
    applied = state.load(node.files, state.APPLIED, state.Applied)
    assert applied is not None
    assert [entry.digest for entry in applied.entries] == [WEB1.digest]


async def test_rules_that_cannot_be_loaded_are_reported_and_the_rest_goes_on() -> None:
    node, cluster = FakeNode(), Cluster()
    node.trace.fail("systemd.reload", UnitError("kat-nft.service", "failed"))
    outcome = await cluster.apply(node.ports, cluster.target(1, rules(), WEB1))
    assert [(c.tool, c.text) for c in outcome.problems] == [
        ("kat-nft.service", "kat-nft.service: failed")
    ]
    assert f"systemd.start {WEB1.unit}" in node.trace.changes()


async def test_the_rules_of_a_namespace_that_leaves_are_gone_when_rules_are_loaded() -> None:
    shop = artifact("/etc/kat/services/shop.nft", "# shop", activation=Activation.NFT)
    node, cluster = await in_place(rules(), shop)
    await cluster.apply(node.ports, cluster.target(2, rules()))
    assert steps(node) == [
        "files.delete /etc/kat/services/shop.nft",
        "systemd.reload kat-nft.service",
    ]


async def test_names_are_written_also_where_nobody_serves_them_yet() -> None:
    node, _ = await in_place(zone())
    assert zone().path in node.files.tree
    assert node.trace.texts("systemd.reload kat-dns") == []


async def test_damaged_content_changes_nothing() -> None:
    node, cluster = await in_place(WEB1)
    target = cluster.target(2, WEB2)
    cluster.put_contents(node.ports)
    node.files.put(state.content_path(WEB2.digest), WEB2.content.replace(b"0", b"1", 1))
    node.trace.clear()
    with pytest.raises(UnfitError, match="is damaged: its digest is another"):
        await apply(target, node.ports)
    assert node.trace.changes() == []


async def test_a_generator_that_fails_changes_nothing_that_runs() -> None:
    node, cluster = await in_place(WEB1)
    node.tools.missing |= {"quadlet", "podman-system-generator"}
    with pytest.raises(UnfitError, match="is not installed"):
        await cluster.apply(node.ports, cluster.target(2, WEB2))
    assert WEB2.path not in node.files.tree
    assert list(node.podman.running) == ["kat.shop.web.0-1"]


async def test_damaged_memory_of_what_is_applied_is_not_taken_for_none() -> None:
    node, cluster = await in_place(WEB1)
    node.files.put(state.APPLIED, b"{}")
    with pytest.raises(UnfitError, match=r"applied.json is damaged"):
        await cluster.apply(node.ports, cluster.target(2))
    assert list(node.podman.running) == ["kat.shop.web.0-1"]


async def test_a_unit_that_left_and_is_held_by_its_target_is_forgotten_by_a_reload_at_the_end() -> (
    None
):
    node, cluster = await in_place(WEB1)
    node.systemd.held.add(WEB1.unit)
    outcome = await cluster.apply(node.ports, cluster.target(2))
    assert outcome.actions[-1] == Action(
        Verb.DAEMON_RELOAD, because="systemd forgets units that left"
    )
    assert node.systemd.units == {}


async def test_resume_has_nothing_to_do_after_a_whole_apply() -> None:
    node, _ = await in_place(WEB1)
    assert await resume(node.ports) is None
    assert list(node.podman.running) == ["kat.shop.web.0-1"]


async def test_resume_removes_a_container_that_no_unit_runs() -> None:
    node, _ = await in_place(WEB1)
    node.podman.appear("kat.shop.old.0-1", "kat.shop.old.0-1.service")
    await resume(node.ports)
    assert list(node.podman.running) == ["kat.shop.web.0-1"]


@pytest.mark.parametrize(
    ("unit", "labels"),
    [
        ("", {}),
        ("", {"kat.instance": "0-1"}),
        ("kat.mine.service", {}),
        ("mine.service", {"kat.instance": "0-1"}),
    ],
)
async def test_a_container_that_is_not_kats_is_left_alone(
    unit: str, labels: dict[str, str]
) -> None:
    node, cluster = await in_place(WEB1)
    node.podman.intrude("kat.mine", unit, **labels)
    await resume(node.ports)
    await cluster.apply(node.ports, cluster.target(2))
    assert list(node.podman.running) == ["kat.mine"]


async def test_paths_of_quadlets_are_where_podman_looks() -> None:
    node, _ = await in_place(WEB1)
    assert list(node.files.below(QUADLETS)) == [WEB1.path]
