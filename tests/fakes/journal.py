import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from katgen.protocol import LogLine, ReadLogs
from tests.fakes.trace import Trace


@dataclass(slots=True)
class FakeJournal:
    trace: Trace = field(default_factory=Trace)
    entries: dict[str, list[LogLine]] = field(default_factory=lambda: defaultdict(list))
    _runs: dict[str, int] = field(default_factory=dict)
    _followers: "list[asyncio.Queue[LogLine]]" = field(default_factory=list)

    def begin_run(self, unit: str) -> None:
        """Begin another run of a unit."""
        self._runs[unit] = len(self.entries[unit])

    def write(self, unit: str, text: str, time: float = 0) -> None:
        """Log a line, as the unit would."""
        line = LogLine(time, unit, text)
        self.entries[unit].append(line)
        for follower in self._followers:
            follower.put_nowait(line)

    async def tail(self, unit: str, lines: int) -> Sequence[str]:
        self.trace.note("journal.tail", unit)
        run = self.entries[unit][self._runs.get(unit, 0) :]
        return tuple(line.text for line in run[-lines:])

    async def read(self, asked: ReadLogs) -> AsyncGenerator[LogLine, None]:
        """Whoever wrote it: who did is the real journal's to know."""
        self.trace.note("journal.read", " ".join(asked.units))
        units, lines = asked.units, asked.lines
        news: asyncio.Queue[LogLine] = asyncio.Queue()
        self._followers.append(news)
        try:
            old = sorted(
                (line for unit in units for line in self.entries[unit] if line.time >= asked.since),
                key=lambda line: line.time,
            )
            for line in old if lines < 0 else old[len(old) - min(lines, len(old)) :]:
                yield line
            while asked.follow:
                line = await news.get()
                if line.unit in units:
                    yield line
        finally:
            self._followers.remove(news)
