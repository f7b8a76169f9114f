"""Endpoint state on this node (spec §6.3): whoever says something, it has effect here at once.

Own health, the leader's news and new services come in here; `agent.endpoints.effects` is what goes
out. Nothing of it needs a leader, and none of it makes a plan.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

from agent.endpoints.effects import Effects, PacketRules, Told, some
from agent.endpoints.files import NamesFiles
from agent.endpoints.in_place import InPlace, in_place
from agent.endpoints.leaving import leaving
from agent.endpoints.own import Health, OwnInstances
from agent.endpoints.records import Records
from agent.endpoints.services import Services, installed_services, listed, services_of
from agent.endpoints.session import EndpointSession
from agent.ports import NodePorts, Session
from agent.target import Target
from agent.until import first_of
from katgen.endpoints import READY
from katgen.names import InstanceKey
from katgen.protocol import EndpointKnown, EndpointNews

BATCH_S: Final = 0.01
"""What comes in a burst after the first is taken together."""
KNOWN_S: Final = 5
"""How long a stop waits for others to know of it."""
REMEMBER_S: Final = 1
"""Memory is written no more often: it has all records of the cluster."""


class Endpoints:
    """See the module; to an apply it is `agent.traffic.Traffic`."""

    def __init__(
        self, node: NodePorts, rules: PacketRules, told: Told, names: NamesFiles | None = None
    ) -> None:
        self._node = node
        self._records = Records(node.machine.boot_id())
        self.own = OwnInstances(node, self._say, lambda one: self._changed((one,)))
        files = names or NamesFiles(node.files)
        self._effects = Effects(node, rules, files, told, self._records, self.own.addresses)
        self.session = EndpointSession(self._records)
        self._leaving: set[InstanceKey] = set()
        self._is_known = False
        self._sets: frozenset[str] = frozenset()
        self._number = 0
        self._news, self._names, self._remembers, self._left = (asyncio.Event() for _ in range(4))

    # --- life -------------------------------------------------------------------------------------

    def begin(self, health: Health) -> None:
        """Take up what was so before this agent started; what cannot be read is a problem."""
        self.own.health = health
        self._effects.memory.recall()
        files = self._node.files
        there = in_place(files)
        self._take_services(installed_services(files, Services(), there.services()))
        self._effects.loaded = self._services
        self._take_up(there)
        self._effects.begin()
        self._wake()

    def _take_up(self, there: InPlace) -> None:
        """Look after what runs here; as long as that is not known for sure, keep its state."""
        self._is_known = there.is_known
        self._effects.leaving = there.leaving(self._node.files)
        self._sets = there.sets
        self.own.follow(there.instances.values())
        if there.is_known:
            self._changed(self._records.disown(self.own.entries))
        self.own.keep_ready(one for one, said in self._records.states.items() if said == READY)
        self._refresh()

    def _take_up_late(self, there: InPlace) -> None:
        """Do so as soon as it is known, if it was not at the start."""
        if there.is_known and not self._is_known:
            self._take_up(there)

    def jobs(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Return what has to run for ever, by name."""
        return {
            "endpoints": self._run,
            "names": self._run_names,
            "memory": self._run_memory,
            "connections": self._run_connections,
            "instances": self.own.run,
            "endpoint session": self.session.run,
        }

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            await self._carry_out()
            await self._node.clock.sleep(BATCH_S)

    async def _run_names(self) -> None:
        """Apart from packet rules: nft may hang."""
        while True:
            await self._names.wait()
            self._names.clear()
            self._effects.write_names()
            await self._node.clock.sleep(BATCH_S)

    async def _run_memory(self) -> None:
        while True:
            await self._remembers.wait()
            self._remembers.clear()
            self._effects.remember()
            await self._node.clock.sleep(REMEMBER_S)

    async def _run_connections(self) -> None:
        while True:
            await self._left.wait()
            self._left.clear()
            await self._effects.forget_connections()

    def _wake(self) -> None:
        for one in (self._news, self._names, self._remembers):
            one.set()

    async def _carry_out(self) -> None:
        self._news.clear()
        number = self._number
        if await self._effects.carry_out() and number:
            self.session.taken(number)
            self._number = self._number if self._number > number else 0
        self._left.set()

    async def tick(self, *, applying: bool = False) -> None:
        """Try again what failed, and keep what a boot would find up to date.

        `applying`: an apply is under way, which reads files of services itself.
        """
        if not applying and (self._services.problems or not self._is_known):
            self._read_again()
        await self._effects.tick()
        if self._effects.is_due:
            self._news.set()
        if self._effects.memory.is_due:
            self._remembers.set()
        self._left.set()

    async def save(self) -> None:
        """Leave what a restart, a load or a boot would find as it is now."""
        self._effects.remember()
        self._effects.put_leaving()  # an attempt to go on with an apply may have deleted it
        await self._effects.write_snapshots()

    # --- what is new ------------------------------------------------------------------------------

    def _say(self, instance: InstanceKey, said: str) -> None:
        """Record what is so of an own instance; one that is no candidate has no record."""
        if instance in self._records.own or self._may_serve(instance):
            is_new = self._records.say(instance, said, self._node.clock.boottime())
            if is_new:
                self._node.counts.turned(said)
                self.session.tell((instance,))
                self._changed((instance,))

    def _may_serve(self, instance: InstanceKey) -> bool:
        """Whether an own instance is a candidate, or may be one for all that is known."""
        if instance in self._services.candidates:
            return True
        entry = self.own.entries.get(instance)
        is_open = not self._services.knows(instance.partition("/")[0])
        return is_open and entry is not None and not entry.is_run

    def _refresh(self) -> None:
        for one in self.own.entries:
            self._say(one, self.own.state(one))

    def hear(self, news: EndpointNews | EndpointKnown) -> None:
        """Take in what the leader says: of instances on other nodes, or of draining ones here."""
        if isinstance(news, EndpointKnown):
            self.session.known(news)
            return
        candidates = self._services.candidates
        self._changed(self._records.hear(news.records, candidates, full=news.full))
        self._number = news.number
        self._news.set()
        self._remembers.set()

    def connected(self, session: Session) -> None:
        """Say all, and hear all, anew."""
        self._number = 0
        self.session.connected(session)

    def _changed(self, instances: Collection[InstanceKey]) -> None:
        if instances:
            self._effects.changed(instances)
            self._wake()

    def counted(self) -> Mapping[str, int]:
        """Return how many own instances are in each state."""
        return Counter(one.state for one in self._records.own.values())

    # --- services ---------------------------------------------------------------------------------

    @property
    def _services(self) -> Services:
        return self._effects.services

    def _take_services(self, services: Services) -> None:
        before, self._effects.services = self._services, services
        self._effects.problem("files of services", some(services.problems))
        self._leaving |= before.candidates - services.candidates
        self._leaving -= services.candidates
        changed = services.changed_from(before)
        if changed:
            self._effects.changed(services=changed)
            self._wake()
        if services.is_complete and not before.is_complete:
            self._effects.begin()  # what was spared may have left
            self._wake()

    def _read_again(self) -> None:
        """Read again what could not be read; an apply that was cut may not go on for long."""
        files, is_loaded = self._node.files, self._effects.loaded is self._services
        there = in_place(files)
        self._take_services(installed_services(files, self._services, there.services()))
        self._take_up_late(there)
        if is_loaded:
            self._effects.follow_services()

    # --- an apply (agent.traffic.Traffic) ---------------------------------------------------------

    async def installed(self, target: Target) -> None:
        """Take over new candidates; who leaves is still an instance of this node."""
        self._take_up_late(in_place(self._node.files))
        should = listed(target.entries.values())
        self._take_services(services_of(self._node.files, should.certain, self._services, should))
        wanted = {one.instance: one for one in target.manifest.instances}
        gone = [one for key, one in self.own.entries.items() if key not in wanted]
        kept = {one.address for one in wanted.values()}
        self._effects.leaving = leaving(gone, kept, self._sets, target.manifest.shared_sets)
        self.own.follow({**self.own.entries, **wanted}.values())
        self.own.stay(wanted)
        self._refresh()
        await self._carry_out()

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Let nobody change the rules during a load; what it includes is as of now."""
        try:
            async with self._effects.loading():
                yield
        finally:
            self._news.set()  # what was heard meanwhile is to be answered

    async def reloaded(self) -> None:
        """Have the rules follow what is known now: somebody has loaded them from files."""
        await self._effects.reloaded()
        self._news.set()

    async def drain(self, units: Collection[str]) -> Mapping[str, int]:
        """Take instances out of traffic here, have others do so, and say how long each drains."""
        running = await self.own.running(units)
        leaving = {one.instance: one for one in running if one.instance in self._records.own}
        if not leaving:
            return {}
        self.session.expect(leaving)
        self.own.drain(leaving)
        await self._carry_out()
        self.session.tell(leaving)  # also if an apply that was cut has told it before
        await self._until_known(leaving)
        return {one.unit: one.drain_seconds for one in leaving.values()}

    async def _until_known(self, leaving: Collection[InstanceKey]) -> None:
        clock, is_asked = self._node.clock, self.session.is_open
        begun = clock.boottime()
        await first_of(clock, KNOWN_S, self.session.until_known(leaving))
        answered = "known" if clock.boottime() - begun < KNOWN_S else "unanswered"
        self._node.counts.drained(answered if is_asked else "alone")

    async def settled(self, target: Target) -> None:
        """Forget what has left, from this node and from services."""
        self._is_known = True
        self.own.follow(target.manifest.instances)
        self._effects.follow_services()
        self._changed(self._records.disown(set(filter(self._may_serve, self.own.entries))))
        self._changed(self._records.forget(self._leaving))
        self._leaving.clear()
        self._sets = frozenset(target.manifest.shared_sets)
        self._effects.all_left()
        self._refresh()
        await self._carry_out()
