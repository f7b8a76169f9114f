import pytest

from agent.ports import UnfitError
from agent.status import Now, Status
from katgen.bundle import Activation, Artifact, artifact
from katgen.names import InstanceKey
from katgen.protocol import Complaint, Report, UnitReport
from tests.fakes import FakeNode
from tests.unit.agent.cluster import IMAGE, NODE, TARGET, Cluster, instance, target_unit

WEB = instance(0, 1)


async def in_place(*files: Artifact, node: FakeNode | None = None) -> tuple[FakeNode, Status]:
    node, cluster = node or FakeNode(), Cluster()
    node.podman.local[IMAGE] = "sha256:1"
    await cluster.apply(node.ports, cluster.target(3, *files))
    node.trace.clear()
    return node, Status(node.ports, NODE)


async def test_a_node_that_runs_what_it_shall_is_in_sync() -> None:
    _, status = await in_place(target_unit(), WEB)
    report = await status.report(Now())
    assert (report.sync, report.epoch, report.generation, report.held) == ("in sync", 1, 3, False)
    assert [(u.unit, u.instance, u.active_state) for u in report.units] == [
        (TARGET, "", "active"),
        (WEB.unit, "shop/web/0-1", "active"),
    ]


async def test_before_anything_is_applied_there_is_nothing_to_say() -> None:
    report = await Status(FakeNode().ports, NODE).report(Now())
    assert (report.epoch, report.generation, report.units) == (0, 0, ())


async def test_restarts_are_those_of_systemd_and_those_for_want_of_life() -> None:
    node, _ = await in_place(WEB)
    status = Status(node.ports, NODE, lambda: {InstanceKey("shop/web/0-1"): 2})
    assert [one.restarts for one in (await status.report(Now())).units] == [2]


async def test_a_failure_comes_with_its_last_lines_read_once() -> None:
    node, status = await in_place(WEB)
    node.journal.write(WEB.unit, "cannot bind")
    node.systemd.crash(WEB.unit, exit_code=3)
    report = await status.report(Now())
    await status.report(Now())
    unit = report.units[0]
    assert (unit.active_state, unit.exit_code, unit.lines) == ("failed", 3, ("cannot bind",))
    assert report.sync == "degraded"
    assert len(node.trace.texts("journal.tail")) == 1


async def test_only_what_changed_is_asked_for_again() -> None:
    node, status = await in_place(WEB, instance(1, 2))
    await status.report(Now())
    node.trace.clear()
    await status.report(Now(), changed=[])
    assert node.trace.texts("systemd.") + node.trace.texts("podman.") == []
    await status.report(Now(), changed=[WEB.unit])
    assert node.trace.texts("systemd.") == ["systemd.states 1 units"]


async def test_a_run_that_systemd_has_forgotten_is_known_by_its_mark() -> None:
    node, status = await in_place(instance(0, 1, workload="job"))
    await node.systemd.stop("kat.shop.job.0-1.service", 1)
    node.files.put("/var/lib/kat/runs/kat.shop.job.0-1")
    report = await status.report(Now())
    assert report.units == (
        UnitReport(
            "kat.shop.job.0-1.service",
            report.units[0].instance,
            active_state="inactive",
            sub_state="exited",
        ),
    )
    assert status.over() == {"kat.shop.job.0-1.service"}


async def test_the_digest_of_an_image_is_that_of_the_registry() -> None:
    pinned = "registry.example/web@sha256:abc"
    text = WEB.content.replace(IMAGE.encode(), pinned.encode())
    node = FakeNode()
    node.podman.local[pinned] = "sha256:abc"
    _, status = await in_place(
        artifact(WEB.path, text, activation=Activation.START, unit=WEB.unit), node=node
    )
    assert (await after_a_look(status)).units[0].image_digest == "sha256:abc"


async def test_health_is_that_of_the_container() -> None:
    node, status = await in_place(WEB)
    node.podman.ail("kat.shop.web.0-1", "unhealthy")
    assert (await after_a_look(status)).units[0].health == "unhealthy"


async def test_a_report_does_not_wait_for_podman() -> None:
    node, status = await in_place(WEB)
    node.trace.fail("podman.containers", UnfitError("podman does not answer"))
    assert (await status.report(Now())).units[0].active_state == "active"
    with pytest.raises(UnfitError):
        await status.look_at_containers()
    assert await status.look_at_containers(), "it is due until it has succeeded"


async def after_a_look(status: Status) -> Report:
    """Return a second report, after Podman has been asked."""
    await status.report(Now())
    assert await status.look_at_containers()
    assert not await status.look_at_containers()
    return await status.report(Now(), ())


async def test_what_keeps_a_node_from_following_is_reported() -> None:
    _, status = await in_place(WEB)
    problem = Complaint("", "the disk is full")
    report = await status.report(Now(problems=(problem,)))
    assert (report.sync, report.problems) == ("degraded", (problem,))


async def test_while_files_change_the_node_is_applying() -> None:
    _, status = await in_place(WEB)
    assert (await status.report(Now(applying=True))).sync == "applying"
