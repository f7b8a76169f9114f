"""What is stored, what was accepted, what is held back → the specs to plan for.

Pure. Models are made once per stored revision, and what did not change stays the same object, so
that planner and renderer see at once what a change is about.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from katgen.leader.documents import NO_NAMESPACE, ObjectKey, Stored, without_leaders
from katgen.leader.images import Pin, is_valid, needs_pin, pinned
from katgen.leader.outside import claims
from katgen.model.cluster import ClusterConfiguration
from katgen.model.kinds import KINDS
from katgen.model.node import Node
from katgen.model.objects import Config, Namespace, NamespaceMetadata
from katgen.model.spec import Document
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import WorkloadKey, split_key
from katgen.revision import named_by
from katgen.validate.objects import DEFAULT_CLUSTER

_PARTS: Final = {
    "Workload": "workload",
    "VirtualLoadBalancer": "load_balancer",
    "JobDefinition": "job",
    "BuildDefinition": "build",
}
_IMPLYING: Final = ("Workload", "Config", "Secret")
"""Kinds whose namespace is there, written or not."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Known:
    """One stored object. `model` is None for a Secret, and for what this version cannot read."""

    revision: int
    uid: str
    model: Document | None
    secret_keys: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """All stored objects, joined. `faults` are workloads with an object that cannot be read."""

    known: Mapping[ObjectKey, Known]
    specs: Specs
    nodes: tuple[Node, ...] = ()
    faults: Mapping[WorkloadKey, str] = field(default_factory=dict)

    def uid(self, key: WorkloadKey) -> str:
        """Return the uid of a workload, '' if there is none."""
        found = self.known.get(ObjectKey("Workload", *split_key(key)))
        return found.uid if found else ""

    def version(self, key: WorkloadKey) -> int:
        """Return a number that is another one once any object of a workload is another one."""
        objects = self.specs.workloads.get(key)
        namespace, name = split_key(key)
        keys = [ObjectKey(kind, namespace, name) for kind in _PARTS]
        if objects is not None:
            configs, secrets = named_by(objects)
            keys += [ObjectKey("Config", *split_key(one)) for one in configs]
            keys += [ObjectKey("Secret", *split_key(one)) for one in secrets]
        found = (self.known.get(one) for one in keys)
        return hash(tuple((one.uid, one.revision) if one else None for one in found))


EMPTY: Final = Wanted({}, Specs(DEFAULT_CLUSTER))


def read(stored: Stored) -> Known:
    """Return one object; one that cannot be read says why, and its workload is held."""
    metadata = stored.document["metadata"]
    uid = str(metadata.get("uid", ""))
    if stored.key.kind == "Secret":
        return Known(stored.revision, uid, None, tuple(sorted(stored.document.get("data", {}))))
    document: dict[str, Any] = {**stored.document, "metadata": without_leaders(metadata)}
    try:
        model = KINDS[stored.key.kind].model_validate(document)
    except (KeyError, ValidationError) as err:
        return Known(stored.revision, uid, None, fault=f"this leader cannot read it: {err}")
    return Known(stored.revision, uid, model)


def wanted(stored: Iterable[Stored], before: Wanted = EMPTY) -> Wanted:
    """Return all objects of one moment. What `before` has in the same revision is taken over."""
    known: dict[ObjectKey, Known] = {}
    for one in stored:
        old = before.known.get(one.key)
        same = old is not None and old.revision == one.revision != 0
        known[one.key] = old if old is not None and same else read(one)
    return joined(known, before)


