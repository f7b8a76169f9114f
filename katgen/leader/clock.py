"""Time, as the leader needs it."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Time. `monotonic` never jumps."""

    def now(self) -> float:
        """Return Unix seconds."""

    def monotonic(self) -> float:
        """Return seconds since some moment."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def until_first(
    clock: Clock, within_s: float | None, **waits: Coroutine[Any, Any, object]
) -> None:
    """Wait until the first of these ends, whatever it ends with; the others are cancelled.

    So long at most, unless it is None. Their tasks have the names by which they are given.
    """
    tasks = [asyncio.create_task(one, name=name) for name, one in waits.items()]
    if within_s is not None:
        tasks.append(asyncio.create_task(clock.sleep(within_s), name="late"))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def shown_time(seconds: float) -> str:
    """Return Unix seconds as RFC 3339, whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
