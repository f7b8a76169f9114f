"""What endpoint state changes on this node: packet rules, names, memory, boot snapshots.

None waits for another's success, nor a namespace's files for another's; what failed is told as a
problem and is due until it succeeds. Of a namespace of which nothing is known all stays as it is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.endpoints.files import (
    NamesFiles,
    Snapshots,
    forget_snapshots,
    names_text,
    written_namespaces,
)
from agent.endpoints.leaving import NOBODY, Leaving, put_leaving
from agent.endpoints.memory import Remembering
from agent.endpoints.records import Records, changed_namespaces
from agent.endpoints.services import Services
from agent.ports import NodePorts, UnfitError
from katgen.endpoints import NamespaceServices, States
from katgen.errors import KatError
from katgen.names import InstanceKey
from katgen.protocol import Complaint

PROBLEM: Final = "endpoints"
ASKED_S: Final = 5
FAULT: Final = "a fault in the agent; see the journal of kat-agent.service"
LASTING: Final = "memory for a boot"
SOME: Final = 3

_log = logging.getLogger(__name__)


class PacketRules(Protocol):
    """The kernel's part (`agent.endpoints.rules.EndpointRules`)."""

    async def prepare(self) -> None:
        """Find out what this machine can do; before the first snapshot."""

    def spare(self, *, others: bool) -> None:
        """Leave elements alone, or no longer, of which no service is known: others may be there."""

    async def apply(
        self,
        services: Collection[NamespaceServices],
        states: States,
        own: Mapping[InstanceKey, str],
        changed: Collection[InstanceKey] | None = None,
    ) -> str:
        """Make the elements those of these states. Raises UnfitError.

        Returns what is wrong with services that cannot be had.
        """

    async def carry_out(self, text: str) -> None:
        """Change other elements. Raises UnfitError."""

    async def forget(self) -> None:
        """Have clients of who has left be led anew; may take seconds. Raises UnfitError."""

    def reloaded(self) -> None:
        """Forget what the kernel had: the rules were loaded."""

    def snapshot(self, services: NamespaceServices, states: States) -> bytes | None:
        """Return what a load includes for a namespace; None if this kernel cannot take it."""


class Told(Protocol):
    """Who hears of problems (`agent.reporting.Reporting.problem`)."""

    def __call__(self, topic: str, *complaints: Complaint) -> None:
        """Replace what is wrong with a topic."""


Addresses = Callable[[], Mapping[InstanceKey, str]]


def some(problems: Collection[str]) -> str:
    """Return problems as one text: each once, and of many the first."""
    each = list(dict.fromkeys(problems))
    more = [f"and {len(each) - SOME} more"] if len(each) > SOME else []
    return "; ".join((*each[:SOME], *more))


