"""Where an apply begins: the files of which it is assumed that they are in place."""

from collections.abc import Iterable, Mapping

from agent import state
from agent.actions import may_be_there
from agent.ports import Files
from agent.target import kept
from katgen.bundle import Entry


def assumed(files: Files, target: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the files to start from; after a cut apply, those that may be there.

    What is staged and what is applied go by this alike: what one fetches, the other writes. Raises
    UnfitError.
    """
    journal = state.load(files, state.JOURNAL, state.Journal)
    if journal is None:
        applied = state.load(files, state.APPLIED, state.Applied)
        return by_path(applied.entries) if applied else {}
    way = kept(files, journal.to)
    return may_be_there(by_path(journal.base), way.entries, target)


def by_path(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return files by their path."""
    return {entry.path: entry for entry in entries}
