"""What endpoint state changes on this node: packet rules, names, memory, boot snapshots.

None waits for another's success; what failed is told as a problem and is due until it succeeds.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from agent import state
from agent.endpoint_files import NamesFiles, Snapshots, forget_snapshots, names_text
from agent.endpoint_leaving import put_leaving
from agent.endpoint_records import Records
from agent.endpoint_services import Services
from agent.ports import NodePorts
from katgen.endpoints import NamespaceServices, States
from katgen.errors import KatError
from katgen.names import InstanceKey
from katgen.protocol import Complaint

MEMORY: Final = "/run/kat/endpoints.json"
PROBLEM: Final = "endpoints"

_log = logging.getLogger(__name__)


class PacketRules(Protocol):
    """The kernel's part (`agent.endpoint_rules.EndpointRules`)."""

    async def prepare(self) -> None:
        """Find out what this machine can do; before the first snapshot."""

    async def apply(
        self, services: Collection[NamespaceServices], states: States, own: Collection[InstanceKey]
    ) -> None:
        """Make the elements those of these states. Raises UnfitError."""

    def reloaded(self) -> None:
        """Forget what the kernel had: the rules were loaded."""

    def snapshot(self, services: NamespaceServices, states: States) -> bytes | None:
        """Return what a load includes for a namespace; None if this kernel cannot take it."""


class Told(Protocol):
    """Who hears of problems (`agent.reporting.Reporting.problem`)."""

    def __call__(self, topic: str, *complaints: Complaint) -> None:
        """Replace what is wrong with a topic."""


@dataclass(eq=False, slots=True)
class Effects:
    """`services` are installed, `loaded` those that the packet rules in the kernel are of.

    `leaving` is what a load is to include for instances on their way out.
    """

    node: NodePorts
    rules: PacketRules
    names: NamesFiles
    told: Told
    records: Records
    services: Services = field(default_factory=Services)
    loaded: Services = field(default_factory=Services)
    leaving: bytes | None = None
    _snapshots: Snapshots = field(init=False)
    _names_due: set[str] = field(default_factory=set)
    _packets_due: bool = False
    _memory_due: bool = False
    _is_loading: bool = False
    _since: float | None = None
    _problems: dict[str, str] = field(default_factory=dict)
    _working: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._snapshots = Snapshots(self.node.files)

    def changed(self, namespaces: Iterable[str]) -> None:
        """Take note that states or candidates of these namespaces are others."""
        given = tuple(namespaces)
        self._names_due.update(given)
        self._snapshots.due.update(given)
        self._packets_due = self._memory_due = True
        if self._since is None:
            self._since = self.node.clock.boottime()

    def heard(self) -> None:
        """Take note that there is something to remember, though no state is another."""
        self._memory_due = True

    @property
    def is_due(self) -> bool:
        """Whether something has failed or has not been done yet."""
        return self._packets_due or bool(self._names_due) or self._memory_due

    async def carry_out(self) -> bool:
        """Do what is due; return whether packets and names follow what is known."""
        async with self._working:
            await self._try("packet rules", self._packets)
            await self._try("names", self._write_names)
            await self._try("memory", self._remember)
        is_done = not self._packets_due and not self._names_due
        if is_done and self._since is not None:
            self.node.counts.effective(self.node.clock.boottime() - self._since)
            self._since = None
        return is_done

    async def _try(self, what: str, effect: Callable[[], Awaitable[None]]) -> None:
        try:
            await effect()
        except KatError as err:
            self.problem(what, str(err))
        except Exception:  # noqa: BLE001 -- a fault in one effect must not keep others from theirs
            _log.exception("endpoint state has no effect on %s", what)
            self.problem(what, "a fault in the agent; see the journal of kat-agent.service")
        else:
            self.problem(what, "")

    async def _packets(self) -> None:
        if not self._packets_due or self._is_loading:
            return
        self._packets_due = False
        try:
            services = tuple(self.loaded.by_namespace.values())
            await self.rules.apply(services, self.records.states, self.records.own)
        except BaseException:
            self._packets_due = True
            raise

    async def _write_names(self) -> None:
        for name in sorted(self._names_due):
            services = self.services.by_namespace.get(name)
            text = None if services is None else names_text(services, self.records.states)
            self.names.put(name, text)
            self._names_due.discard(name)

    async def _remember(self) -> None:
        if self._memory_due:
            text = msgspec.json.encode(self.records.memory())
            self.node.files.write(MEMORY, text, state.PRIVATE)
            self._memory_due = False

    def problem(self, what: str, text: str) -> None:
        """Say what is wrong with one part; '' if it is fine."""
        if self._problems.get(what, "") == text:
            return
        self._problems[what] = text
        if text:
            _log.warning("endpoint state, %s: %s, retrying at the next tick", what, text)
        wrong = [f"endpoint state, {key}: {one}" for key, one in self._problems.items() if one]
        self.told(PROBLEM, *(Complaint("", one) for one in wrong))

    # --- loads and boots --------------------------------------------------------------------------

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Let no element change during a load; what it includes is as of now."""
        await self._try("packet rules", self.rules.prepare)
        async with self._working:
            self._is_loading = True
        self.loaded = self.services
        self.write_snapshots()
        self._put_leaving()
        try:
            yield
        finally:
            self._is_loading = False
            await self.reloaded()

    def all_left(self) -> None:
        """Include nobody any more that was on his way out; the next load takes it up."""
        self.leaving = None
        self._put_leaving()

    def _put_leaving(self) -> None:
        try:
            put_leaving(self.node.files, self.leaving)
        except KatError as err:
            self.problem("instances that leave", str(err))
        else:
            self.problem("instances that leave", "")

    async def reloaded(self) -> None:
        """Bring the rules from what a load made of them to what is known now."""
        self.rules.reloaded()
        self._packets_due = True
        await self.carry_out()

    def tick(self) -> None:
        """Write boot snapshots, at most once a minute."""
        if self._snapshots.is_time(self.node.clock.boottime()):
            self.write_snapshots()

    def write_snapshots(self) -> None:
        """Write the boot snapshots that are not as of now; one that cannot be is still due."""
        states, texts = self.records.states, {}
        due = {name: self.services.by_namespace.get(name) for name in sorted(self._snapshots.due)}
        for name, services in due.items():
            if services is not None:
                texts[name] = names_text(services, states), self.rules.snapshot(services, states)
        gone = due.keys() - texts.keys()
        try:
            forget_snapshots(self.node.files, gone)
            self._snapshots.due -= gone
            self._snapshots.write(texts, self.node.clock.boottime())
        except KatError as err:
            self.problem("boot snapshots", str(err))
        else:
            self.problem("boot snapshots", "")
