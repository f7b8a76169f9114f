"""Contents that a target needs, fetched once; and the scratch tree in which tools look at them."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent import state
from agent.begin import assumed
from agent.ports import LeaderError, NewFile, NodePorts, Session
from agent.target import Target
from katgen.bundle import Entry

SCRATCH: Final = "/run/kat/staged"
"""In memory: nothing here outlives a boot, and nothing waits for a disk."""
_AT_ONCE: Final = 128

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Staged:
    """A target whose contents are all here. `fresh` are the files to be checked, by path.

    An instance's file that exists is not among them: it is not written again.
    """

    target: Target
    fresh: tuple[Entry, ...]

    @property
    def scratch(self) -> str:
        """The directory below which the files lie as on the node."""
        return scratch_of(self.target.generation)


def scratch_of(generation: int) -> str:
    """Return the scratch directory of a generation."""
    return f"{SCRATCH}/{generation}"


async def stage(target: Target, session: Session, node: NodePorts) -> Staged:
    """Fetch what is missing, check and keep it. Raises LeaderError, UnfitError."""
    fresh = _fresh(target, node)
    missing = sorted({entry.digest for entry in fresh if not _is_here(node, entry.digest)})
    left = missing
    while left:
        got = await session.contents(left[:_AT_ONCE])
        came = [digest for digest in left[:_AT_ONCE] if digest in got]
        if not came:
            raise LeaderError(f"the leader does not have the content {left[0]}")
        # Each answer is written before the next is asked for: together they may be large.
        node.files.write_all([_checked(digest, got[digest]) for digest in came])
        left = [digest for digest in left if digest not in got]
    node.files.flush({state.content_path(digest).rpartition("/")[0] for digest in missing})
    return Staged(target, fresh)


def staged(target: Target, node: NodePorts) -> Staged:
    """Return a target whose contents are on disk already, with no leader."""
    return Staged(target, _fresh(target, node))


def unstage(node: NodePorts, generation: int) -> None:
    """Drop a proposal's scratch tree: it was aborted, or is in place. Contents stay for now."""
    node.files.delete_tree(scratch_of(generation))


def _fresh(target: Target, node: NodePorts) -> tuple[Entry, ...]:
    there = assumed(node.files, target.entries)
    return tuple(
        entry
        for path, entry in target.entries.items()
        if there.get(path) != entry and not (path in there and path.endswith(".container"))
    )


def _is_here(node: NodePorts, digest: str) -> bool:
    path = state.content_path(digest)
    found = node.files.stat(path)
    if found is not None and found.digest != digest:
        _log.warning("%s %s fetching it again", path, state.DAMAGED)
    return found is not None and found.digest == digest


def _checked(digest: str, content: bytes) -> NewFile:
    if hashlib.sha256(content).hexdigest() != digest:
        raise LeaderError(f"the leader sent another content than {digest}")
    return NewFile(state.content_path(digest), content, state.PRIVATE)


def spread(node: NodePorts, scratch: str, entries: Iterable[Entry]) -> None:
    """Write files below a scratch directory, as they would lie on the node."""
    node.files.write_all(
        [
            NewFile(scratch + e.path, state.content(node.files, e.digest), state.PRIVATE)
            for e in entries
        ]
    )
