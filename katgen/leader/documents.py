"""Objects as the store has them, as users send them, and as they are shown."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec

from katgen.errors import Problem, Source
from katgen.names import WorkloadKey
from katgen.names import key as workload_key
from katgen.parse import Document, Parsed, Value
from katgen.wire.specs import as_document

NO_NAMESPACE: Final = "-"
CLUSTER_WIDE: Final = frozenset({"ClusterConfiguration", "Namespace", "Node"})
PREFIX: Final = "objects/"
BY_LEADER: Final = ("uid", "generation", "resourceVersion", "creationTimestamp")
"""Of metadata: printed by `get`, and not the user's to set."""
STORED: Final = "stored "
"""Begins the place of a problem in an object that the request does not hold."""

Wire = dict[str, Any]


class ObjectKey(NamedTuple):
    """Of one object; `namespace` is `-` for kinds that belong to none.

    A tuple, because there are many: its hash and its order take a tenth of a dataclass's time.
    """

    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Return the key in the store."""
        return f"{PREFIX}{self.kind}/{self.namespace}/{self.name}"

    @property
    def workload(self) -> WorkloadKey:
        """Return `<namespace>/<name>`."""
        return workload_key(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name if self.namespace == NO_NAMESPACE else self.workload}"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is stored. `revision` is that of its last change, 0 if not written yet.

    The values of a Secret are encrypted.
    """

    key: ObjectKey
    document: Mapping[str, Any]
    revision: int


def key_from_path(path: str) -> ObjectKey:
    """Return the key of a path in the store."""
    kind, namespace, name = path.removeprefix(PREFIX).split("/")
    return ObjectKey(kind, namespace, name)


def key_of(value: Mapping[str, Any]) -> ObjectKey | None:
    """Return the key of a document, or None if it says too little."""
    kind, metadata = value.get("kind"), value.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, dict):
        return None
    name = metadata.get("name")
    if not isinstance(name, str) or "/" in f"{kind}{name}":
        return None
    namespace = metadata.get("namespace", "default")
    return ObjectKey(kind, NO_NAMESPACE if kind in CLUSTER_WIDE else str(namespace), name)


def parsed(stored: Iterable[Stored]) -> Parsed:
    """Return stored objects for `validate.check`: what users wrote, of Secrets only the keys."""
    return Parsed(tuple(as_document(_users(one), f"{STORED}{one.key}") for one in stored))


def _users(stored: Stored) -> Wire:
    value = dict(stored.document)
    value["metadata"] = without_leaders(value["metadata"])
    if stored.key.kind == "Secret":
        value["data"] = dict.fromkeys(value.get("data", {}), "")
    return value


def without_leaders(metadata: Mapping[str, Any]) -> Wire:
    """Return metadata without what the leader sets."""
    return {name: value for name, value in metadata.items() if name not in BY_LEADER}


def shown(stored: Stored) -> Wire:
    """Return an object as the API answers: with its resourceVersion; a Secret with its keys alone.

    A Secret so shown is refused by `apply` (unknown key): it would lose its values.
    """
    value = dict(stored.document)
    value["metadata"] = {**value["metadata"], "resourceVersion": str(stored.revision)}
    if stored.key.kind == "Secret":
        value["keys"] = sorted(value.pop("data", {}))
    return value


# --- what users send -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Incoming:
    """Documents of a request, without what the leader sets.

    `expected` are the revisions that the user saw, by key.
    """

    parsed: Parsed
    expected: Mapping[ObjectKey, int]


def incoming(given: Parsed, namespace: str = "") -> Incoming:
    """Take in what a user sent, also as `get -o yaml` printed it.

    Lists become their items, `namespace` is that of objects which name none.
    """
    problems = list(given.problems)
    documents: list[Document] = []
    expected: dict[ObjectKey, int] = {}
    for document in (one for each in given.documents for one in _items(each)):
        cleaned = _cleaned(document, namespace)
        documents.append(cleaned)
        version = _version(document)
        if isinstance(version, Problem):
            problems.append(version)
        elif version is not None and (key := key_of(cleaned.value)) is not None:
            expected[key] = version
    return Incoming(Parsed(tuple(documents), tuple(problems)), expected)


def _items(document: Document) -> Iterator[Document]:
    kind, items = document.value.get("kind"), document.value.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        yield document
        return
    for number, item in enumerate(items):
        value = item if isinstance(item, dict) else {}
        yield as_document(value, f"{document.file} items[{number}]")


def _cleaned(document: Document, namespace: str) -> Document:
    value: dict[str, Value] = {k: v for k, v in document.value.items() if k != "status"}
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        kept = without_leaders(metadata)
        if str(value.get("kind")) in CLUSTER_WIDE:
            if kept.get("namespace") == NO_NAMESPACE:
                del kept["namespace"]
        elif namespace:
            kept.setdefault("namespace", namespace)
        value["metadata"] = kept
    return replace(document, value=value)


def _version(document: Document) -> int | Problem | None:
    metadata = document.value.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if version is None or version == "":
        return None
    if isinstance(version, str | int) and str(version).isascii() and str(version).isdecimal():
        return int(str(version)[:19])
    at = document.at(("metadata", "resourceVersion"))
    return Problem(at, "is no resourceVersion", "leave it out, or give what `get` printed")


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as the store keeps it."""
    return msgspec.json.encode(document)


def without_lines(problem: Problem) -> Problem:
    """Place a problem in a stored object by its path: it has no lines."""
    if not problem.at.file.startswith(STORED):
        return problem
    return replace(problem, at=Source(problem.at.file, path=problem.at.path))
