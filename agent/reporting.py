"""What the leader is told of this node, and when: at a change, and at every tick that it lives."""

import asyncio
from typing import Final

from msgspec.structs import replace

from agent import state
from agent.drift import file_drift, unit_drift
from agent.ports import NodePorts, Session, UnfitError
from agent.state import Applied, NodeConfig
from agent.status import Now, Restarts, Status
from agent.wireguard_key import public_key
from katgen.protocol import Complaint, Drift, Facts, Heartbeat, Hello, Report

FACTS_S: Final = 3600
"""How long slow facts of a session are taken as they were."""
LOOKS: Final = 20
"""Every so many ticks everything is asked for anew, as if nothing had been heard of changes."""


class Reporting:
    """Set `news` when something may have changed; `tell` then sends what there is to say."""

    def __init__(self, node: NodePorts, config: NodeConfig, restarts: Restarts = dict) -> None:
        self._node, self._config = node, config
        self._status = Status(node, config.node, restarts)
        self._changed: set[str] | None = None
        self._problems: dict[str, tuple[Complaint, ...]] = {}
        self._drift: tuple[Drift, ...] = ()
        self._is_applying = False
        self._session: Session | None = None
        self._sent: Report | None = None
        self._facts: Facts | None = None
        self._measured = 0.0
        self._ticks = 0
        self._is_due = False
        self.news = asyncio.Event()

    @property
    def drift(self) -> tuple[Drift, ...]:
        """What somebody changed on this node, as of the last tick."""
        return self._drift

    @property
    def topics(self) -> frozenset[str]:
        """Return the topics in which something is wrong."""
        return frozenset(topic for topic, complaints in self._problems.items() if complaints)

    @property
    def is_applying(self) -> bool:
        """Whether an apply is under way."""
        return self._is_applying

    async def hello(self, session: Session) -> None:
        """Introduce the node. Raises LeaderError, UnfitError."""
        facts = await self._measure()
        applied = self._applied()
        epoch, generation = (applied.epoch, applied.generation) if applied else (0, 0)
        held = state.is_held(self._node.files)
        boot = self._node.machine.boot_id()
        await session.send(Hello(self._config.node, boot, facts, epoch, generation, held))
        self._session, self._sent, self._changed = session, None, None
        self.news.set()

    def _applied(self) -> Applied | None:
        """Return what is applied; damaged memory is told, and what runs is no worse for it."""
        try:
            applied = state.load(self._node.files, state.APPLIED, Applied)
        except UnfitError as err:
            self.problem("memory", Complaint("", str(err)))
            return None
        self.problem("memory")
        return applied

    def gone(self) -> None:
        """Stop telling: the session has ended."""
        self._session = None

    def heard(self, unit: str) -> None:
        """Take in that a unit has changed; '' means that any may have."""
        if not unit:
            self._changed = None
        elif self._changed is not None:
            self._changed.add(unit)
        self.news.set()

    def problem(self, topic: str, *complaints: Complaint) -> None:
        """Replace what is wrong with one topic; nothing means that it is fine."""
        if self._problems.get(topic, ()) != complaints:
            self._problems[topic] = complaints
            self.news.set()

    def applying(self, *, now: bool) -> None:
        """Tell whether an apply is under way. What it changes is heard of as any change is."""
        self._is_applying = now
        self.news.set()

    def tick(self) -> None:
        """Look for drift, and let the leader know that the node lives."""
        self._ticks += 1
        self._is_due = True
        if self._ticks % LOOKS == 0:
            self._changed = None
        self._look_for_drift()
        self.news.set()

    async def tell(self) -> None:
        """Send a report if there is something new, else a heartbeat if one is due.

        What cannot be asked now is told as a problem, beside what was known. Raises LeaderError.
        """
        self.news.clear()
        session = self._session
        if session is None:
            return
        changed, self._changed = self._changed, set()
        facts = self._facts
        try:
            facts = await self._measure()
            made = await self._status.report(self._now(facts), changed)
        except UnfitError as err:
            self._changed = None
            made = self._unfit(err)
        except BaseException:
            self._changed = None  # nothing that was heard is lost
            raise
        due, self._is_due = self._is_due, False
        if made != self._sent:
            known = self._sent is not None and self._sent.facts == facts
            await session.send(replace(made, facts=None) if known else made)
            self._sent = made
        elif due:
            await session.send(Heartbeat())
        if not self._is_applying:
            await self._look_at_containers()

    async def _look_at_containers(self) -> None:
        """Ask Podman, after what systemd knows has been told."""
        try:
            if await self._status.look_at_containers():
                self.news.set()
        except UnfitError as err:
            self.problem("containers", Complaint("", f"images and health are not known: {err}"))
        else:
            self.problem("containers")

    def _unfit(self, err: UnfitError) -> Report:
        """Return what was sent last, or next to nothing, with what is wrong now."""
        now = self._now(self._facts)
        problems = (*now.problems, Complaint("", str(err)))
        if self._sent is not None:
            return replace(self._sent, sync="degraded", problems=problems)
        boot, held = self._node.machine.boot_id(), state.is_held(self._node.files)
        return Report(
            node=self._config.node,
            boot_id=boot,
            epoch=0,
            generation=0,
            sync="degraded",
            held=held,
            problems=problems,
            facts=now.facts,
        )

    def _now(self, facts: Facts | None) -> Now:
        problems = tuple(one for some in self._problems.values() for one in some)
        return Now(self._is_applying, problems, self._drift, facts)

    async def _measure(self) -> Facts:
        """Return slow facts; they are measured at the start and once an hour."""
        now = self._node.clock.boottime()
        if self._facts is None or now - self._measured > FACTS_S:
            facts = await self._node.machine.facts()
            link = await self._node.network.interface_of(self._config.advertise_address)
            key = public_key(self._node.files)
            self._facts = replace(facts, interface=link, public_key=key)
            self._measured = now
        return self._facts

    def _look_for_drift(self) -> None:
        if self._is_applying or self._node.files.stat(state.JOURNAL) is not None:
            return
        applied = self._applied()
        if applied is not None:
            units = unit_drift(applied, self._status.states, self._status.over())
            self._drift = (*file_drift(self._node.files, applied), *units)