@dataclass(eq=False, slots=True)
class Effects:
    """`services` are installed, `loaded` those that the packet rules in the kernel are of.

    `addresses` tells where this node's instances are. `leaving` is what a load is to include for
    instances on their way out.
    """

    node: NodePorts
    rules: PacketRules
    names: NamesFiles
    told: Told
    records: Records
    addresses: Addresses
    services: Services = field(default_factory=Services)
    loaded: Services = field(default_factory=Services)
    leaving: Leaving = NOBODY
    memory: Remembering = field(init=False)
    _snapshots: Snapshots = field(init=False)
    _names_due: set[str] = field(default_factory=set)
    _changed: set[InstanceKey] = field(default_factory=set)
    _packets_due: bool = False
    _removal: str = ""
    _is_loading: bool = False
    _since: float | None = None
    _problems: dict[str, str] = field(default_factory=dict)
    _working: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.memory = Remembering(self.node.files, self.records)
        self._snapshots = Snapshots(self.node.files)

    def begin(self) -> None:
        """Have everything made anew, and kat-dns look: an agent before may have been cut."""
        namespaces = frozenset(self.services.by_namespace)
        with self._trying("names"):
            namespaces |= written_namespaces(self.node.files)
        self.changed(services=namespaces)
        for one in sorted(namespaces):
            self.names.ring(one)

    def changed(
        self, instances: Collection[InstanceKey] = (), services: Collection[str] = ()
    ) -> None:
        """Take note that states of instances, or candidates of namespaces, are others."""
        namespaces = changed_namespaces(instances) | frozenset(services)
        self._changed.update(instances)
        self._names_due |= namespaces
        self._snapshots.due |= namespaces
        self._packets_due = True
        if self._since is None:
            self._since = self.node.clock.boottime()

    def follow_services(self) -> None:
        """Take it that the rules in the kernel are of the services that are installed now."""
        if self.loaded is not self.services:
            self.loaded, self._packets_due = self.services, True

    @property
    def is_due(self) -> bool:
        """Whether something has failed or has not been done yet."""
        return self._packets_due or bool(self._names_due) or bool(self._removal)

    async def carry_out(self) -> bool:
        """Do what is due; return whether packets and names follow what is known."""
        self.write_names()
        async with self._working:
            with self._trying("packet rules"):
                await self._packets()
            with self._trying("instances that left"):
                await self._remove()
        is_done = not self._packets_due and not self._names_due
        if is_done and self._since is not None:
            self.node.counts.effective(self.node.clock.boottime() - self._since)
            self._since = None
        return is_done

    def write_names(self) -> None:
        """Have names follow; nothing of the kernel keeps them waiting."""
        self._names_due -= self._each("names", self._names_due, self._write_name)

    def _write_name(self, namespace: str) -> None:
        if self.services.knows(namespace):
            services = self.services.by_namespace.get(namespace)
            text = None if services is None else names_text(services, self.records.states)
            self.names.put(namespace, text)

    def remember(self) -> None:
        """Write what a restart needs."""
        with self._trying("memory"):
            self.memory.remember()

    async def forget_connections(self) -> None:
        """Have UDP clients of who has left be led anew; nobody waits for it."""
        with self._trying("connections"):
            await self.rules.forget()

    async def _packets(self) -> None:
        if not self._packets_due or self._is_loading:
            return
        self._packets_due = False
        changed, self._changed = self._changed, set()
        try:
            self.rules.spare(others=not self.loaded.is_complete)
            services = tuple(self.loaded.by_namespace.values())
            at = self.addresses()
            own = {one: at.get(one, "") for one in self.records.own}
            wrong = await self.rules.apply(services, self.records.states, own, changed)
        except BaseException:
            self._packets_due = True
            self._changed |= changed
            raise
        self.problem("services", wrong)

    async def _remove(self) -> None:
        if self._removal and not self._is_loading:
            await self.rules.carry_out(self._removal)
            self._removal = ""

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        try:
            yield
        except KatError as err:
            self.problem(what, str(err))
        except Exception:  # noqa: BLE001 -- a fault in one effect must not keep others from theirs
            _log.exception("endpoint state has no effect on %s", what)
            self.problem(what, FAULT)
        else:
            self.problem(what, "")

    def _each(
        self, what: str, namespaces: Collection[str], do: Callable[[str], None]
    ) -> frozenset[str]:
        """Do it for each namespace, whatever becomes of the others; return those that are done."""
        failed: dict[str, str] = {}
        for name in sorted(namespaces):
            try:
                do(name)
            except KatError as err:
                failed[name] = str(err)
            except Exception:  # noqa: BLE001 -- as in _trying
                _log.exception("endpoint state of %s has no effect on %s", name, what)
                failed[name] = FAULT
        self.problem(what, some(failed.values()))
        return frozenset(namespaces) - failed.keys()

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
        with self._trying("packet rules"):
            await self.rules.prepare()
        async with self._working:
            self._is_loading = True
        self.loaded = self.services
        try:
            await self.write_snapshots()
            self.put_leaving()
            yield
        finally:
            self._is_loading = False
            self._removal = ""  # a load brings nobody but who leaves now
            await self.reloaded()

    def all_left(self) -> None:
        """Let nobody through any more who was on his way out."""
        left, self.leaving = self.leaving, NOBODY
        self.put_leaving()
        self._removal += left.removal

    def put_leaving(self) -> None:
        """Have loads include who leaves, or nobody."""
        with self._trying("instances that leave"):
            put_leaving(self.node.files, self.leaving.text)

    async def reloaded(self) -> None:
        """Bring the rules from what a load made of them to what is known now.

        It may have included some that have left since: to remove what is not there does no harm.
        """
        self.rules.reloaded()
        self._packets_due = True
        await self.carry_out()

    async def tick(self) -> None:
        """Ring where nobody heard it, and write boot snapshots, at most once a minute."""
        self.names.again()
        now = self.node.clock.boottime()
        if self._snapshots.is_time(now, also=bool(self._problems.get(LASTING))):
            self._snapshots.begin(now)
            await self.write_snapshots()

    async def write_snapshots(self) -> None:
        """Write the boot snapshots that are not as of now; one that cannot be is still due.

        None of a machine that is going down: what has stopped there will start at the boot.
        """
        with self._trying(LASTING):
            self.memory.last()
        is_stopping = True
        with self._trying("whether the machine is going down"):
            is_stopping = await self._is_stopping()
        if not is_stopping:
            self._write_snapshots()

    async def _is_stopping(self) -> bool:
        try:
            async with asyncio.timeout(ASKED_S):
                return await self.node.systemd.is_stopping()
        except TimeoutError as err:
            raise UnfitError("systemd does not say whether the machine is going down") from err

    def _write_snapshots(self) -> None:
        due = frozenset(self._snapshots.due)
        done = self._each("boot snapshots", due, self._write_snapshot)
        with self._trying("boot snapshots on disk"):
            self._snapshots.written(done)

    def _write_snapshot(self, namespace: str) -> None:
        services, states = self.services.by_namespace.get(namespace), self.records.states
        if services is not None:
            rules = self.rules.snapshot(services, states)
            self._snapshots.write(namespace, names_text(services, states), rules)
        elif self.services.knows(namespace):
            forget_snapshots(self.node.files, (namespace,))
