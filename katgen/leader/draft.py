"""What the store would hold after a change: decided on values, written by `objects`."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from katgen.errors import Problem
from katgen.leader.answers import Changed
from katgen.leader.clock import shown_time
from katgen.leader.documents import (
    STORED,
    Incoming,
    ObjectKey,
    Stored,
    Wire,
    key_of,
    parsed,
    without_leaders,
    without_lines,
)
from katgen.leader.errors import InputError, TakenError
from katgen.leader.secrets import SecretBox
from katgen.leader.standing import Grounds, mention
from katgen.model.workload import Workload
from katgen.parse import Document, Parsed
from katgen.validate import check
from katgen.validate.change import Told, check_change
from katgen.validate.load import load
from katgen.validate.objects import gather
from katgen.validate.references import named

COMPANIONS: Final = ("VirtualLoadBalancer", "JobDefinition", "BuildDefinition")
"""Kinds that go with the Workload of their namespace and name."""
FIXED: Final = (
    *("clusterCIDR", "serviceCIDR", "nodeSubnetBits", "agentPort", "apiPort", "volumeBasePath"),
    *("store", "etcd"),  # copied to the leader's state; docs/howto/etcd.md tells how they change
)
"""Settings that a running cluster was built on."""

Before = Mapping[ObjectKey, Stored]


@dataclass(frozen=True, slots=True)
class Draft:
    """A change that is valid: all objects after it, and what it does."""

    after: Before
    puts: Mapping[ObjectKey, Wire]
    deletes: tuple[ObjectKey, ...]
    changed: tuple[Changed, ...]
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Draftsman:
    """Makes drafts; holds what stored documents need besides what the user wrote.

    With `grounds` a change is checked at its own cost, else together with all that is stored.
    """

    box: SecretBox
    now: float
    grounds: Grounds | None = None

    def applied(
        self,
        given: Incoming,
        before: Before,
        drop: Collection[ObjectKey] = (),
        *,
        is_running: bool = True,
    ) -> Draft:
        """Return the draft of creating or replacing what is given, and dropping `drop`.

        Raises InputError with all problems, also with what only a running cluster refuses.
        """
        documents = given.parsed.documents
        coming = {key for one in documents if (key := key_of(one.value)) is not None}
        left = {*drop, *_outgrown(documents)}
        gone = tuple(sorted(key for key in left if key in before and key not in coming))
        rest = _without(before, gone)
        checked = self._told(before, (*gone, *(key for key in coming if key in rest)), given.parsed)
        problems = {*checked.problems, *(_refused(documents, before) if is_running else ())}
        if problems:
            raise InputError("the objects have problems", problems=map(without_lines, problems))
        puts = dict(self._puts(documents, rest))
        named_keys = [key for one in documents if (key := key_of(one.value)) is not None]
        changed = tuple(_change(key, rest, puts) for key in named_keys)
        notes = tuple(sorted(n for n in checked.notes if not n.at.file.startswith(STORED)))
        return Draft(_after(rest, puts), puts, gone, (*changed, *_deleted(gone)), notes)

    def removed(self, keys: Collection[ObjectKey], before: Before) -> Draft:
        """Return the draft of deleting objects; a Workload takes its companions along.

        Raises TakenError with all problems that the rest would have.
        """
        gone = {key for key in _with_companions(keys) if key in before}
        rest = _without(before, gone)
        checked = self._told(before, gone, Parsed())
        problems = {*map(without_lines, checked.problems), *_inhabited(gone, rest)}
        if problems:
            shown = ", ".join(map(str, sorted(keys)))
            raise TakenError(f"{shown} is in use", problems=problems)
        ordered = tuple(sorted(gone))
        return Draft(rest, {}, ordered, _deleted(ordered))

    def _told(self, before: Before, gone: Collection[ObjectKey], given: Parsed) -> Told:
        """Return what is wrong without some objects and with others."""
        ground = self.grounds.of(before) if self.grounds is not None else None
        if ground is not None:
            return check_change(ground, frozenset(map(mention, gone)), given)
        staying = parsed(one for key, one in before.items() if key not in gone)
        checked = check(Parsed((*staying.documents, *given.documents), given.problems))
        return Told(frozenset(checked.problems), frozenset(checked.notes))

    def _puts(
        self, documents: Iterable[Document], before: Before
    ) -> Iterator[tuple[ObjectKey, Wire]]:
        for document in documents:
            loaded, _ = load(document)
            key = key_of(document.value)
            if loaded is None or key is None:  # validation has passed: neither happens
                continue
            wire: Wire = loaded.object.model_dump(mode="json", by_alias=True, exclude_unset=True)
            wire = {"apiVersion": loaded.object.api_version, **wire}
            if key.namespace != "-":
                wire["metadata"] = {"namespace": key.namespace, **wire["metadata"]}
            old = before.get(key)
            if old is None or not self._is_same(key, old.document, wire):
                yield key, self._completed(key, wire, old)

    def _is_same(self, key: ObjectKey, old: Mapping[str, Any], wire: Wire) -> bool:
        return self._plain(key, old) == wire

    def _plain(self, key: ObjectKey, document: Mapping[str, Any]) -> Wire:
        """Return what the user wrote of a stored document."""
        plain = {k: v for k, v in document.items() if k != "status"}
        plain["metadata"] = without_leaders(document["metadata"])
        if key.kind == "Secret" and "data" in document:
            plain["data"] = {
                name: self.box.open(f"{key.path}#{name}", value)
                for name, value in document["data"].items()
            }
        return plain

    def _completed(self, key: ObjectKey, wire: Wire, old: Stored | None) -> Wire:
        """Add what the leader sets; encrypt a Secret's values."""
        before = old.document["metadata"] if old else {}
        same_spec = old is not None and _content(self._plain(key, old.document)) == _content(wire)
        metadata = {
            **wire["metadata"],
            "uid": before.get("uid") or str(uuid4()),
            "generation": before.get("generation", 0) + (not same_spec),
            "creationTimestamp": before.get("creationTimestamp") or shown_time(self.now),
        }
        made = {**wire, "metadata": metadata}
        if key.kind == "Secret" and "data" in wire:
            made["data"] = {
                name: self.box.seal(f"{key.path}#{name}", value)
                for name, value in wire["data"].items()
            }
        if old is not None and "status" in old.document:
            made["status"] = old.document["status"]
        return made


