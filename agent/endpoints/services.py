"""The candidates on this node, as the installed files of services have them.

A file that cannot be read is never taken for one that is not there (promise 1 of spec §1): its
content is among those that the agent keeps, or it says what it said before. If both fail, nothing
is known of its namespace, and whatever is in place for that stays.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent import state
from agent.ports import Files, UnfitError
from katgen.bundle import Entry
from katgen.endpoints import FORMAT, NamespaceServices
from katgen.names import InstanceKey

FOLDER: Final = "/var/lib/kat/services"
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class Services:
    """What is installed, by namespace; `problems` are files that say nothing now.

    `unknown` are namespaces of which nothing is known; not `is_whole`: nor is it whether others are
    there.
    """

    by_namespace: Mapping[str, NamespaceServices] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    is_whole: bool = True
    candidates: frozenset[InstanceKey] = field(init=False, compare=False)
    """Every instance that is known to be one that may have traffic."""

    def __post_init__(self) -> None:
        every = (
            one.instance
            for each in self.by_namespace.values()
            for service in each.services
            for one in service.candidates
        )
        object.__setattr__(self, "candidates", frozenset(every))

    def changed_from(self, before: "Services") -> frozenset[str]:
        """Return the namespaces whose services are others than they were, came or went."""
        old, new = before.by_namespace, self.by_namespace
        return frozenset(one for one in old.keys() | new.keys() if old.get(one) != new.get(one))

    @property
    def is_complete(self) -> bool:
        """Whether what is not here is nowhere."""
        return self.is_whole and not self.unknown

    def knows(self, namespace: str) -> bool:
        """Whether it is known what a namespace has; one that is not there has nothing."""
        return namespace not in self.unknown and (self.is_whole or namespace in self.by_namespace)


@dataclass(frozen=True, slots=True)
class Listed:
    """The files of services that should be there, by namespace: `digests` of what each may hold.

    `certain` are there, whatever a look at the disk says. Not `is_whole`: there may be others.
    """

    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    certain: frozenset[str] = frozenset()
    is_whole: bool = True


NOTHING: Final = Listed()


def listed(*generations: Iterable[Entry]) -> Listed:
    """Return what the files of these generations say: what is in all of them is certain."""
    digests: dict[str, tuple[str, ...]] = {}
    each = [{ns: e.digest for e in one for ns in namespaces_of([e.path])} for one in generations]
    for one in each:
        for name, digest in one.items():
            digests[name] = (*digests.get(name, ()), digest)
    certain = (one for one, found in digests.items() if len(found) == len(each))
    return Listed(digests, frozenset(certain))


def namespaces_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the namespaces whose services stand at these paths; other paths have none."""
    prefix = f"{FOLDER}/"
    return frozenset(
        one.removeprefix(prefix).removesuffix(_SUFFIX)
        for one in paths
        if one.startswith(prefix) and one.endswith(_SUFFIX)
    )


def installed_services(files: Files, before: Services, wanted: Listed = NOTHING) -> Services:
    """Read whatever is there, and what should be; what cannot be listed may be there."""
    try:
        found = namespaces_of(files.list(FOLDER))
    except UnfitError as err:
        names = wanted.digests.keys() | before.by_namespace.keys()
        known = services_of(files, names, before, wanted)
        problems = (str(err), *known.problems)
        return Services(known.by_namespace, problems, known.unknown, wanted.is_whole)
    return services_of(files, found | wanted.certain, before, wanted)


def services_of(
    files: Files, namespaces: Collection[str], before: Services, wanted: Listed
) -> Services:
    """Read these namespaces' files. For one that cannot be read, see the module."""
    found, problems, unknown = {}, [], set()
    for name in sorted(namespaces):
        try:
            read = _installed(files, name, is_certain=name in wanted.certain)
        except UnfitError as err:
            read = _kept(files, name, wanted.digests.get(name, ())) or before.by_namespace.get(name)
            holds = "its services stay as they are" if read is None else "what it said before holds"
            problems.append(f"{err}; {holds}")
            if read is None:
                unknown.add(name)
        if read is not None:
            known = before.by_namespace.get(name)
            found[name] = known if read == known else read  # the same object says: no change
    return Services(found, tuple(problems), frozenset(unknown))


def _installed(files: Files, namespace: str, *, is_certain: bool) -> NamespaceServices | None:
    """Return what a namespace's file says, None without one. UnfitError."""
    path = f"{FOLDER}/{namespace}{_SUFFIX}"
    content = files.read(path)
    if content is None and is_certain:
        raise UnfitError(f"{path} is missing")
    return None if content is None else _decoded(content, namespace, path)


def _kept(files: Files, namespace: str, digests: Iterable[str]) -> NamespaceServices | None:
    """Return what the first of these contents says that the agent still has; None if none does."""
    for digest in digests:
        try:
            return _decoded(state.content(files, digest), namespace, state.content_path(digest))
        except UnfitError:  # the file's own problem is told
            continue
    return None


def _decoded(content: bytes, namespace: str, path: str) -> NamespaceServices:
    try:
        read = msgspec.json.decode(content, type=NamespaceServices)
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise UnfitError(f"{path} is damaged: {err}") from err
    if read.format > FORMAT:
        raise UnfitError(f"{path} has format {read.format}, this agent knows {FORMAT}; update KAT")
    if read.namespace != namespace:
        raise UnfitError(f"{path} is damaged: it is of the namespace {read.namespace}")
    return read
