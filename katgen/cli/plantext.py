"""A plan's changes as lines for people."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import click

from katgen.bundle import Entry
from katgen.cli.output import columns, counted, visible
from katgen.diff import Action, Change, Verb
from katgen.names import NodeName
from katgen.planview import FileDiff, PlanView

HEADER: Final = 2
"""Lines of a unified diff's header."""
_NAMED: Final = 5
"""Nodes that a heading names; the rest are counted."""
_ABOUT_UNITS: Final = frozenset(Verb) - {Verb.WRITE, Verb.DELETE}
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}
_VERB_COLOURS: Final = {Verb.START: "green", Verb.STOP: "red", Verb.KEEP: "yellow"}


class Head(NamedTuple):
    """Which plan it is. `nodes` are all nodes of the cluster, `digest` the root over its files."""

    parent: int
    generation: int
    nodes: Sequence[NodeName]
    digest: str


def lines(head: Head, view: PlanView, *, is_brief: bool) -> Iterator[str]:
    """Yield what `katcall plan` prints, styled: files of several nodes first, then node by node."""
    nodes = tuple(sorted(head.nodes))
    yield _styled(f"plan {head.parent} -> {head.generation}", bold=True)
    seen: Sequence[NodeName] = ()
    for one in view.files:
        if len(one.nodes) > 1:
            if one.nodes != seen:
                seen = one.nodes
                yield from ("", _heading(one.nodes, nodes))
            yield from _file(one, is_brief=is_brief)
    for name, actions in view.actions.items():
        yield from ("", _heading((name,), nodes))
        own = [one for one in view.files if one.nodes == (name,)]
        for one in own:
            yield from _file(one, is_brief=is_brief)
        if own:
            yield ""
        yield from _units(actions)
    yield from ("", summary(view))


def _heading(names: Sequence[NodeName], every: Sequence[NodeName]) -> str:
    if len(names) == len(every) > 1:
        shown = f"all {len(every)} nodes"
    else:
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return _styled(f"== {shown}", bold=True)


def _file(one: FileDiff, *, is_brief: bool) -> Iterator[str]:
    change = one.change
    if change.is_kept:
        yield _styled(
            f"# pending re-render, the node keeps what it has: {change.path}", fg="yellow"
        )
    if is_brief:
        yield f"{sign(change)} {visible(change.path)}"
        return
    if change.is_edit and change.old and change.new and change.old.digest == change.new.digest:
        yield _styled(f"# {visible(change.path)}: {_attributes(change.old, change.new)}", fg="cyan")
    yield from coloured(one.lines)


def coloured(diff: Sequence[str]) -> Iterator[str]:
    """Yield the lines of one file's unified diff, styled."""
    for line in diff[:HEADER]:
        yield _styled(visible(line), bold=True)
    for line in diff[HEADER:]:
        yield _styled(visible(line), fg=_COLOURS.get(line[:1], ""))


def sign(change: Change) -> str:
    """Return `+`, `-` or `~`."""
    if change.old is None:
        return "+"
    return "-" if change.new is None else "~"


def _attributes(old: Entry, new: Entry) -> str:
    """Return what changes beside the content."""
    pairs = {
        "mode": (f"{old.mode:04o}", f"{new.mode:04o}"),
        "owner": (old.owner, new.owner),
        "activation": (old.activation.value, new.activation.value),
    }
    return ", ".join(f"{name} {a} -> {b}" for name, (a, b) in pairs.items() if a != b)


def _units(actions: Sequence[Action]) -> Iterator[str]:
    steps = [action for action in actions if action.verb in _ABOUT_UNITS]
    rows = [(one.verb.value, one.unit or one.path, one.because) for one in steps]
    if not rows:
        yield "  no unit is touched"
    for action, line in zip(steps, columns(rows), strict=True):
        yield _styled(f"  {visible(line)}", fg=_VERB_COLOURS.get(action.verb, ""))


def summary(view: PlanView) -> str:
    """Return the closing line: `3 to start, 2 to stop, 1 reload on 2 nodes`."""
    counts = view.counts()
    parts = [
        f"{counts[verb]} to {verb}"
        for verb in (Verb.START, Verb.RESTART, Verb.STOP)
        if counts[verb]
    ]
    reloads = counts[Verb.RELOAD] + counts[Verb.DAEMON_RELOAD]
    if reloads:
        parts.append(counted(reloads, "reload"))
    if counts[Verb.KEEP]:
        parts.append(f"{counts[Verb.KEEP]} pending re-render")
    if not view.actions:
        return "nothing to do: every node has these files"
    nodes = counted(len(view.actions), "node")
    return f"{', '.join(parts) or 'no unit is touched'} on {nodes}"


def _styled(text: str, *, fg: str = "", bold: bool = False) -> str:
    return click.style(text, fg=fg or None, bold=bold or None) if fg or bold else text
