"""When leases end. What a lease is, and which keys it has, is the store's affair."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from katgen.leader.store import StoreError

RETRY_S: Final = 1.0


class LeaseClock(Protocol):
    """Time that goes on while the machine is suspended."""

    def boottime(self) -> float:
        """Return seconds since boot."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class BootClock:
    """The machine's clock, CLOCK_BOOTTIME.

    The event loop's timers stand still during suspend, so a lease may be ended late by what was
    left of it; it counts as gone at once.
    """

    def boottime(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Leases:
    """Deadlines in memory: after a restart every lease has its full time again.

    `end` deletes a lease with its keys; it may be called twice for one lease.
    """

    def __init__(self, clock: LeaseClock, end: Callable[[int], Awaitable[None]]) -> None:
        self._clock, self._end = clock, end
        self._times: dict[int, float] = {}
        self._deadlines: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._wakes_at = 0.0

    def now(self) -> float:
        """Return the time that leases are counted in."""
        return self._clock.boottime()

    def add(self, lease: int, ttl_s: float, since: float | None = None) -> None:
        """Let a lease's time begin, now or at some `now` before."""
        self._times[lease] = ttl_s
        begin = self._clock.boottime() if since is None else since
        deadline = self._deadlines[lease] = begin + ttl_s
        if self._task and not self._task.done():
            if deadline >= self._wakes_at:
                return
            self._task.cancel()
        self._task = asyncio.create_task(self._run(), name="store leases")

    def is_known(self, lease: int) -> bool:
        """Whether a lease is counted here."""
        return lease in self._times

    def is_alive(self, lease: int) -> bool:
        """Whether a lease exists and its time has not passed."""
        return self._deadlines.get(lease, 0) > self._clock.boottime()

    def renew(self, lease: int, since: float | None = None) -> bool:
        """Start its time anew, now or at some `now` before; False if it is gone."""
        if not self.is_alive(lease):
            return False
        begin = self._clock.boottime() if since is None else since
        self._deadlines[lease] = begin + self._times[lease]
        return True

    def drop(self, lease: int) -> None:
        """Forget a lease."""
        self._deadlines.pop(lease, None)
        self._times.pop(lease, None)

    async def close(self) -> None:
        """End no lease any more."""
        self._deadlines.clear()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._deadlines:
            lease = min(self._deadlines, key=self._deadlines.__getitem__)
            deadline = self._deadlines[lease]
            left = deadline - self._clock.boottime()
            if left > 0:
                self._wakes_at = deadline
                await self._clock.sleep(left)
                continue
            self._wakes_at = 0.0
            try:
                await self._end(lease)
            except StoreError:
                await self._clock.sleep(RETRY_S)
            else:
                self.drop(lease)
