"""The kinds of things that a leader tells of: what they are called on a command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import click


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind. `names` are all that it may be called, the plural that the API uses first."""

    kind: str
    names: tuple[str, ...]
    is_namespaced: bool = True
    is_deletable: bool = True

    @property
    def plural(self) -> str:
        """Its name in paths."""
        return self.names[0]

    @property
    def singular(self) -> str:
        """Its name beside that of an object: `workload/web`."""
        return self.names[1]


NOUNS: Final = (
    Noun("Workload", ("workloads", "workload", "wl")),
    Noun("Instance", ("instances", "instance", "inst"), is_deletable=False),
    Noun("Node", ("nodes", "node", "no"), is_namespaced=False, is_deletable=False),
    Noun("Namespace", ("namespaces", "namespace", "ns"), is_namespaced=False),
    Noun("JobDefinition", ("jobs", "job", "jobdefinition")),
    Noun("BuildDefinition", ("builds", "build", "builddefinition")),
    Noun("Config", ("configs", "config", "cm")),
    Noun("Secret", ("secrets", "secret", "sec")),
    Noun("VirtualLoadBalancer", ("virtualloadbalancers", "virtualloadbalancer", "vlb")),
    Noun("Generation", ("plans", "plan"), is_namespaced=False, is_deletable=False),
    Noun("Event", ("events", "event", "ev"), is_deletable=False),
    Noun(
        "ClusterConfiguration",
        ("clusterconfiguration", "cluster", "cc"),
        is_namespaced=False,
        is_deletable=False,
    ),
)
BY_NAME: Final = {name: noun for noun in NOUNS for name in noun.names}
BY_KIND: Final = {noun.kind: noun for noun in NOUNS}


@dataclass(frozen=True, slots=True)
class Target:
    """Objects of a kind that a command line names; without names, all of the kind."""

    noun: Noun
    names: tuple[str, ...] = ()


def noun(word: str) -> Noun:
    """Return the kind of this name. Raises UsageError."""
    found = BY_NAME.get(word.casefold()) or BY_KIND.get(word)
    if found is None:
        known = ", ".join(one.plural for one in NOUNS)
        raise click.UsageError(f"there is no kind {word!r}; there are {known}")
    return found


def targets(words: Iterable[str]) -> tuple[Target, ...]:
    """Return what `KIND[,KIND] [NAME…]` and `KIND/NAME…` name. Raises UsageError."""
    first, *rest = words
    if "/" in first:
        return tuple(_slashed(word) for word in (first, *rest))
    nouns = tuple(noun(word) for word in first.split(",") if word)
    if len(nouns) != 1 and rest:
        raise click.UsageError("names go with one kind")
    return tuple(Target(one, tuple(rest)) for one in nouns)


def _slashed(word: str) -> Target:
    """Read `workload/web`; also `instance/web/0-1`, whose name has a slash."""
    kind, slash, name = word.partition("/")
    if not (slash and name):
        raise click.UsageError(f"{word!r} is not KIND/NAME")
    return Target(noun(kind), (name,))


def workload_names(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names in `workload NAME…`, `workload/NAME…` or `NAME…`. Raises UsageError."""
    given = tuple(words)
    first = BY_NAME.get(given[0])
    if first is BY_KIND["Workload"] and len(given) > 1:
        given = given[1:]
    names = []
    for word in given:
        kind, slash, name = word.rpartition("/")
        if slash and noun(kind).kind != "Workload":
            raise click.UsageError(f"{word!r} is no workload")
        names.append(name)
    return tuple(names)
