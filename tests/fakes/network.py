import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.fakes.trace import Trace


@dataclass(slots=True)
class FakeNetwork:
    """`table` is the nft text that was loaded last; '' is no table."""

    trace: Trace = field(default_factory=Trace)
    table: str = ""
    links: dict[str, list[str]] = field(default_factory=lambda: {"host0": ["192.0.2.11/24"]})
    _changed: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)

    async def table_digest(self) -> str:
        self.trace.note("network.table_digest")
        return hashlib.sha256(self.table.encode()).hexdigest() if self.table else ""

    async def table_changes(self) -> AsyncGenerator[None, None]:
        while True:
            await self._changed.get()
            yield

    async def interface_of(self, address: str) -> str:
        self.trace.note("network.interface_of", address)
        found = (n for n, all_ in self.links.items() for a in all_ if a.split("/")[0] == address)
        return next(found, "")

    async def addresses(self) -> Mapping[str, Sequence[str]]:
        self.trace.note("network.addresses")
        return {name: tuple(addresses) for name, addresses in self.links.items()}

    def load(self, text: str) -> None:
        """Do what `nft -f` of the text does; '' is `nft flush ruleset`. Somebody is told."""
        self.table = text
        self._changed.put_nowait(None)

    def flush_unheard(self) -> None:
        """Do what `nft flush ruleset` does, and lose the news of it."""
        self.table = ""
