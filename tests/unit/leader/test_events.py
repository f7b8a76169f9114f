import asyncio

from katgen.leader import events
from katgen.leader.answers import Generation
from katgen.leader.events import Chronicle, Happening
from katgen.leader.store import TooLargeError, Transaction
from katgen.leader.store.memory import MemoryStore
from tests.fakes.agents import TurnedClock

PULL = Happening("default", "Workload", "web", "ImagePullFailed", "manifest unknown")


async def test_what_happens_again_is_counted_and_not_repeated() -> None:
    clock = TurnedClock()
    chronicle = Chronicle(MemoryStore(), clock)
    chronicle.record(PULL)
    clock.turn(60)
    chronicle.record(PULL)
    (event,) = await chronicle.events("default", "web")
    assert (event.count, event.first, event.last) == (
        2,
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:01:00Z",
    )


async def test_events_outlive_the_leader() -> None:
    store, clock = MemoryStore(), TurnedClock()
    chronicle = Chronicle(store, clock)
    chronicle.record(PULL, PULL)
    await chronicle.flush()
    other = Chronicle(store, clock)
    await other.load()
    other.record(PULL)
    await other.flush()
    assert [one.count for one in await other.events()] == [3]
    assert len((await store.list("events/")).items) == 1


async def test_the_oldest_events_make_room() -> None:
    store = MemoryStore()
    chronicle = Chronicle(store, TurnedClock())
    for number in range(events.EVENTS_MAX + 5):
        chronicle.record(Happening("default", "Workload", f"w{number}", "Started", ""))
    found = await chronicle.events()
    assert (len(found), found[0].name) == (events.EVENTS_MAX, "w5")


async def test_what_agents_say_at_length_is_cut_before_it_is_kept() -> None:
    store = MemoryStore()
    chronicle = Chronicle(store, TurnedClock())
    huge = "x" * 2_000_000
    chronicle.record(Happening("", "Node", "a", huge, huge, huge))
    await chronicle.flush()
    (stored,) = (await store.list("events/")).items
    assert len(stored.value) < 2000


async def test_an_event_that_the_store_does_not_take_stops_no_other() -> None:
    class Picky(MemoryStore):
        async def commit(self, transaction: Transaction) -> int:
            if any(b"manifest unknown" in value for value in transaction.puts.values()):
                raise TooLargeError("too large")
            return await super().commit(transaction)

    store, clock = Picky(), TurnedClock()
    chronicle = Chronicle(store, clock)
    writing = asyncio.create_task(chronicle.run())
    chronicle.record(PULL)
    await turned_until_written(clock, chronicle)
    chronicle.record(Happening("default", "Workload", "web", "Started", "web/0-1 runs"))
    await turned_until_written(clock, chronicle)
    assert not writing.done()
    assert [b"Started" in one.value for one in (await store.list("events/")).items] == [True]
    writing.cancel()


async def turned_until_written(clock: TurnedClock, chronicle: Chronicle) -> None:
    async with asyncio.timeout(5):
        while chronicle._unwritten:  # noqa: SLF001 -- nothing else tells that it has been tried
            for _ in range(5):
                await asyncio.sleep(0)
            clock.turn(1)


def test_a_plan_that_changes_everything_fits_into_the_store() -> None:
    names = tuple(f"namespace-{n}/{'w' * 60}" for n in range(50_000))
    writes = events.generation_write(Generation(7, "2027-01-15T08:00:00Z", "d", names))
    assert len(writes.puts["generations/00000007"]) < 100_000