def joined(known: Mapping[ObjectKey, Known], before: Wanted = EMPTY) -> Wanted:
    """Return objects joined by namespace and name."""
    by_kind: dict[str, dict[WorkloadKey, Known]] = {kind: {} for kind in KINDS}
    for key in sorted(known):
        by_kind[key.kind][key.workload] = known[key]
    parts: dict[WorkloadKey, dict[str, Any]] = {}
    for kind, part in _PARTS.items():
        for workload, one in by_kind[kind].items():
            parts.setdefault(workload, {})[part] = one.model
    workloads = {
        workload: _same(before.specs.workloads.get(workload), parts[workload])
        for workload in sorted(parts)
        if parts[workload].get("workload") is not None
    }
    data = {key: one.model for key, one in by_kind["Config"].items()}
    clusters = [one.model for one in by_kind["ClusterConfiguration"].values()]
    cluster = next((c for c in clusters if isinstance(c, ClusterConfiguration)), DEFAULT_CLUSTER)
    specs = Specs(
        cluster=cluster,
        namespaces=_namespaces(by_kind, before.specs.namespaces),
        workloads=workloads,
        configs={key: one for key, one in data.items() if isinstance(one, Config)},
        secrets={key: one.secret_keys for key, one in by_kind["Secret"].items()},
    )
    nodes = tuple(one.model for one in by_kind["Node"].values() if isinstance(one.model, Node))
    faults = {
        key.workload: one.fault for key, one in known.items() if one.fault and key.kind in _PARTS
    }
    return Wanted(known, specs, nodes, faults)


def rejoined(
    known: Mapping[ObjectKey, Known], before: Wanted, keys: Collection[ObjectKey]
) -> Wanted:
    """Return what `joined` would, at the cost of the change: only these keys have changed."""
    if any(key.kind in {"ClusterConfiguration", "Node"} for key in keys):
        return joined(known, before)
    specs = before.specs
    by_kind = {kind: {key.workload for key in keys if key.kind == kind} for kind in KINDS}
    changed = set().union(*(by_kind[kind] for kind in _PARTS))
    specs = replace(
        specs,
        workloads=_replaced(specs.workloads, changed, lambda key: _objects(known, before, key)),
        configs=_replaced(specs.configs, by_kind["Config"], lambda key: _config(known, key)),
        secrets=_replaced(specs.secrets, by_kind["Secret"], lambda key: _secret_keys(known, key)),
        namespaces=_renamed(known, specs.namespaces, keys),
    )
    faults = {key: text for key, text in before.faults.items() if key not in changed}
    for key in changed:
        parts = (known.get(ObjectKey(kind, *split_key(key))) for kind in _PARTS)
        told = [one.fault for one in parts if one is not None and one.fault]
        if told:
            faults[key] = told[-1]
    return Wanted(known, specs, before.nodes, faults)


def _replaced(
    old: Mapping[WorkloadKey, V],
    changed: Collection[WorkloadKey],
    now: Callable[[WorkloadKey], V | None],
) -> Mapping[WorkloadKey, V]:
    """Return a mapping by key with these entries as they are now."""
    if not changed:
        return old
    made = dict(old)
    for key in changed:
        one = now(key)
        if one is None:
            made.pop(key, None)
        else:
            made[key] = one
    is_longer = any(key in made and key not in old for key in changed)
    return {key: made[key] for key in sorted(made)} if is_longer else made


def _objects(
    known: Mapping[ObjectKey, Known], before: Wanted, key: WorkloadKey
) -> WorkloadObjects | None:
    found = ((part, known.get(ObjectKey(kind, *split_key(key)))) for kind, part in _PARTS.items())
    parts = {part: one.model for part, one in found if one is not None}
    return _same(before.specs.workloads.get(key), parts) if parts.get("workload") else None


def _config(known: Mapping[ObjectKey, Known], key: WorkloadKey) -> Config | None:
    one = known.get(ObjectKey("Config", *split_key(key)))
    return one.model if one is not None and isinstance(one.model, Config) else None


def _secret_keys(known: Mapping[ObjectKey, Known], key: WorkloadKey) -> tuple[str, ...] | None:
    one = known.get(ObjectKey("Secret", *split_key(key)))
    return one.secret_keys if one is not None else None


def _renamed(
    known: Mapping[ObjectKey, Known], old: Mapping[str, Namespace], keys: Collection[ObjectKey]
) -> Mapping[str, Namespace]:
    """Return the namespaces; those of objects that did not change are as they were."""
    made = dict(old)
    there = {key.namespace for key in keys if key in known and key.kind in _IMPLYING}
    for name in {key.name if key.kind == "Namespace" else key.namespace for key in keys}:
        one = known.get(ObjectKey("Namespace", NO_NAMESPACE, name))
        if one is not None and isinstance(one.model, Namespace):
            made[name] = one.model
        elif name in there or any(k.namespace == name and k.kind in _IMPLYING for k in known):
            made[name] = _implied(name, made.get(name))
        else:
            made.pop(name, None)
    return made if made.keys() <= old.keys() else dict(sorted(made.items()))


