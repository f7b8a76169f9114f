"""Time."""

import asyncio
import time


class SystemClock:
    """The kernel's clocks."""

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME, which goes on during suspend."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
