"""The agent's life: finish what was cut, follow a leader if there is one, look after what runs.

| task | does |
|---|---|
| `work` | finishes a cut apply, loads the rules, then applies what a leader committed |
| `leader` | keeps a session open, takes in what is said |
| `reports` | tells the leader, when something changed and as a heartbeat |
| `units`, `rules` | hear of changes from systemd and the kernel |
| `rules again` | looks at packet rules anew while something is wrong with them |
| `health`, `endpoints`, … | have traffic follow what is ready, whatever else goes on |
| `ticks` | looks at everything once in a while |
| `watchdog` | tells PID 1 that the ticks still come |

None ends before the agent does: what fails is logged, becomes a problem in the report, and is tried
again. Nothing but `work` changes what runs, except that altered packet rules are restored.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from dataclasses import replace
from typing import Final, Protocol

from agent import notify, state
from agent.apply import Outcome, apply, resume, revert
from agent.client import backoff_s
from agent.collect import collect
from agent.conversation import Conversation
from agent.endpoints.rules import EndpointRules
from agent.endpoints.state import Endpoints
from agent.health.instances import Health
from agent.intake import Intake, NotTakenError
from agent.observed.counts import Look
from agent.policy import load_policy
from agent.ports import LeaderError, NodePorts, Session, UnfitError
from agent.reporting import Reporting
from agent.rules import AGAIN_S, SERVICE, Rules, WatchedTraffic
from agent.state import NodeConfig
from agent.trust import RecordError
from agent.until import first_of
from katgen.errors import KatError
from katgen.names import InstanceKey
from katgen.protocol import (
    Complaint,
    Drift,
    EndpointKnown,
    EndpointNews,
    Settings,
    SignedRecord,
)

TICK_S: Final = 15
COALESCE_S: Final = 0.1
STOP_S: Final = 90
"""How long a stop waits for the apply under way; one that is cut goes on at the next start."""
RETRY_S: Final = 5
RETRIES_S: Final = 300
"""A committed plan that could not be applied is tried at the next tick, then ever less often."""
STALLED: Final = 4
"""Ticks that may be missed before the agent counts as hung."""

_log = logging.getLogger(__name__)


class Leaders(Protocol):
    """Where sessions come from."""

    def session(self) -> AbstractAsyncContextManager[Session]:
        """Connect. Raises LeaderError."""


class Agent:
    """One node's agent. `run` once."""

    def __init__(self, node: NodePorts, config: NodeConfig, leaders: Leaders) -> None:
        self._node, self._leaders = node, leaders
        self._intake = Intake(node, config)
        elements = EndpointRules(node)
        self._reporting = Reporting(node, config, self._restarts)
        self._endpoints = Endpoints(node, elements, self._reporting.problem)
        self._rules = Rules(node, elements, self._endpoints.save)
        self._traffic = WatchedTraffic(self._endpoints, self._rules)
        self._health = Health(node, self._endpoints.own.turned, self._endpoints.session.note)
        self._session: Session | None = None
        self._contact = 0.0
        self._wanted: SignedRecord | None = None
        self._is_resumed = False
        self._is_drifted = False
        self._failures = 0
        self._retry_at = 0.0
        self._wake = asyncio.Event()
        self._acting = asyncio.Lock()
        self._settings = Settings(TICK_S, "Report")
        self._resettled = asyncio.Event()
        self._ticked = node.clock.boottime()

    async def run(self, stopping: asyncio.Event) -> None:
        """Be the agent until `stopping` is set, then let the apply under way come to its end."""
        jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "work": self._work,
            "leader": self._follow,
            "reports": self._report,
            "units": self._hear_units,
            "rules": self._hear_rules,
            "rules again": self._look_again,
            "ticks": self._ticks,
            "watchdog": self._watchdog,
            "health": self._health.run,
            **self._endpoints.jobs(),
        }
        self._endpoints.begin(self._health)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(*one), name=one[0]) for one in jobs.items()]
            notify.notify(notify.READY)
            await stopping.wait()
            notify.notify(notify.STOPPING)
            await self._endpoints.save()  # as of now: if the machine is going down, others stop too
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._acting.acquire()
            await self._endpoints.save()
            for task in tasks:
                task.cancel()

    async def _keep(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job for ever. One that fails is begun again: no fault of one ends the others."""
        while True:
            try:
                await job()
            except KatError as err:
                _log.warning("%s: %s, retrying in %d s", name, err, RETRY_S)
            except Exception:  # noqa: BLE001 -- see above; it is logged, with its trace
                _log.exception("%s failed, retrying in %d s", name, RETRY_S)
            await self._node.clock.sleep(RETRY_S)

    # --- what runs --------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Finish what was cut, with no leader; then apply what is wanted, one at a time."""
        self._is_resumed = await self._change(lambda: resume(self._node, self._traffic))
        async with self._acting, self._endpoints.loading():
            await self._rules.load()
        self._told_of_rules()
        while True:
            await self._wake.wait()
            self._wake.clear()
            is_due = self._is_due()
            if not self._is_resumed:
                self._is_resumed = await self._change(lambda: resume(self._node, self._traffic))
            if self._is_drifted:
                await self._revert()
            # Also if that failed: what a damaged content keeps from its end, the leader can mend.
            if self._wanted is not None and self._session is not None and is_due:
                await self._take(self._session, self._wanted)

    async def _take(self, session: Session, signed: SignedRecord) -> None:
        """Put what a record commits in place; if that fails, everything stays as it is."""
        try:
            if self._is_in_place(signed):
                self._done(signed)
                return
            record = self._intake.accept(signed)
        except RecordError as err:
            self._wanted = None
            self._refuse("record", (Complaint("", str(err)),))
            return
        except KatError as err:
            self._fail("record", (Complaint("", str(err)),))
            return
        self._reporting.problem("record")
        if state.is_held(self._node.files):
            return  # `kat-agent resume` has the agent look again
        try:
            target = await self._intake.target(session, signed, record)
        except NotTakenError as err:
            self._fail("bundle", err.complaints)
            return
        except (KatError, TimeoutError) as err:
            self._fail("bundle", (Complaint("", str(err) or "it took too long"),))
            return
        self._reporting.problem("bundle")
        if await self._change(lambda: apply(target, self._node, self._traffic)):
            self._done(signed)
            await self._collect()

    def _is_in_place(self, signed: SignedRecord) -> bool:
        """Whether nothing is left to do: a leader says at each session what must run.

        Raises UnfitError.
        """
        files = self._node.files
        applied = state.load(files, state.APPLIED, state.Applied)
        return applied is not None and applied.signed == signed and not files.stat(state.JOURNAL)

    def _done(self, signed: SignedRecord) -> None:
        self._failures = 0
        if self._wanted is signed:
            self._wanted = None
        for topic in ("record", "bundle"):
            self._reporting.problem(topic)

    async def _change(self, step: Callable[[], Awaitable[Outcome | None]]) -> bool:
        """Change the node; whether that came to its end."""
        async with self._acting:
            self._reporting.applying(now=True)
            try:
                outcome = await self._counted(step)
                if outcome is not None:
                    outcome = await self._settle_rules(outcome)
            except KatError as err:
                self._fail("apply", (Complaint("", str(err)),))
                return False
            finally:
                self._is_drifted = False  # what was seen before is not as it was
                self._reporting.applying(now=False)
        self._reporting.problem("apply", *(outcome.problems if outcome else ()))
        for failed in outcome.failed if outcome else ():
            _log.warning("%s did not start: %s", failed.unit, failed.result)
        return True

    async def _counted(self, step: Callable[[], Awaitable[Outcome | None]]) -> Outcome | None:
        """Take a step, and count what it came to; None is that there was nothing to do."""
        counts, clock = self._node.counts, self._node.clock
        begun = clock.boottime()
        try:
            outcome = await step()
        except KatError:
            counts.applied("failed", clock.boottime() - begun)
            raise
        if outcome is not None:
            verbs = [action.verb.value for action in outcome.actions]
            counts.applied("changed" if verbs else "unchanged", clock.boottime() - begun, verbs)
            counts.not_started(len(outcome.failed))
        return outcome

    async def _settle_rules(self, outcome: Outcome) -> Outcome:
        """Have the rules looked at; that they cannot be loaded is told until they can."""
        theirs = [one.text for one in outcome.problems if one.tool == SERVICE]
        rest = tuple(one for one in outcome.problems if one.tool != SERVICE)
        if await self._rules.after("\n".join(theirs)):
            await self._endpoints.reloaded()
        self._told_of_rules()
        return replace(outcome, problems=rest)

    async def _collect(self) -> None:
        """Delete what no generation needs; that it cannot be is not the plan's fault."""
        try:
            await self._intake.when_idle(lambda: collect(self._node))
        except KatError as err:
            _log.warning("nothing is collected: %s, retrying after the next apply", err)

    def _refuse(self, topic: str, complaints: tuple[Complaint, ...]) -> None:
        self._node.counts.refused(topic)
        for one in complaints:
            _log.error("%s, nothing is changed", one.text)
        self._reporting.problem(topic, *complaints)

    def _fail(self, topic: str, complaints: tuple[Complaint, ...]) -> None:
        """Say what went wrong, and try again later."""
        self._refuse(topic, complaints)
        tick = self._settings.tick_seconds
        wait = min(RETRIES_S, tick * 2**self._failures) if self._failures < 16 else RETRIES_S  # noqa: PLR2004 -- no huge powers
        self._failures += 1
        self._retry_at = self._node.clock.boottime() + wait - tick / 2

    # --- the leader -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Keep a session open. Without a leader everything on this node goes on."""
        attempt, said = 0, ""
        while True:
            try:
                async with self._leaders.session() as session:
                    _log.info("the leader answers")
                    self._node.counts.connected()
                    attempt, said = 0, ""
                    await self._converse(session)
                    _log.info("the leader has closed the session")
            except LeaderError as err:
                if str(err) != said:
                    _log.warning("no leader: %s, retrying", err)
                said = str(err)
            attempt += 1
            await self._node.clock.sleep(backoff_s(attempt, random.random()))  # noqa: S311 -- spreads load, guards nothing

    async def _converse(self, session: Session) -> None:
        await self._reporting.hello(session)
        self._session = session
        self._endpoints.connected(session)
        try:
            await Conversation(self._node, session, self._intake, self).run()
        finally:
            self._session = None
            self._contact = self._node.clock.now()
            self._endpoints.session.gone()
            self._reporting.gone()

    def committed(self, signed: SignedRecord) -> None:
        """Take in what must run (conversation.Listener)."""
        self._wanted, self._failures, self._retry_at = signed, 0, 0.0
        self._wake.set()

    def heard(self, news: EndpointNews | EndpointKnown) -> None:
        """Take in what is said of endpoints (conversation.Listener)."""
        self._endpoints.hear(news)

    def settled(self, settings: Settings) -> None:
        """Take over the cluster's settings; the tick under way is cut short, lest it is an hour."""
        if settings != self._settings:
            self._settings = settings
            self._resettled.set()

    # --- what is heard and told -------------------------------------------------------------------

    def _restarts(self) -> Mapping[InstanceKey, int]:
        return self._health.restarts()

    async def _report(self) -> None:
        while True:
            await self._reporting.news.wait()
            await self._node.clock.sleep(COALESCE_S)
            with suppress(LeaderError):  # the session's own reader sees it too
                await self._reporting.tell()

    async def _hear_units(self) -> None:
        async with aclosing(self._node.systemd.changes()) as changes:
            async for unit in changes:
                self._endpoints.own.heard(unit)
                self._reporting.heard(unit)

    async def _hear_rules(self) -> None:
        async with aclosing(self._node.network.table_changes()) as changes:
            async for _ in changes:
                await self._check_rules()

    async def _look_again(self) -> None:
        """Try again soon whatever is wrong with packet rules: a tick may be an hour away."""
        while True:
            await self._rules.wrong.wait()
            await self._node.clock.sleep(AGAIN_S)
            await self._check_rules()

    async def _check_rules(self) -> None:
        is_applying = self._acting.locked()  # it may take a while; rules are right throughout
        async with nullcontext() if is_applying else self._acting:
            if await self._rules.check(applying=is_applying):
                await self._endpoints.reloaded()
        self._told_of_rules()

    def _told_of_rules(self) -> None:
        problem = self._rules.problem
        self._reporting.problem("rules", *([Complaint("", problem)] if problem else []))

    # --- time -------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await self._tick_time()
            await self._tick()
            self._ticked = self._node.clock.boottime()

    async def _tick_time(self) -> None:
        """Wait for the next tick, or until settings change."""
        self._resettled.clear()
        await first_of(self._node.clock, self._settings.tick_seconds, self._resettled.wait())

    async def _tick(self) -> None:
        """Look at everything. An apply under way looks after itself."""
        if not self._acting.locked():
            await self._check_rules()
        if self._is_due() and (self._wanted is not None or not self._is_resumed):
            self._wake.set()
        await self._endpoints.tick(applying=self._acting.locked())
        self._reporting.tick()
        if self._drift() and not self._acting.locked() and self._is_reverting():
            self._is_drifted = True  # for the worker: a start may outlast the watchdog's patience
            self._wake.set()

    def _is_due(self) -> bool:
        return self._node.clock.boottime() >= self._retry_at

    def _drift(self) -> tuple[Drift, ...]:
        return tuple(one for one in self._reporting.drift if one.kind != "foreign")

    async def _revert(self) -> None:
        """Undo what somebody changed, if that is the policy; else it is only told.

        Not while the node is held: then somebody works on it by hand.
        """
        drift = self._drift()
        for one in drift:
            _log.warning("%s was %s, reverting", one.unit or one.path, one.kind)
        await self._change(lambda: revert(self._node, drift, self._traffic))

    def _is_reverting(self) -> bool:
        """Whether; the node's own policy goes before the cluster's."""
        if state.is_held(self._node.files):
            return False
        try:
            own = load_policy(self._node.files).drift
            return (own or self._settings.drift_policy.lower()) == "revert"
        except UnfitError:  # the next change says what is wrong with it
            return False

    async def _watchdog(self) -> None:
        """Feed the watchdog as long as ticks come: one that hangs is no agent."""
        interval = notify.watchdog_s() or STALLED * TICK_S
        while True:
            if not self._late_s():
                notify.notify(notify.WATCHDOG)
            await self._node.clock.sleep(interval / 3)

    def _late_s(self) -> float:
        """Return for how long too many ticks have been missed, 0 if they come."""
        patience = STALLED * max(TICK_S, self._settings.tick_seconds)
        return max(0.0, self._node.clock.boottime() - self._ticked - patience)

    # --- who watches ------------------------------------------------------------------------------

    def look(self) -> Look:
        """Return how things are now; reads two small files and asks nobody."""
        files, endpoints = self._node.files, self._endpoints
        is_connected = self._session is not None
        return Look(
            late_s=self._late_s(),
            applied=_mark(lambda: state.load(files, state.APPLIED, state.Applied)),
            known=_mark(lambda: state.high_water(files)),
            is_resumed=self._is_resumed,
            is_applying=self._reporting.is_applying,
            is_held=state.is_held(files),
            is_connected=is_connected,
            contact=self._node.clock.now() if is_connected else self._contact,
            problems=self._reporting.topics,
            drift=Counter(one.kind for one in self._reporting.drift),
            instances=endpoints.own.units(),
            endpoints=endpoints.counted(),
            ready=len(self._health.ready()),
            revived=self._health.revived(),
        )


def _mark(
    load: Callable[[], state.Applied | state.HighWater | None],
) -> tuple[int, int] | None:
    """Return epoch and generation, None if there are none or the file is damaged."""
    try:
        found = load()
    except UnfitError:  # the report says so
        return None
    return (found.epoch, found.generation) if found else None
