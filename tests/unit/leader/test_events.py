from katgen.leader import events
from katgen.leader.events import Chronicle, Happening
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
