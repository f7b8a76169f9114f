import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from katgen.protocol import Facts, Usage, Versions
from tests.fakes.trace import Trace

VERSIONS = Versions("0.1.0", "257", "5.4.2", "1.14.0", "1.1.3", "6.12.0")


@dataclass(slots=True)
class FakeMachine:
    trace: Trace = field(default_factory=Trace)
    told: Facts = field(default_factory=lambda: Facts(2000, 4 << 30, versions=VERSIONS))
    used: dict[str, Usage] = field(default_factory=dict)
    boot: str = "boot-1"

    async def facts(self) -> Facts:
        self.trace.note("machine.facts")
        return self.told

    async def usage(self, units: Sequence[str]) -> Sequence[Usage]:
        self.trace.note("machine.usage")
        return tuple(self.used[unit] for unit in units if unit in self.used)

    def boot_id(self) -> str:
        return self.boot


@dataclass(slots=True)
class FakeClock:
    """Time stands still until a test moves it; who sleeps is woken in order."""

    boot_s: float = 1000
    unix_s: float = 1_700_000_000
    _sleepers: "list[tuple[float, int, asyncio.Future[None]]]" = field(default_factory=list)
    _count: int = 0

    def boottime(self) -> float:
        return self.boot_s

    def now(self) -> float:
        return self.unix_s

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.boot_s + seconds, self._count, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass; returns when those who were woken have had a turn."""
        until = self.boot_s + seconds
        await _turns()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, woken = heapq.heappop(self._sleepers)
            self._move(at)
            if not woken.done():
                woken.set_result(None)
            await _turns()
        self._move(until)

    def _move(self, to: float) -> None:
        self.unix_s += max(0, to - self.boot_s)
        self.boot_s = max(self.boot_s, to)


async def _turns() -> None:
    """Give every task that can run a few turns."""
    for _ in range(20):
        await asyncio.sleep(0)
