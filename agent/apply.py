"""Make a node equal to a target, in the order of spec §7. The only part that changes a node.

A journal is written before the first change and deleted after the last. Every step may be repeated:
cut at any point, `resume` begins again and ends in the same place. Whatever may fail without a
change (contents, services, images) is got ready before the journal.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final

from agent import state
from agent.actions import (
    INSTANCE,
    RUN_UNITS,
    Phase,
    actions_for,
    in_place,
    new_instances,
    phases,
)
from agent.begin import assumed, by_path
from agent.drift import written_again
from agent.endpoints.files import forget_snapshots
from agent.endpoints.leaving import put_leaving
from agent.endpoints.services import namespaces_of
from agent.images import have_images
from agent.ports import NewFile, NodePorts, Stat
from agent.reap import reap
from agent.reloads import NFT_UNIT, reload
from agent.stage import unstage
from agent.start_units import FailedUnit, Starter, stop_units
from agent.target import Target, keep, kept
from agent.traffic import NO_TRAFFIC, Traffic
from agent.verify import services
from katgen.bundle import Activation, Entry
from katgen.diff import Action, Verb
from katgen.protocol import Complaint, Drift, SignedRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did. `waiting` are units that had not started yet when it ended."""

    actions: tuple[Action, ...] = ()
    failed: tuple[FailedUnit, ...] = ()
    waiting: tuple[str, ...] = ()
    problems: tuple[Complaint, ...] = ()


async def apply(target: Target, node: NodePorts, traffic: Traffic = NO_TRAFFIC) -> Outcome:
    """Put a committed and verified target in place. In sync already: no write and no D-Bus call.

    Units that do not start are in the outcome. Raises UnfitError if the machine cannot go on; then
    `resume` or the next apply does. What stops is taken out of `traffic` before.
    """
    applied = state.load(node.files, state.APPLIED, state.Applied)
    journal = state.load(node.files, state.JOURNAL, state.Journal)
    if target.signed is None:
        raise ValueError(f"generation {target.generation} is not committed")
    if journal is None and applied is not None and applied.signed == target.signed:
        return Outcome()
    base = assumed(node.files, target.entries)
    actions = actions_for(base, target.entries)
    if not actions and journal is None and applied is not None:
        _record(node, target, target.signed, _Place(applied.files, in_place(base, target.entries)))
        unstage(node, target.generation)
        await traffic.installed(target)  # how instances are probed stands in the manifest alone
        await traffic.settled(target)
        return Outcome()
    ready = await _ready(_Change(node, traffic, base, target), actions)
    state.raise_high_water(
        node.files, state.HighWater(target.epoch, target.generation, target.root)
    )
    keep(node.files, target)
    state.save(node.files, state.JOURNAL, state.Journal(target.folder, tuple(base.values())))
    outcome = await ready.carry_out(actions)
    entries = in_place(base, target.entries)
    _record(node, target, target.signed, _Place(target.folder, entries))
    state.forget(node.files, state.JOURNAL)
    unstage(node, target.generation)
    await traffic.settled(target)
    return outcome


async def resume(node: NodePorts, traffic: Traffic = NO_TRAFFIC) -> Outcome | None:
    """Finish an apply that was cut, with no leader; None if none was. Once, when the agent starts.

    Removes orphaned containers first. Raises UnfitError.
    """
    await reap(node)
    journal = state.load(node.files, state.JOURNAL, state.Journal)
    if journal is None:
        return None
    return await apply(kept(node.files, journal.to), node, traffic)


async def revert(node: NodePorts, found: Iterable[Drift], traffic: Traffic = NO_TRAFFIC) -> Outcome:
    """Write changed files again, and start what somebody stopped. Raises UnfitError.

    After a cut apply nobody can tell who changed a file; then nothing is done.
    """
    applied = state.load(node.files, state.APPLIED, state.Applied)
    paths = written_again(found)
    if applied is None or not paths or node.files.stat(state.JOURNAL) is not None:
        return Outcome()
    base = {entry.path: entry for entry in applied.entries if entry.path not in paths}
    target = replace(kept(node.files, applied.files), entries=by_path(applied.entries))
    actions = actions_for(base, target.entries)
    change = _Change(node, traffic, base, target)
    outcome = await (await _ready(change, actions)).carry_out(actions)
    await traffic.settled(target)
    return outcome


@dataclass(frozen=True, slots=True)
class _Place:
    """What is on disk, and the folder with the generation that first had it.

    A generation that changes nothing here has no folder of its own.
    """

    files: str
    entries: tuple[Entry, ...]


def _record(node: NodePorts, target: Target, signed: SignedRecord, place: _Place) -> None:
    """Remember what is in place."""
    mark = state.HighWater(target.epoch, target.generation, target.root)
    state.raise_high_water(node.files, mark)
    made = state.Applied(
        signed, target.epoch, target.generation, target.root, place.files, target.manifest,
        place.entries,
    )  # fmt: skip
    state.save(node.files, state.APPLIED, made)


@dataclass(frozen=True, slots=True)
class _Change:
    """What an apply starts from, and where it goes."""

    node: NodePorts
    traffic: Traffic
    base: Mapping[str, Entry]
    target: Target


async def _ready(change: _Change, actions: tuple[Action, ...]) -> "_Apply":
    """Get ready whatever can fail while nothing is changed yet."""
    node, target = change.node, change.target
    written = [action.path for action in actions if action.verb is Verb.WRITE]
    contents = {p: state.content(node.files, target.entries[p].digest) for p in written}
    new = new_instances(actions, target.entries)
    texts = await services(target, new, node)
    _rehearse(node, target, actions, contents)
    await have_images(node, _texts_of(target, new, contents))
    return _Apply(change, contents, texts)


