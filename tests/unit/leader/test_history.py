"""What a rollback may go to: versions that nodes have run."""

from katgen.leader import history
from katgen.leader.documents import ObjectKey
from katgen.names import WorkloadKey
from tests.fakes.agents import Box, leader
from tests.unit.leader.given import workload

WEB = WorkloadKey("default/web")
BAD = "docker.io/library/nginx:nosuch"


def version(n: int, extra: str = "") -> str:
    return workload(image=f"localhost/web:{n}", extra=extra)


async def past(box: Box) -> list[tuple[int, str]]:
    """Return number and image of every version that a rollback may go to."""
    now = history.current(WEB, (await box.objects.snapshot()).objects)
    found = await history.past(box.store, WEB, now)
    return [(one.n, one.objects["Workload"]["spec"]["source"]["image"]) for one in found]


async def test_a_version_that_ran_and_was_replaced_is_kept() -> None:
    async with leader() as box, box.agent():
        for n in (1, 2):
            await box.settled(await box.apply(version(n)))
        await box.settled(await box.apply(version(2, "replicas: 5")))
        assert await past(box) == [(1, "localhost/web:1")]


async def test_a_version_that_never_ran_is_not_gone_back_to() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "! manifest unknown"
        await box.settled(await box.apply(version(1)))
        await box.settled(await box.apply(workload(image=BAD)))
        assert await past(box) == [(1, "localhost/web:1")]
        await box.settled(await box.apply(version(2)))
        assert await past(box) == [(1, "localhost/web:1")]


async def test_history_has_its_limit() -> None:
    async with leader() as box, box.agent():
        for n in range(1, 6):
            await box.settled(await box.apply(version(n, "revisionHistoryLimit: 2")))
        assert await past(box) == [(3, "localhost/web:3"), (4, "localhost/web:4")]


async def test_without_a_limit_s_room_nothing_is_kept() -> None:
    async with leader() as box, box.agent():
        for n in (1, 2):
            await box.settled(await box.apply(version(n, "revisionHistoryLimit: 0")))
        assert await past(box) == []


async def test_history_goes_with_the_workload() -> None:
    async with leader() as box, box.agent():
        for n in (1, 2):
            await box.settled(await box.apply(version(n)))
        gone = await box.objects.delete([ObjectKey("Workload", "default", "web")])
        await box.settled(gone.revision)
        assert (await box.store.list("history/")).items == ()
        assert (await box.store.list("accepted/")).items == ()
