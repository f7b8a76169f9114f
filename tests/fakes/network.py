import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from agent.nft_listing import SeenRules
from agent.ports import UnfitError
from tests.fakes.nft_maps import Maps, ModelError
from tests.fakes.trace import Trace


@dataclass(slots=True)
class FakeNetwork:
    """`table` is the nft text that was loaded last; '' is no table.

    `maps` are the elements of endpoint state, `changes` the generation, `connections` UDP ones as
    (virtual address, instance), the same twice if it was led to nobody. `before_listing` is what
    somebody does to elements before the next. `hangs` is what a change of elements waits for before
    it is answered.
    """

    trace: Trace = field(default_factory=Trace)
    table: str = ""
    maps: Maps = field(default_factory=Maps)
    changes: int = 1
    can_destroy: bool = True
    before_listing: str = ""
    hangs: asyncio.Event | None = None
    connections: list[tuple[str, str]] = field(default_factory=list)
    links: dict[str, list[str]] = field(default_factory=lambda: {"host0": ["192.0.2.11/24"]})
    _changed: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)

    async def rules(self) -> SeenRules:
        self.trace.note("network.rules")
        theirs, self.before_listing = self.before_listing, ""
        if theirs:
            self.change_unheard(theirs)
        if not self.table:
            return SeenRules()
        digest = hashlib.sha256(f"{self.table}{self.maps.others()}".encode()).hexdigest()
        return SeenRules(digest, self.maps.elements(), frozenset(self.maps.chains))

    async def generation(self) -> int:
        return self.changes

    async def change_rules(self, text: str) -> tuple[int, int]:
        self.trace.note("network.change_rules", text, changes=True)
        if not self.table:
            raise UnfitError("nft: No such file or directory")
        try:
            self.maps.carry_out(text)
        except ModelError as err:
            raise UnfitError(f"nft: {err}") from err
        self._touch()
        made = self.changes
        if self.hangs is not None:
            await self.hangs.wait()
        return made - 1, made

    async def takes_rules(self, text: str) -> bool:
        self.trace.note("network.takes_rules")
        return self.can_destroy or "destroy " not in text

    async def forget_udp(self, answering: Mapping[str, Collection[str]]) -> int:
        self.trace.note("network.forget_udp", " ".join(sorted(answering)), changes=True)
        stale = [
            (virtual, instance)
            for virtual, instance in self.connections
            if instance not in answering.get(virtual, (instance,))
        ]
        for one in stale:
            self.connections.remove(one)
        return len(stale)

    async def forget_untranslated(self, virtual: Collection[str]) -> int:
        self.trace.note("network.forget_untranslated", " ".join(sorted(virtual)), changes=True)
        strays = [one for one in self.connections if one[0] == one[1] and one[0] in virtual]
        for one in strays:
            self.connections.remove(one)
        return len(strays)

    async def table_changes(self) -> AsyncGenerator[None, None]:
        self.trace.note("network.table_changes")
        self._changed = asyncio.Queue()
        yield
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

    def load(self, text: str, elements: str = "") -> None:
        """Do what `nft -f` of the text does; '' is `nft flush ruleset`. Somebody is told."""
        self.table = text
        self.maps = Maps()
        self.maps.carry_out(elements)
        self._touch()

    def change_unheard(self, text: str) -> None:
        """Do what another's `nft -f` of element operations does."""
        self.maps.carry_out(text)
        self.changes += 1

    def change_elsewhere(self) -> None:
        """Do what a change of tables that are not KAT's does: it counts, and nobody is told."""
        self.changes += 1

    def _touch(self) -> None:
        self.changes += 1
        self._changed.put_nowait(None)

    def flush_unheard(self) -> None:
        """Do what `nft flush ruleset` does, and lose the news of it."""
        self.load_unheard("")

    def load_unheard(self, text: str) -> None:
        """Do what `nft -f` of the text does, and lose the news of it."""
        self.table = text
        self.maps = Maps()
        self.changes += 1