def _texts_of(target: Target, units: Iterable[str], contents: Mapping[str, bytes]) -> Iterator[str]:
    wanted = frozenset(units)
    for path, content in contents.items():
        if path.endswith(INSTANCE) and target.entries[path].unit in wanted:
            yield content.decode(errors="replace")


def _rehearse(
    node: NodePorts, target: Target, actions: tuple[Action, ...], contents: Mapping[str, bytes]
) -> None:
    """Find out that the disk lets us write and delete before a unit is stopped for it."""
    touched = [action for action in actions if action.path and action.verb is not Verb.RELOAD]
    probes = {f"{action.path.rpartition('/')[0]}/probe": b"" for action in touched}
    waiting = {
        path: content
        for path, content in contents.items()
        if target.entries[path].activation is Activation.STOP_FIRST
    }
    if any(action.verb is Verb.STOP for action in actions):
        node.files.rehearse([NewFile(p, content) for p, content in {**probes, **waiting}.items()])


@dataclass(slots=True)
class _Apply:
    """One apply on its way; the lists gather what the outcome tells."""

    change: _Change
    contents: Mapping[str, bytes]
    services: Mapping[str, str]
    done: list[Action] = field(default_factory=list)
    failed: list[FailedUnit] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    problems: list[Complaint] = field(default_factory=list)

    @property
    def node(self) -> NodePorts:
        return self.change.node

    @property
    def target(self) -> Target:
        return self.change.target

    async def carry_out(self, actions: tuple[Action, ...]) -> Outcome:
        forget_snapshots(self.node.files, namespaces_of(a.path for a in actions))
        put_leaving(self.node.files, None)  # it may name what the new rules do not have
        writes = tuple(takewhile(lambda phase: phase.verb is Verb.WRITE, phases(actions)))
        await self._take(writes)
        await self.change.traffic.installed(self.target)
        await self._take(tuple(phases(actions))[len(writes) :])
        await self._settle(actions)
        return Outcome(
            tuple(self.done), tuple(self.failed), tuple(self.waiting), tuple(self.problems)
        )

    async def _take(self, steps: Iterable[Phase]) -> None:
        for phase in steps:
            await _PHASES[phase.verb](self, phase)
            self.done += phase.actions

    async def write(self, phase: Phase) -> None:
        files = self.node.files
        files.write_all([new for a in phase.actions if (new := self._differing(a.path))])
        files.flush(_folders(phase))

    def _differing(self, path: str) -> NewFile | None:
        """Return what to write, or None if it lies there already: the apply before was cut."""
        entry, there = self.target.entries[path], self.node.files.stat(path)
        if there == Stat(entry.digest, entry.mode, entry.owner):
            return None
        return NewFile(path, self.contents[path], entry.mode, entry.owner)

    async def reload(self, phase: Phase) -> None:
        paths = frozenset(self.target.entries)
        for action in phase.actions:
            is_load = action.unit == NFT_UNIT
            async with self.change.traffic.loading() if is_load else nullcontext():
                self.problems += await reload(self.node, action, paths)

    async def stop(self, phase: Phase) -> None:
        paths = {entry.unit: path for path, entry in self.change.base.items() if entry.unit}
        await stop_units(self.node, phase.actions, paths, self.change.traffic.drain)

    async def delete(self, phase: Phase) -> None:
        """Delete files; of an instance also what systemd was given to start it."""
        units = self._instances(phase)
        for action in phase.actions:
            self.node.files.delete(action.path)
        self.node.files.flush(_folders(phase))
        for unit in units:
            self.node.files.delete(f"{RUN_UNITS}/{unit}")
            await self.node.systemd.reset_failed(unit)

    async def daemon_reload(self, _: Phase) -> None:
        await self.node.systemd.daemon_reload()

    async def start(self, phase: Phase) -> None:
        ended = await Starter(self.node, self.services).start(phase.actions)
        self.failed += ended.failed
        self.waiting += ended.waiting

    def _instances(self, phase: Phase) -> list[str]:
        return [self.change.base[a.path].unit for a in phase.actions if a.path.endswith(INSTANCE)]

    async def _settle(self, actions: tuple[Action, ...]) -> None:
        """Have systemd forget what left, if its target still holds it: it was loaded as wanted.

        Only a reload does; it comes last, so that no start waits for it.
        """
        deleted = [p for p in phases(actions) if p.verb is Verb.DELETE]
        units = [unit for phase in deleted for unit in self._instances(phase)]
        if not units or any(action.verb is Verb.DAEMON_RELOAD for action in actions):
            return
        states = await self.node.systemd.states(units)
        if any(one.load_state == "loaded" for one in states.values()):
            await self.node.systemd.daemon_reload()
            because = "systemd forgets units that left"
            self.done.append(Action(Verb.DAEMON_RELOAD, because=because))


_PHASES: Final[Mapping[Verb, Callable[[_Apply, Phase], Awaitable[None]]]] = {
    Verb.WRITE: _Apply.write,
    Verb.RELOAD: _Apply.reload,
    Verb.STOP: _Apply.stop,
    Verb.DELETE: _Apply.delete,
    Verb.DAEMON_RELOAD: _Apply.daemon_reload,
    Verb.START: _Apply.start,
}


def _folders(phase: Phase) -> set[str]:
    return {action.path.rpartition("/")[0] for action in phase.actions}