def _without(before: Before, gone: Collection[ObjectKey]) -> Before:
    if not gone:
        return before
    rest = dict(before)
    for key in gone:
        del rest[key]
    return rest


def companions(key: ObjectKey) -> tuple[ObjectKey, ...]:
    """Return the keys of what goes with a Workload."""
    return tuple(key._replace(kind=kind) for kind in COMPANIONS)


def _outgrown(documents: Iterable[Document]) -> Iterator[ObjectKey]:
    """Yield what cannot be there beside a Workload as it is now, and would hinder it for ever."""
    for document in documents:
        loaded, _ = load(document)
        key = key_of(document.value)
        if key is None or loaded is None or not isinstance(loaded.object, Workload):
            continue
        if loaded.object.spec.type != "Job":
            yield key._replace(kind="JobDefinition")
        if loaded.object.spec.source.git is None:
            yield key._replace(kind="BuildDefinition")


def _with_companions(keys: Iterable[ObjectKey]) -> Iterator[ObjectKey]:
    for key in keys:
        yield key
        if key.kind == "Workload":
            yield from companions(key)


def _inhabited(gone: Collection[ObjectKey], rest: Before) -> Iterator[Problem]:
    spaces = {key.name for key in gone if key.kind == "Namespace"}
    if not spaces:
        return
    for key, one in rest.items():
        if key.namespace in spaces:
            document = parsed([one]).documents[0]
            what = f"is in the namespace {key.namespace}"
            yield without_lines(Problem(document.at(), what, "delete it first"))


def _deleted(keys: Iterable[ObjectKey]) -> tuple[Changed, ...]:
    return tuple(_told(key, "deleted") for key in keys)


def _change(key: ObjectKey, before: Before, puts: Mapping[ObjectKey, Wire]) -> Changed:
    if key not in puts:
        return _told(key, "unchanged")
    return _told(key, "configured" if key in before else "created")


def _told(key: ObjectKey, result: str) -> Changed:
    return Changed(key.kind, "" if key.namespace == "-" else key.namespace, key.name, result)


def _after(before: Before, puts: Mapping[ObjectKey, Wire]) -> Before:
    return {**before, **{key: Stored(key, wire, 0) for key, wire in puts.items()}}


def _content(wire: Mapping[str, Any]) -> tuple[object, object]:
    return wire.get("spec"), wire.get("data")


# --- what only a running cluster refuses ---------------------------------------------------------


def _refused(documents: tuple[Document, ...], before: Before) -> Iterator[Problem]:
    yield from _secrets_used(documents)
    for document in documents:
        match document.value.get("kind"):
            case "ClusterConfiguration":
                yield from _other_cluster(document, before)
            case "Node":
                yield from _unknown_node(document, before)


def _secrets_used(documents: tuple[Document, ...]) -> Iterator[Problem]:
    for reference in named(gather(Parsed(documents)).objects):
        if reference.kind == "Secret":
            what = "not supported yet: Secrets of workloads; the leader only stores them"
            yield Problem(reference.by.at(*reference.path), what, "use a Config, or leave it out")


def _other_cluster(document: Document, before: Before) -> Iterator[Problem]:
    current = next((one for key, one in before.items() if key.kind == "ClusterConfiguration"), None)
    loaded, _ = load(document)
    if current is None or loaded is None:
        return
    old, _ = load(parsed([current]).documents[0])
    if old is None or loaded.object.metadata.name != old.object.metadata.name:
        what = f"this cluster is {current.key.name}"
        yield Problem(document.at(("metadata", "name")), what, "write its name")
        return
    was, wanted = (one.object.model_dump(by_alias=True)["spec"] for one in (old, loaded))
    for field in FIXED:
        if was[field] != wanted[field]:
            shown = "" if field == "etcd" else f": it is {was[field]}"
            what = f"cannot change on a running cluster{shown}"
            yield Problem(document.at(("spec", field)), what, "leave it as it is")


def _unknown_node(document: Document, before: Before) -> Iterator[Problem]:
    key = key_of(document.value)
    if key is not None and key not in before:
        what = "no such node has joined"
        yield Problem(document.at(("metadata", "name")), what, "nodes are made by `kat-agent`")
