"""Whose turn it is to make a check: slow ones delay those of their own namespace alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Share:
    """What one namespace may have at once; `users` are those that have it or wait for it."""

    turns: asyncio.Semaphore
    users: int = 0


class Turns:
    """So many checks at once, of one namespace at most `share`, each in the order of coming.

    A check that takes longer than `slow_s` goes on, but makes room for another namespace's: it
    counts to the share of its own alone. So there may be more than `at_once`, of those that hang.
    """

    def __init__(self, at_once: int, share: int, slow_s: float) -> None:
        self._all = asyncio.Semaphore(at_once)
        self._share, self._slow_s = share, slow_s
        self._shares: dict[str, _Share] = {}

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it as long as the context lasts."""
        mine = self._shares.setdefault(namespace, _Share(asyncio.Semaphore(self._share)))
        mine.users += 1
        try:
            async with mine.turns, self._room():
                yield
        finally:
            mine.users -= 1
            if not mine.users:
                del self._shares[namespace]

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        await self._all.acquire()
        has_left = False

        def leave() -> None:
            nonlocal has_left
            if not has_left:
                has_left = True
                self._all.release()

        slow = asyncio.get_running_loop().call_later(self._slow_s, leave)
        try:
            yield
        finally:
            slow.cancel()
            leave()
