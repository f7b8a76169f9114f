"""Endpoint state in tests: services of a namespace, packet rules and health in memory."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from agent.endpoints.effects import PacketRules
from agent.endpoints.files import NamesFiles
from agent.endpoints.state import Endpoints
from agent.ports import UnfitError, UnitState
from katgen.bundle import Artifact, InstanceEntry, artifact
from katgen.endpoints import Candidate, NamespaceServices, Service, States, path, served
from katgen.names import InstanceKey, Ordinal
from katgen.protocol import Complaint
from tests.fakes import FakeNode

NAMES = "/run/kat/endpoints/shop.json"
SNAPSHOT = "/var/lib/kat/endpoints/shop"
VIRTUAL = "10.101.0.1"


def web(ordinal: int, incarnation: int = 1) -> InstanceKey:
    return InstanceKey(f"shop/web/{ordinal}-{incarnation}")


def unit(instance: InstanceKey) -> str:
    return f"kat.{instance.replace('/', '.')}.service"


def entry(instance: InstanceKey, drain_seconds: int = 0) -> InstanceEntry:
    return InstanceEntry(instance, unit(instance), "", drain_seconds=drain_seconds)


def services(*instances: InstanceKey, namespace: str = "shop") -> NamespaceServices:
    """Return a namespace with one workload; addresses are `10.100.0.10` and up, in order."""
    candidates = tuple(
        Candidate(one, Ordinal(one.rpartition("/")[2].partition("-")[0]), f"10.100.0.{number}")
        for number, one in enumerate(instances, 10)
    )
    service = Service("web", candidates, VIRTUAL, {80: 8080})
    return NamespaceServices(1, namespace, (service,))


def services_file(*instances: InstanceKey, namespace: str = "shop") -> Artifact:
    where = path(namespace)
    text = msgspec.json.encode(services(*instances, namespace=namespace))
    return artifact(where, text, pair_key=where)


@dataclass(slots=True)
class FakePackets:
    """The kernel: who gets traffic, by namespace. `failures` are raised once each.

    `carried` is what else was changed, `hangs` what a change waits for.
    """

    kernel: dict[str, tuple[InstanceKey, ...]] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    loads: int = 0
    has_snapshots: bool = True
    carried: list[str] = field(default_factory=list)
    spares: bool = False
    hangs: asyncio.Event | None = None

    async def prepare(self) -> None:
        """Be ready."""

    def spare(self, *, others: bool) -> None:
        self.spares = others

    async def apply(
        self,
        services: Collection[NamespaceServices],
        states: States,
        own: Mapping[InstanceKey, str],
        changed: Collection[InstanceKey] | None = None,
    ) -> str:
        del own, changed
        if self.hangs is not None:
            await self.hangs.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.kernel = (self.kernel if self.spares else {}) | {
            one.namespace: tuple(c.instance for s in one.services for c in served(s, states))
            for one in services
        }
        return ""

    async def carry_out(self, text: str) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.carried.append(text)

    async def forget(self) -> None:
        """Know no connections."""

    def reloaded(self) -> None:
        self.loads += 1

    def snapshot(self, services: NamespaceServices, states: States) -> bytes | None:
        if not self.has_snapshots:
            return None
        up = [c.instance for s in services.services for c in served(s, states)]
        return "".join(f"{one}\n" for one in up).encode()


@dataclass(slots=True)
class FakeHealth:
    """`units` is what it was told, in order."""

    is_ready: set[InstanceKey] = field(default_factory=set)
    units: list[str] = field(default_factory=list)
    followed: Mapping[InstanceKey, InstanceEntry] = field(default_factory=dict)

    def follow(self, instances: Mapping[InstanceKey, InstanceEntry]) -> None:
        self.followed = instances

    def unit(self, state: UnitState) -> None:
        self.units.append(f"{state.unit} {state.active_state}")

    def ready(self) -> frozenset[InstanceKey]:
        return frozenset(self.is_ready)


@dataclass(slots=True)
class Stage:
    """A node's endpoint state with everything around it. `problems` are those told last.

    `deaf`: kat-dns does not take what it is told. `rules`: what stands in for `packets`.
    """

    node: FakeNode = field(default_factory=FakeNode)
    packets: FakePackets = field(default_factory=FakePackets)
    health: FakeHealth = field(default_factory=FakeHealth)
    rung: list[str] = field(default_factory=list)
    deaf: bool = False
    rules: PacketRules | None = None
    problems: list[str] = field(default_factory=list)
    endpoints: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        names = NamesFiles(self.node.files, self._ring)
        rules = self.rules or self.packets
        self.endpoints = Endpoints(self.node.ports, rules, self._told, names)

    def _ring(self, namespace: str) -> bool:
        if not self.deaf:
            self.rung.append(namespace)
        return not self.deaf

    def _told(self, topic: str, *complaints: Complaint) -> None:
        assert topic == "endpoints"
        self.problems = [one.text for one in complaints]

    def begin(self) -> None:
        self.endpoints.begin(self.health)

    def install(self, *instances: InstanceKey) -> None:
        """Put a services file in its place."""
        file = services_file(*instances)
        self.node.files.put(file.path, file.content)

    def turn(self, instance: InstanceKey, *, ready: bool) -> None:
        """Have health say something."""
        (self.health.is_ready.add if ready else self.health.is_ready.discard)(instance)
        self.endpoints.own.turned(instance, ready)

    def again(self) -> "Stage":
        """Return another agent on the same machine; the kernel is as it was."""
        return Stage(self.node, self.packets)


FULL = UnfitError("No space left on device")


@asynccontextmanager
async def living(stage: Stage) -> AsyncIterator[None]:
    """Have what runs for ever run during the block; an agent that ends writes its snapshots."""
    stage.begin()
    tasks = [asyncio.ensure_future(job()) for job in stage.endpoints.jobs().values()]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
