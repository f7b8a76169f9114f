"""What the agent's own files say is in place when it starts, also after an apply that was cut."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent import state
from agent.endpoints.leaving import NOBODY, PATH, Leaving, leaving
from agent.endpoints.services import Listed, listed
from agent.ports import Files, UnfitError
from agent.rules import FILE
from agent.target import Target, kept
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey


@dataclass(frozen=True, slots=True)
class InPlace:
    """`target` is where an apply goes that was cut: any part of it may be in place as well.

    Not `is_known`: a file that says so is damaged, or nothing was ever applied. The report tells.
    """

    applied: state.Applied | None
    target: Target | None
    is_known: bool

    @property
    def instances(self) -> Mapping[InstanceKey, InstanceEntry]:
        """The instances that may run; those of both as the target has them."""
        manifests = [one.manifest for one in (self.applied, self.target) if one is not None]
        return {one.instance: one for each in manifests for one in each.instances}

    @property
    def sets(self) -> frozenset[str]:
        """The shared sets of what is applied."""
        return frozenset(self.applied.manifest.shared_sets) if self.applied else frozenset()

    def services(self) -> Listed:
        """Return the files of services that should be there; none is certain without applied."""
        applied = self.applied.entries if self.applied else ()
        target = [self.target.entries.values()] if self.target else []
        return replace(listed(applied, *target), is_whole=self.is_known)

    def leaving(self, files: Files) -> Leaving:
        """Return what loads must include until the apply has gone on: it may fail for long.

        As long as the rules on disk are those of before, they let everybody through themselves.
        """
        if not self.is_known:
            return _as_it_is(files)
        if self.applied is None or self.target is None or not _is_new(files, self.target):
            return NOBODY
        new = {one.instance: one for one in self.target.manifest.instances}
        gone = [one for one in self.applied.manifest.instances if one.instance not in new]
        staying = {one.address for one in new.values()}
        return leaving(gone, staying, self.sets, self.target.manifest.shared_sets)


def _as_it_is(files: Files) -> Leaving:
    try:
        return Leaving(files.read(PATH))
    except UnfitError:
        return NOBODY


def _is_new(files: Files, target: Target) -> bool:
    """Whether the node's own rules, which name its instances, may be the new ones already."""
    try:
        wanted, there = target.entries.get(FILE), files.stat(FILE)
    except UnfitError:
        return True
    return wanted is not None and there is not None and there.digest == wanted.digest


def in_place(files: Files) -> InPlace:
    """Read it."""
    applied, target, is_damaged = None, None, False
    try:
        applied = state.load(files, state.APPLIED, state.Applied)
    except UnfitError:
        is_damaged = True
    try:
        journal = state.load(files, state.JOURNAL, state.Journal)
        target = kept(files, journal.to) if journal is not None else None
    except UnfitError:
        is_damaged = True
    is_known = not is_damaged and (applied is not None or target is not None)
    return InPlace(applied, target, is_known)