def _same(before: WorkloadObjects | None, parts: Mapping[str, Any]) -> WorkloadObjects:
    if before is not None and all(
        getattr(before, part) is parts.get(part) for part in _PARTS.values()
    ):
        return before
    return WorkloadObjects(**parts)


def _namespaces(
    by_kind: Mapping[str, Mapping[WorkloadKey, Known]], before: Mapping[str, Namespace]
) -> dict[str, Namespace]:
    written = {
        split_key(key)[1]: one.model
        for key, one in by_kind["Namespace"].items()
        if isinstance(one.model, Namespace)
    }
    used = (by_kind[kind] for kind in _IMPLYING)
    implied = {split_key(key)[0] for found in used for key in found}
    return {
        name: written.get(name) or _implied(name, before.get(name))
        for name in sorted(implied | written.keys())
    }


def _implied(name: str, before: Namespace | None) -> Namespace:
    made = _unwritten(name)
    return before if before is not None and (before is made or before == made) else made


@lru_cache(1024)
def _unwritten(name: str) -> Namespace:
    return Namespace(kind="Namespace", metadata=NamespaceMetadata(name=name))


# --- from what is wanted to what is planned for --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What the last committed plan carries out. `uids` are those of the Workloads."""

    specs: Specs
    uids: Mapping[WorkloadKey, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """`specs` is what to plan for; `changed` are the workloads that differ from what stands.

    `recreated` were deleted and made anew: they go in this plan, and come in the next.
    `differs`: anything does, also settings that touch no workload. `waiting` stay as they are until
    a held workload has given up what they would have; the texts say what.
    """

    specs: Specs
    changed: frozenset[WorkloadKey]
    recreated: frozenset[WorkloadKey]
    differs: bool
    waiting: Mapping[WorkloadKey, str] = field(default_factory=dict)


class Pinner:
    """Puts pinned images into objects; the same objects and pin give the same object again."""

    def __init__(self) -> None:
        self._made: dict[WorkloadKey, tuple[WorkloadObjects, Pin, WorkloadObjects]] = {}

    def pinned(self, key: WorkloadKey, objects: WorkloadObjects, pin: Pin) -> WorkloadObjects:
        """Return the objects with the image by its digest."""
        known = self._made.get(key)
        if known is None or known[0] is not objects or known[1] != pin:
            known = (objects, pin, pinned(objects, pin))
            self._made[key] = known
        return known[2]

    def forget(self, keys: Collection[WorkloadKey]) -> None:
        """Drop all but these workloads."""
        for key in self._made.keys() - keys:
            del self._made[key]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is wanted, images by digest. `unresolved` are workloads whose image is not known yet."""

    workloads: Mapping[WorkloadKey, WorkloadObjects]
    unresolved: frozenset[WorkloadKey]


def resolved(specs: Specs, pins: Mapping[WorkloadKey, Pin], pinner: Pinner) -> Resolved:
    """Return every workload with its pin, if it needs one."""
    workloads: dict[WorkloadKey, WorkloadObjects] = {}
    unresolved: set[WorkloadKey] = set()
    for key, objects in specs.workloads.items():
        workloads[key] = objects
        if needs_pin(objects):
            pin = pins.get(key)
            if pin is None or not is_valid(pin, objects):
                unresolved.add(key)
            else:
                workloads[key] = pinner.pinned(key, objects, pin)
    return Resolved(workloads, frozenset(unresolved))


def target(
    want: Wanted, images: Resolved, standing: Standing | None, held: Collection[WorkloadKey]
) -> Target:
    """Return what to plan for: what is wanted, and of held workloads what stands.

    A Config or Secret that a held workload uses stays as that workload knows it, for all who use
    it. One that nobody uses is not planned for: to write it makes no plan. A name for the outside
    that a held workload has is nobody else's.
    """
    old = standing.specs if standing else Specs(want.specs.cluster)
    uids = standing.uids if standing else {}
    back = {*held, *images.unresolved}
    recreated = frozenset(
        key for key in want.specs.workloads.keys() & old.workloads.keys()
        if key in uids and uids[key] != want.uid(key)
    )  # fmt: skip
    coming = {key: one for key, one in images.workloads.items() if key not in recreated}
    waiting: dict[WorkloadKey, str] = {}
    workloads = _mixed(coming, old, back)
    while more := claims(workloads, back):
        waiting |= more
        back |= more.keys()
        workloads = _mixed(coming, old, back)
    specs = _used(replace(want.specs, workloads=workloads))
    specs = _with_data(specs, old, back - recreated)
    specs = replace(specs, namespaces=_inhabited(specs, want))
    differs = specs != old or standing is None
    return Target(specs, _changed(old, specs), recreated, differs, waiting)


def _mixed(
    coming: Mapping[WorkloadKey, WorkloadObjects], old: Specs, back: Collection[WorkloadKey]
) -> dict[WorkloadKey, WorkloadObjects]:
    """Return what stands of the workloads in `back`, and what comes of all others."""
    workloads: dict[WorkloadKey, WorkloadObjects] = {}
    for key, objects in coming.items():
        known = old.workloads.get(key)
        if key not in back:
            workloads[key] = known if known == objects and known is not None else objects
        elif known is not None:
            workloads[key] = known
    return workloads


def _used(specs: Specs) -> Specs:
    """Leave out Configs and Secrets that no workload names."""
    if not specs.configs and not specs.secrets:
        return specs
    named = [named_by(objects) for objects in specs.workloads.values()]
    configs = {key for of_config, _ in named for key in of_config}
    secrets = {key for _, of_secret in named for key in of_secret}
    return replace(
        specs,
        configs={key: one for key, one in specs.configs.items() if key in configs},
        secrets={key: one for key, one in specs.secrets.items() if key in secrets},
    )


def _with_data(specs: Specs, old: Specs, back: Collection[WorkloadKey]) -> Specs:
    """Keep for held workloads the Configs, Secrets and namespaces that they run with."""
    configs, secrets, namespaces = (
        dict(specs.configs), dict(specs.secrets), dict(specs.namespaces),
    )  # fmt: skip
    for key in back:
        objects = specs.workloads.get(key)
        if objects is None:
            continue
        of_config, of_secret = named_by(objects)
        configs |= {one: old.configs[one] for one in of_config if one in old.configs}
        secrets |= {one: old.secrets[one] for one in of_secret if one in old.secrets}
        namespace = split_key(key)[0]
        namespaces.setdefault(namespace, old.namespaces[namespace])
    return replace(
        specs,
        configs=_settled(old.configs, configs),
        secrets=_settled(old.secrets, secrets),
        namespaces=_settled(old.namespaces, namespaces),
    )


def _inhabited(specs: Specs, want: Wanted) -> Mapping[str, Namespace]:
    """Return the namespaces without those that only a workload implies which is held back."""
    used = {
        split_key(key)[0]
        for keys in (specs.workloads, specs.configs, specs.secrets)
        for key in keys
    }
    return {
        name: one
        for name, one in specs.namespaces.items()
        if name in used or ObjectKey("Namespace", NO_NAMESPACE, name) in want.known
    }


def _settled(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return `new` sorted by key, with the old objects where they are equal."""
    return {k: old[k] if k in old and old[k] == new[k] else new[k] for k in sorted(new)}


def _changed(old: Specs, new: Specs) -> frozenset[WorkloadKey]:
    """Return the workloads whose objects, Configs or Secrets differ."""
    changed = {
        key
        for key in old.workloads.keys() | new.workloads.keys()
        if old.workloads.get(key) is not new.workloads.get(key)
    }
    data = {
        key
        for before, after in ((old.configs, new.configs), (old.secrets, new.secrets))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
    if data:
        changed |= {
            key
            for key, objects in new.workloads.items()
            if not data.isdisjoint([one for some in named_by(objects) for one in some])
        }
    return frozenset(changed)
