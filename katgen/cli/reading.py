"""From the files that a command names to validated objects."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from katgen import parse, validate
from katgen.cli import inputs
from katgen.cli.options import Named
from katgen.errors import Problem, Source
from katgen.model.kinds import KINDS
from katgen.parse import Parsed


@dataclass(frozen=True, slots=True)
class _Single:
    """An option for the documents of one kind; `files` are those that its path names."""

    option: str
    kind: str
    path: str
    files: frozenset[str]


def checked(named: Named) -> validate.Checked:
    """Return the outcome of validating all files together. May raise SpecError."""
    paths = [*named.files, *filter(None, (named.cluster, named.nodes))]
    parsed = parse.parse(inputs.read(paths))
    found = validate.check(parsed)
    misplaced = tuple(_misplaced(named, parsed))
    if not misplaced:
        return found
    return replace(found, specs=None, problems=tuple(sorted({*found.problems, *misplaced})))


def _misplaced(named: Named, parsed: Parsed) -> Iterator[Problem]:
    options = (
        ("--cluster", "ClusterConfiguration", named.cluster),
        ("--nodes", "Node", named.nodes),
    )
    singles = [
        _Single(option, kind, path, inputs.found([path])) for option, kind, path in options if path
    ]
    if not singles:
        return
    anything = inputs.found(named.files)
    for one in singles:
        yield from _lacking(one, parsed)
        fitting = {other.kind for other in singles if other.files & one.files}
        yield from _others(one, parsed, fitting, anything)


def _lacking(one: _Single, parsed: Parsed) -> Iterator[Problem]:
    """Yield a problem if no document is of the kind, and none might have been meant to be."""
    if any(inputs.real(problem.at.file) in one.files for problem in parsed.problems):
        return
    kinds = _kinds(one, parsed)
    if one.kind not in kinds and all(kind in KINDS for kind in kinds):
        hint = f"name a file that has one, or leave {one.option} out"
        yield Problem(Source(one.path), f"{one.option} needs a {one.kind}, and here is none", hint)


def _kinds(one: _Single, parsed: Parsed) -> list[str]:
    inside = (d for d in parsed.documents if inputs.real(d.file) in one.files)
    return [str(document.value.get("kind")) for document in inside]


def _others(
    one: _Single, parsed: Parsed, fitting: set[str], anything: frozenset[str]
) -> Iterator[Problem]:
    """Yield a problem for each document of a known kind that belongs elsewhere."""
    for document in parsed.documents:
        kind, file = document.value.get("kind"), inputs.real(document.file)
        if file in one.files - anything and kind in KINDS and kind not in fitting:
            what = f"{one.option} takes no {kind}"
            yield Problem(document.at(("kind",)), what, "give the file with -f, too or instead")
