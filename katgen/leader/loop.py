"""From what is stored to what runs: plan, check, render, propose, commit, and hear how it went.

One thing at a time, in passes: a pass takes all that is wanted at its beginning; what arrives
meanwhile is for the next. A pass holds no policy of its own: `candidate` says what the next plan
is, `propose` what answers mean, `holds` who has to wait and for how long.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from katgen import plan as planning
from katgen.leader import events
from katgen.leader.agents import machines, propose
from katgen.leader.agents.bundles import size_of, touched
from katgen.leader.agents.fetcher import Fetcher
from katgen.leader.agents.hearing import Calls, Hearing, LoopPorts
from katgen.leader.agents.roll import Roll
from katgen.leader.answers import Preview, Progress, Trouble
from katgen.leader.candidate import (
    BlockedError,
    Candidate,
    Ground,
    Input,
    drafted,
    numbered,
)
from katgen.leader.changes import follow
from katgen.leader.clock import until_first
from katgen.leader.desired import Pinner, Resolved, Standing, Wanted, resolved, wanted
from katgen.leader.documents import Stored
from katgen.leader.events import Happening
from katgen.leader.holds import (
    Fault,
    Hold,
    Reason,
    held,
    in_force,
    next_retry,
    still_waiting,
)
from katgen.leader.images import Pin, fetches, needs_pin, pins_to_drop
from katgen.leader.preview import Trial, preview
from katgen.leader.publisher import Publisher
from katgen.leader.resolving import (
    NO_NODE,
    Resolver,
    fault_of,
    is_asked_for,
    pin_from,
    requests,
)
from katgen.leader.resting import Rests, is_short
from katgen.leader.rollouts.pacing import Pacing
from katgen.leader.stock import Stock
from katgen.leader.store import ConflictError, StoreError
from katgen.names import WorkloadKey
from katgen.planned import Inventory
from katgen.protocol import (
    Abort,
    Commit,
    Propose,
)
from katgen.render.cluster import render
from katgen.schedule.explain import Explanation

_LOG: Final = logging.getLogger(__name__)
BATCH_S: Final = 1.0
"""How long a pass waits for pulls that it has begun; slower ones are for a later pass."""
_RETRY_S: Final = 5.0


class Loop:
    """See the module. `run` never ends by itself."""

    def __init__(self, ports: LoopPorts) -> None:
        self._ports = ports
        self._cluster, self._clock = ports.cluster, ports.clock
        self._wake = asyncio.Event()
        self.loaded = asyncio.Event()
        """Set once it is known what was committed; agents that come earlier are told then."""
        self._stock = Stock(ports.store, ports.cluster, ports.clock, self._objects_changed)
        self._publisher = Publisher(ports.store, ports.signer, ports.uid, ports.clock)
        self._fetcher = Fetcher(ports.sessions, on_progress=self._tell)
        self._resolver = Resolver(self._publisher, ports.clock)
        self._roll = Roll(ports.store, ports.clock, ports.cluster, ports.chronicle)
        self._rests = Rests(ports.clock)
        self._pacing = Pacing(ports.cluster, ports.clock, ports.chronicle)
        self._base: Ground | None = None
        self._standing: Standing | None = None
        self._pinner = Pinner()
        calls = Calls(self._wake.set, self._tell, self._fetcher.forget)
        self._hearing = Hearing(ports, self._roll, calls)
        ports.sessions.listener = self._hearing
        ports.cluster.on_step = self._wake.set

    # -- life

    async def run(self) -> None:
        """Load, then carry out whatever is wanted, for ever."""
        await self._load()
        gc.collect()
        gc.freeze()  # what was loaded stays; the collector need not look at it again
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stock.follow(), name="watch objects")
                group.create_task(self._ports.chronicle.run(), name="write events")
                group.create_task(self._roll.run(), name="watch nodes")
                group.create_task(self._work(), name="plan and publish")
        finally:
            await self._fetcher.close()

    async def _load(self) -> None:
        while True:
            try:
                if not self.loaded.is_set():
                    await self._ports.chronicle.load()
                await self._recall()
                await self._stock.load()
            except StoreError as err:
                _LOG.warning("the store does not answer, retrying in 5 s: %s", err)
                await self._clock.sleep(_RETRY_S)
            else:
                self._wake.set()
                self.loaded.set()
                return

    async def _recall(self) -> None:
        recalled = await self._publisher.load()
        self._resolver.pins = dict(recalled.pins)
        committed = recalled.committed
        if committed is None:
            self._base = self._standing = None
            return
        plan = committed.plan
        record = msgspec.json.decode(committed.signed.record)
        rendered = render(plan)
        state = planning.start(plan.specs, plan.inventory, plan).state
        self._base = Ground(state, rendered, is_stale=rendered.root.digest != record["root"])
        self._standing = Standing(plan.specs, recalled.uids)
        self._hearing.finished = plan.inventory.finished
        self._cluster.committed, self._cluster.rendered = committed, rendered
        self._cluster.bundles.put(plan.generation, rendered)
        self._cluster.bundles.keep_until(plan.generation)
        self._rests.committed(plan.generation)
        self._pacing.begin(plan)
        self._roll.expect(n for n in plan.inventory.nodes if n not in self._cluster.connected)
        for node in sorted(self._cluster.connected):  # they were here before it was known
            self._ports.sessions.tell(node, Commit(committed.signed))

    async def _work(self) -> None:
        while True:
            await self._until_wanted()
            self._wake.clear()
            try:
                await self._settle()
            except StoreError as err:
                _LOG.warning("the store does not answer, retrying in 5 s: %s", err)
                await self._clock.sleep(_RETRY_S)
                self._wake.set()
            except ConflictError:
                _LOG.warning("another leader has committed a plan, reading it")
                await self._load()

    async def _until_wanted(self) -> None:
        """Wait for news, for an image, or for the time of the next retry, deadline or rest."""
        cluster, plan = self._cluster, self._cluster.plan
        cluster.is_short = plan is not None and is_short(plan, in_trouble=bool(cluster.trouble))
        moments = (
            next_retry(cluster.holds.values(), self._fetcher.waiting()),
            self._pacing.next_moment(plan),
            self._rests.next_moment(plan) if plan is not None and cluster.is_short else None,
        )
        due = min((one for one in moments if one is not None), default=None)
        late_s = None if due is None else max(0.0, due - self._clock.monotonic())
        await until_first(self._clock, late_s, news=self._wake.wait(), image=self._fetcher.first())

    # -- one pass after the other

    async def _settle(self) -> None:
        """Carry out what is wanted now, as far as it can be."""
        is_done = False
        try:
            while not is_done:
                is_done = await self._pass()
            self._cluster.trouble = ""
        except BlockedError as err:
            _LOG.error("no plan can be made: %s", err)
            self._cluster.trouble = str(err)
            self._over(self._stock.seen)
        finally:
            self._cluster.activity = ""
            self._tell()

    async def _pass(self) -> bool:
        """Take one step; return whether there is nothing more to do now."""
        seen = self._stock.seen
        self._rests.look()
        self._cluster.activity = "resolving"
        self._tell()
        images = resolved(self._stock.want.specs, self._resolver.pins, self._pinner)
        if await self._resolve(images):
            return False
        plan = self._base.plan if self._base else None
        self._pacing.look(plan, self._held(self._stock.want) | self._fetcher.waiting())
        given = self._input(images)
        if self._base is None and not given.inventory.nodes:  # a plan would be for nobody
            self._over(seen, given.want.specs.workloads.keys())
            return True
        with self._ports.metrics.planning("draft"):
            found = drafted(given)
        self._hold(found.faults)
        if found.candidate is None:
            if found.considered is not None and self._base is not None:
                self._base = replace(self._base, state=found.considered)
                self._pacing.weighed(found.stepping, found.considered.plan)
                return False  # what is not due any more may have come too late
            self._over(seen, waiting=found.target.waiting)
            return True
        if not found.candidate.plan.inventory.nodes:
            self._over(seen, found.target.changed, found.target.waiting)
            return True
        if ahead := self._cluster.ahead():
            raise BlockedError(ahead)
        if not await self._prefetch(found.candidate):
            with self._ports.metrics.planning("publish"):
                await self._publish(found.candidate)
        return False

    def _input(self, images: Resolved, trial: Trial | None = None) -> Input:
        want = trial.want if trial else self._stock.want
        plan = self._base.plan if self._base else None
        return Input(
            want=want,
            images=images,
            standing=self._standing,
            base=self._base,
            inventory=self._inventory(want),
            held=self._held(want) | (frozenset(trial.faults) if trial else self._fetcher.waiting()),
            paces=self._pacing.paces,
            look=self._pacing.sight(plan),
            is_trial=trial is not None,
        )

    def _inventory(self, want: Wanted) -> Inventory:
        before = self._base.plan.inventory if self._base else machines.NOTHING
        lost = self._pacing.sight(self._base.plan).missing if self._base else frozenset()
        finished = self._hearing.finished
        made = machines.inventory(want.nodes, self._cluster.facts, before, finished, lost)
        rested = self._rests.over(self._base.plan, self._cluster.reports) if self._base else ()
        return msgspec.structs.replace(made, rested=frozenset(rested)) if rested else made

    def _held(self, want: Wanted) -> frozenset[WorkloadKey]:
        return in_force(self._cluster.holds, self._versions(want), self._clock.monotonic())

    def _versions(self, want: Wanted) -> dict[WorkloadKey, int]:
        return {key: want.version(key) for key in self._cluster.holds}

    def _over(
        self,
        seen: int,
        left: Collection[WorkloadKey] = (),
        waiting: Mapping[WorkloadKey, str] | None = None,
    ) -> None:
        """Note that all is done that can be for what had been seen; forget holds that are over.

        `waiting` are those that wait for another one; None if nobody has looked. As long as images
        are on their way they are not held: what they wait for may be through in a moment.
        """
        want, busy = self._stock.want, self._fetcher.waiting()
        kept = self._held(want) | busy
        holds = {k: one for k, one in self._cluster.holds.items() if k in kept}
        if waiting is None:
            waits = still_waiting(self._cluster.holds, self._versions(want))
        else:
            waits = {key: self._wait(key, text) for key, text in waiting.items() if not busy}
        self._cluster.holds = waits | holds
        kept |= waits.keys() | (waiting or {}).keys()
        self._pinner.forget(want.specs.workloads.keys())
        self._cluster.left = kept.union(left)
        self._cluster.considered = max(self._cluster.considered, seen)

    def _wait(self, key: WorkloadKey, text: str) -> Hold:
        """Return the hold that is shown of a workload which waits for another one."""
        before, version = self._cluster.holds.get(key), self._stock.want.version(key)
        if before is not None and (before.message, before.version) == (text, version):
            return before
        self._ports.chronicle.record(events.of_workload(key, Reason.WAITS.value, text))
        return Hold(key, Reason.WAITS, text, version, since=self._clock.now())

    # -- images

    async def _resolve(self, images: Resolved) -> bool:
        """Ask what unresolved images are; return whether anything is known that was not before."""
        if await self._take_fetched():
            return True
        want = self._stock.want
        open_ones = images.unresolved - self._held(want) - self._fetcher.waiting()
        known = self._resolver.looked_up(want, open_ones)
        if known:
            await self._resolver.remember(known)
            return True
        plan = self._base.plan if self._base else None
        asked = requests(want, open_ones, plan, self._cluster.connected)
        if asked.nodeless and await self._roll.returned():
            return True
        self._hold(dict.fromkeys(asked.nodeless, NO_NODE))
        if self._fetcher.start(asked.fetches):
            self._tell()
            await self._fetcher.settle(asked.fetches, BATCH_S)
            return await self._take_fetched()
        return False

    async def _prefetch(self, candidate: Candidate) -> bool:
        """Have new images where they are needed; return whether the plan must do without some."""
        before = self._base.plan if self._base else None
        changed = sorted(candidate.changed)
        needed = tuple(fetches(before, candidate.plan, changed, self._cluster.connected))
        lacking = self._fetcher.lacking(needed)
        if not lacking:
            return False
        self._fetcher.start(lacking)
        self._tell()
        await self._fetcher.settle(lacking, BATCH_S)
        await self._take_fetched()
        return bool(self._fetcher.lacking(needed))

    async def _take_fetched(self) -> bool:
        """Take in what nodes answered about images: pins, and holds."""
        ended = self._fetcher.done()
        want = self._stock.want
        pins: dict[WorkloadKey, Pin] = {}
        faults: dict[WorkloadKey, Fault] = {}
        for one in ended:
            fault, pin = fault_of(one), pin_from(one, want)
            key = one.fetch.workload
            if fault is not None and key in want.specs.workloads:
                faults[key] = fault
            elif pin is not None and needs_pin(want.specs.workloads[key]):
                pins[key] = pin
        self._hold(faults)
        await self._resolver.remember(pins)
        return bool(ended)

    # -- holds

    def _hold(self, faults: Mapping[WorkloadKey, Fault], found_in: Wanted | None = None) -> None:
        """Hold workloads back, and say so where it is news.

        What was found in objects that are others by now holds nobody back.
        """
        now, want = self._clock.monotonic(), self._stock.want
        made = dict(self._cluster.holds)
        for key, fault in faults.items():
            if found_in is not None and found_in.version(key) != want.version(key):
                continue
            before = made.get(key)
            hold = held(before, key, fault, version=want.version(key), now=now)
            is_same = before is not None and hold.tries > 1
            since = before.since if before is not None and is_same else self._clock.now()
            made[key] = replace(hold, since=since)
            self._ports.chronicle.record(events.of_workload(key, fault.reason.value, fault.message))
            _LOG.warning(
                "%s is held back: %s",
                key,
                fault.message,
                extra={"fields": {"reason": fault.reason}},
            )
        self._cluster.holds = made

    # -- publishing

    async def _publish(self, candidate: Candidate) -> None:
        """Propose a plan, and commit it unless a node's tool refuses it."""
        begun = self._clock.monotonic()
        made = numbered(candidate, await self._publisher.number())
        bundles, number = self._cluster.bundles, made.plan.generation
        bundles.put(number, made.rendered)
        self._cluster.activity, self._cluster.proposed = "proposing", number
        self._tell()
        is_committed, outcome = False, "failed"
        try:
            if await self._is_accepted(made):
                is_committed = await self._commit(made, begun)
            outcome = "committed" if is_committed else "refused"
        finally:
            self._ports.metrics.proposed(outcome)
            bundles.keep_until(number if is_committed else self._cluster.mark[1])

    async def _is_accepted(self, made: Candidate) -> bool:
        """Ask the nodes; hold back what a tool refuses."""
        before = self._base.rendered if self._base and not self._base.is_stale else None
        nodes = touched(before, made.rendered) & self._cluster.connected
        if not nodes:
            return True
        rendered, number = made.rendered, made.plan.generation
        size, timeout_s = size_of(rendered), self._timeout_s(made)
        message = Propose(number, rendered.root.digest, size, timeout_s)
        answers = await propose.ask_all(self._ports.sessions, nodes, message)
        judged = propose.judge(answers, rendered, made.changed)
        self._tell_unwell(judged)
        if not judged.refusals:
            return True
        for node in sorted(nodes):
            self._ports.sessions.tell(node, Abort(number))
        faults = propose.faults(judged, rendered, made.changed)
        if not faults:
            raise BlockedError("; ".join(map(str, judged.refusals)))
        self._hold(faults, made.want)
        return False

    def _timeout_s(self, made: Candidate) -> float:
        profile = made.plan.specs.cluster.spec.failure_profile
        return propose.FAST_TIMEOUT_S if profile == "Fast" else propose.TIMEOUT_S

    def _tell_unwell(self, judged: propose.Judgement) -> None:
        late = dict.fromkeys(judged.late, "did not answer the last proposal in time")
        self._cluster.unfit = {**late, **judged.unfit}
        for reason, nodes in (("Unfit", judged.unfit), ("Late", late)):
            for node, text in nodes.items():
                self._ports.chronicle.record(Happening("", "Node", node, reason, text, node))

    async def _commit(self, made: Candidate, begun: float) -> bool:
        """Write the record, then let every agent hear of it; False if it was not written."""
        changed = made.target.changed
        uids = {key: made.want.uid(key) for key in changed if key in made.plan.workloads}
        dropped = pins_to_drop(self._resolver.pins, self._stock.want.specs.workloads)
        cluster = self._cluster
        done = await self._publisher.commit(cluster.committed, made, dropped)
        if done is None:
            return False
        old = self._standing.uids if self._standing else {}
        kept = {key: uid for key, uid in old.items() if key not in changed}
        self._standing = Standing(made.plan.specs, {**kept, **uids})
        self._base = Ground(made.state, made.rendered)
        self._hearing.finished = machines.still_finished(self._hearing.finished, made.plan.specs)
        self._settled(made, dropped)
        self._pacing.committed(cluster.rendered, made.rendered)
        self._pacing.weighed(made.changed, made.plan)
        cluster.committed, cluster.rendered = done, made.rendered
        for node in sorted(cluster.connected):
            self._ports.sessions.tell(node, Commit(done.signed))
        self._log_commit(made, begun)
        self._tell()
        return True

    def _log_commit(self, made: Candidate, begun: float) -> None:
        """Log one line; `requests` are the API's that this plan answers."""
        cluster, before = self._cluster, self._cluster.considered
        fields = {
            "generation": made.plan.generation,
            "epoch": cluster.mark[0],
            "nodes": len(made.plan.inventory.nodes),
            "changed": ",".join(sorted(made.changed)) or "-",
            "ms": round((self._clock.monotonic() - begun) * 1000),
            "requests": ",".join(cluster.requests_after(before)) or "-",
        }
        _LOG.info("committed", extra={"fields": fields})

    def _settled(self, made: Candidate, dropped: Iterable[WorkloadKey]) -> None:
        """Forget what a commit has answered."""
        for key in dropped:
            self._resolver.pins.pop(key, None)
        held_now = self._held(self._stock.want)
        self._cluster.holds = {
            key: one
            for key, one in self._cluster.holds.items()
            if key in held_now or key not in made.target.changed
        }
        self._fetcher.ready.clear()  # an image that is not used soon may be collected
        self._rests.committed(made.plan.generation)

    # -- news

    def _objects_changed(self, kinds: frozenset[str]) -> None:
        """Let go at once of what an earlier version waited for: nobody is to be told of it now."""
        want, holds = self._stock.want, self._cluster.holds
        self._fetcher.drop(lambda fetch: is_asked_for(fetch, want, self._resolver.pins))
        self._cluster.holds = {k: h for k, h in holds.items() if h.version == want.version(k)}
        if "Node" in kinds:
            self._hearing.nodes_changed()
        if "ClusterConfiguration" in kinds:
            self._hearing.tell_settings(self._stock.want.specs.cluster.spec)
        self._wake.set()
        self._tell()

    def _tell(self) -> None:
        """Show what is going on to whoever waits for it."""
        self._cluster.wait_for(self._fetcher.progress(), self._clock.now())
        self._cluster.notify()

    # -- what people ask (services.Planning)

    async def preview(self, documents: Sequence[Stored] | None) -> Preview:
        """Return the plan that this whole set of objects would make; None: what is stored."""
        now = self._stock.want
        want = now if documents is None else wanted(documents, now)
        pins = self._resolver.pins
        images = resolved(want.specs, pins, Pinner())
        plan = self._base.plan if self._base else None
        open_ones = images.unresolved - self._held(want)
        known = self._resolver.looked_up(want, open_ones)
        asked = requests(want, open_ones - known.keys(), plan, self._cluster.connected)
        faults = await self._resolver.look_up(want, asked, Fetcher(self._ports.sessions))
        pins = {**self._resolver.pins, **self._resolver.looked_up(want, open_ones)}
        images = resolved(want.specs, pins, Pinner())
        holds = {key: self._cluster.holds[key] for key in self._held(want)}
        trial = Trial(want, faults, holds)
        try:
            found = drafted(self._input(images, trial))
        except BlockedError as err:
            mark = self._cluster.mark[1]
            return Preview(mark, mark, "", {}, problems=(Trouble("plan", str(err)),))
        before = self._base.rendered if self._base else None
        return preview(before, found, trial, self._cluster.mark[1] + 1)

    async def explain(self, workload: WorkloadKey) -> Explanation | None:
        """Say why a workload runs where it does; None if there is no such workload."""
        plan = self._base.plan if self._base else None
        specs = self._stock.want.specs
        if plan is None or workload not in specs.workloads:
            return None
        return planning.explain(specs, self._inventory(self._stock.want), plan, workload)

    def changes(self, revision: int) -> AsyncIterator[Progress]:
        """Yield how far the change of this store revision is, whenever that changes, to its end."""
        return follow(self._cluster, self._clock, revision)
