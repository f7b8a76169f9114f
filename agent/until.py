"""Waiting with a deadline on the node's own clock."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agent.ports import Clock


async def first_of(clock: Clock, seconds: float, event: Coroutine[Any, Any, object]) -> None:
    """Wait for something, no longer than this; it is cancelled then. Raises what it raises."""
    waiting = asyncio.create_task(event, name="an event")
    deadline = asyncio.create_task(clock.sleep(seconds), name="its deadline")
    try:
        done, _ = await asyncio.wait({waiting, deadline}, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done:
            waiting.result()
    finally:
        waiting.cancel()
        deadline.cancel()
        await asyncio.gather(waiting, deadline, return_exceptions=True)
