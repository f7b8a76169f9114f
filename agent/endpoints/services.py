"""The candidates on this node, as the installed files of services have them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.ports import Files, UnfitError
from katgen.endpoints import FORMAT, NamespaceServices
from katgen.names import InstanceKey

FOLDER: Final = "/var/lib/kat/services"
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class Services:
    """What is installed, by namespace; `problems` are files that say nothing now."""

    by_namespace: Mapping[str, NamespaceServices] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    candidates: frozenset[InstanceKey] = field(init=False, compare=False)
    """Every instance that may have traffic."""

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


def namespaces_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the namespaces whose services stand at these paths; other paths have none."""
    prefix = f"{FOLDER}/"
    return frozenset(
        one.removeprefix(prefix).removesuffix(_SUFFIX)
        for one in paths
        if one.startswith(prefix) and one.endswith(_SUFFIX)
    )


def installed_services(files: Files, before: Services) -> Services:
    """Read whatever is there; what cannot be listed stays as it was."""
    try:
        namespaces = namespaces_of(files.list(FOLDER))
    except UnfitError as err:
        return Services(before.by_namespace, (str(err),))
    return services_of(files, namespaces, before)


def services_of(files: Files, namespaces: Collection[str], before: Services) -> Services:
    """Read these namespaces' files; one that cannot be read counts as it last was."""
    found, problems = {}, []
    for name in sorted(namespaces):
        path = f"{FOLDER}/{name}{_SUFFIX}"
        try:
            read = _read(files, path)
        except UnfitError as err:
            problems.append(str(err))
            read = before.by_namespace.get(name)
        if read is not None:
            found[name] = read
    return Services(found, tuple(problems))


def _read(files: Files, path: str) -> NamespaceServices | None:
    content = files.read(path)
    if content is None:
        return None
    try:
        read = msgspec.json.decode(content, type=NamespaceServices)
    except msgspec.MsgspecError as err:
        raise UnfitError(f"{path} is damaged, what it said before holds: {err}") from err
    if read.format > FORMAT:
        raise UnfitError(f"{path} has format {read.format}, this agent knows {FORMAT}; update KAT")
    return read
