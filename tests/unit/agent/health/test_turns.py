"""Whose turn it is to make a check."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from agent.health.turns import Turns

NEVER_S = 3600.0
SOON_S = 5


@asynccontextmanager
async def hanging(turns: Turns, *namespaces: str) -> AsyncIterator[Callable[[], list[str]]]:
    """Have one check for each that never ends; yields who has a turn."""
    having: list[str] = []

    async def hang(namespace: str) -> None:
        async with turns.turn(namespace):
            having.append(namespace)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hang(one)) for one in namespaces]
    for _ in range(3):
        await asyncio.sleep(0)
    yield lambda: having
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def passes(turns: Turns, namespace: str) -> bool:
    async def once() -> None:
        async with turns.turn(namespace):
            pass

    try:
        await asyncio.wait_for(once(), SOON_S)
    except TimeoutError:
        return False
    return True


async def test_who_hangs_delays_its_own_namespace_alone() -> None:
    turns = Turns(at_once=4, share=2, slow_s=NEVER_S)
    async with hanging(turns, *["shop"] * 10) as having:
        assert having() == ["shop", "shop"]
        assert await passes(turns, "vault")


async def test_many_namespaces_that_hang_make_room_after_a_while() -> None:
    turns = Turns(at_once=2, share=2, slow_s=0.01)
    async with hanging(turns, "a", "b", "c", "d"):
        assert await passes(turns, "vault")


async def test_there_are_no_more_at_once_than_there_may_be() -> None:
    turns = Turns(at_once=2, share=2, slow_s=NEVER_S)
    async with hanging(turns, "a", "b", "c", "d") as having:
        assert having() == ["a", "b"]


async def test_who_was_slow_makes_room_once() -> None:
    turns = Turns(at_once=1, share=1, slow_s=0.001)
    for _ in range(3):
        async with turns.turn("a"):
            await asyncio.sleep(0.01)
    slow = Turns(at_once=1, share=1, slow_s=NEVER_S)
    turns._slow_s = slow._slow_s  # noqa: SLF001 -- from now on nobody is slow
    async with hanging(turns, "a", "b") as having:
        assert having() == ["a"]
