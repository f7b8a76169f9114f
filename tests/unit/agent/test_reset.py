"""What `reset` takes away, and what it never touches."""

import pytest

from agent import state
from agent.ports import Ran, UnfitError, UnitError
from agent.reset import remove_all
from tests.fakes import FakeNode
from tests.unit.agent.cluster import IMAGE, Cluster, instance, rules, target_unit
from tests.unit.agent.leader import CONFIG

OTHERS = {
    "/etc/systemd/system/katze.service": b"[Service]\n",
    "/etc/systemd/system/web.service": b"[Service]\n",
    "/etc/systemd/network/10-host0.network": b"",
    "/etc/containers/systemd/own.container": b"",
    "/etc/kat/policy": b"",
    "/etc/tmpfiles.d/other.conf": b"",
    "/var/lib/kat/volumes/shop/web/data/0/file": b"data",
    "/var/lib/kat/backups/1": b"backup",
    "/etc/systemd/system/kat-controller.service": b"[Service]\n",
    "/etc/systemd/system/kat-controller.service.d/own.conf": b"",
    "/etc/systemd/network/50-katalog.network": b"",
    "/var/lib/kat/data/shop/web/data/0/file": b"data in another volumeBasePath",
}
OWN = {
    "/etc/systemd/system/kat-shop.slice": b"[Slice]\n",
    "/etc/systemd/system/kat-agent.service.d/own.conf": b"",
    "/var/lib/kat/runs/kat.shop.job.0-1": b"",
    "/etc/systemd/system/kat-agent.service": b"[Service]\n",
    "/etc/systemd/system/kat.target.d/default.conf": b"",
    "/etc/systemd/system/multi-user.target.d/kat.conf": b"",
    "/etc/systemd/network/50-kat-br0.netdev": b"",
    "/etc/systemd/network/50-kat0.netdev.d/b.conf": b"",
    "/etc/containers/networks/kat.json": b"{}",
    "/etc/kat/services/shop.nft": b"",
    "/run/kat/staged/2/x": b"",
    "/var/lib/kat/leader/cluster.json": b"{}",
}


async def node_with_kat() -> FakeNode:
    node = FakeNode()
    node.podman.local[IMAGE] = ""
    cluster = Cluster()
    await cluster.apply(node.ports, cluster.target(1, rules(), target_unit(), instance(0, 1)))
    state.save(node.files, state.NODE, CONFIG)
    for path, content in {**OTHERS, **OWN}.items():
        node.files.put(path, content)
    node.tools.answers["ip"] = lambda *_: Ran(1, "", "Device does not exist.")
    node.trace.clear()
    return node


def left(node: FakeNode) -> dict[str, bytes]:
    """Return the files that are no part of the machine itself."""
    return {
        path: file.content
        for path, file in node.files.tree.items()
        if not path.startswith(("/usr/", "/proc/"))
    }


async def test_everything_of_kat_goes_and_nothing_else() -> None:
    node = await node_with_kat()
    assert await remove_all(node.ports, volumes=False) == []
    assert left(node) == OTHERS
    assert node.podman.running == {}
    assert [unit for unit in node.systemd.units if unit.startswith("kat.")] == []


async def test_volumes_go_only_if_asked_for() -> None:
    node = await node_with_kat()
    await remove_all(node.ports, volumes=True)
    assert [path for path in left(node) if "volumes" in path] == []
    assert "/var/lib/kat/backups/1" in left(node)
    assert "/var/lib/kat/data/shop/web/data/0/file" in left(node)


async def test_what_runs_is_stopped_before_its_file_goes() -> None:
    node = await node_with_kat()
    await remove_all(node.ports, volumes=False)
    calls = node.trace.changes()
    stop = calls.index("systemd.stop kat.shop.web.0-1.service")
    deletions = [n for n, c in enumerate(calls) if c.startswith("files.delete")]
    assert stop < min(deletions)


async def test_if_something_does_not_stop_nothing_is_deleted() -> None:
    node = await node_with_kat()
    node.systemd.hanging.add("kat.shop.web.0-1.service")
    before = left(node)
    with pytest.raises(UnfitError, match=r"kat\.shop\.web\.0-1\.service"):
        await remove_all(node.ports, volumes=False)
    assert left(node) == before


async def test_a_second_reset_finds_nothing_to_do_and_is_fine() -> None:
    node = await node_with_kat()
    await remove_all(node.ports, volumes=False)
    assert await remove_all(node.ports, volumes=False) == []


@pytest.mark.parametrize("name", ["applied.json", "journal.json", "node.json", "trust.json"])
async def test_damaged_state_is_no_hindrance(name: str) -> None:
    node = await node_with_kat()
    node.files.put(f"{state.AGENT}/{name}", b"{damaged")
    assert await remove_all(node.ports, volumes=False) == []
    assert left(node) == OTHERS


async def test_what_could_not_be_removed_is_said_and_the_rest_goes() -> None:
    node = await node_with_kat()
    node.trace.fail("podman.containers", UnfitError("podman does not answer"))
    assert await remove_all(node.ports, volumes=False) == ["podman does not answer"]
    assert state.NODE in left(node)
    assert "/etc/systemd/network/50-kat-br0.netdev" not in left(node)


@pytest.mark.parametrize("at", ["/var/lib/kat/volumes", "/var/lib/kat/volumes/shop/web/data"])
async def test_no_volume_is_deleted_through_a_mount(at: str) -> None:
    node = await node_with_kat()
    mount = f"36 35 0:30 / {at} rw - nfs nas:/x rw\n".encode()
    node.files.put("/proc/self/mountinfo", mount)
    [text] = await remove_all(node.ports, volumes=True)
    assert text.startswith(f"{at} is a mount")
    assert "/var/lib/kat/volumes/shop/web/data/0/file" in left(node)


async def test_a_container_that_only_has_such_a_name_is_left_alone() -> None:
    node = await node_with_kat()
    node.podman.intrude("kat.mine")
    await remove_all(node.ports, volumes=False)
    assert list(node.podman.running) == ["kat.mine"]


async def test_rules_that_stay_are_said_and_the_rest_goes() -> None:
    node = await node_with_kat()
    node.tools.refusals["nft"] = "Error: Operation not permitted"
    (problem,) = await remove_all(node.ports, volumes=False)
    assert problem.startswith("nft delete table inet kat: Error: Operation not permitted")
    assert "/etc/systemd/network/50-kat-br0.netdev" not in left(node)


async def test_a_unit_that_fails_at_the_end_is_said_and_the_rest_goes() -> None:
    node = await node_with_kat()
    node.trace.fail("systemd.stop kat-nft.service", UnitError("kat-nft.service", "failed"))
    assert await remove_all(node.ports, volumes=False) == ["kat-nft.service: failed"]
    assert "/etc/systemd/network/50-kat-br0.netdev" not in left(node)
