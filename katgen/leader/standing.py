"""The stored objects as validation has them, loaded once: what a change is checked against."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from katgen import names
from katgen.leader.documents import NO_NAMESPACE, ObjectKey, Stored, parsed
from katgen.names import WorkloadKey
from katgen.validate.change import FIELDS, Mention
from katgen.validate.load import Written, load
from katgen.validate.objects import Objects

_ByKey = dict[WorkloadKey, Written[Any]]
_OF_NONE: Final = "default"
"""The namespace that keys of cluster-wide kinds have in validation."""


class Grounds:
    """Keeps what is loaded. Not for several threads at once."""

    def __init__(self) -> None:
        self._loaded: dict[ObjectKey, tuple[int, Written[Any]]] = {}
        self._unfit: set[ObjectKey] = set()
        self._noted: frozenset[ObjectKey] | None = None
        self._has_missed = False
        self._kinds: dict[str, _ByKey] = {kind: {} for kind in FIELDS}
        self._mentioned: frozenset[Mention] = frozenset()

    @property
    def is_warm(self) -> bool:
        """Whether the next look is at what has changed alone."""
        return self._noted is not None and not (self._has_missed or self._unfit)

    def note(self, changed: Collection[ObjectKey] | None) -> None:
        """Take note of what may be other than before; None: anything.

        If nobody says so between two looks, the second one compares everything.
        """
        if changed is None:
            self._has_missed = True
        else:
            self._noted = (self._noted or frozenset()).union(changed)

    def of(self, stored: Mapping[ObjectKey, Stored]) -> Objects | None:
        """Return stored objects; None if one of them has problems: then the whole is to be checked.

        What has the same revision as the last time is not loaded again.
        """
        loaded = self._loaded
        changed: Collection[ObjectKey]
        if self._noted is None or self._has_missed:
            changed = stored.keys() | loaded.keys()
        else:
            changed = self._noted
        self._noted, self._has_missed = None, False
        gone = [key for key in changed if key in loaded and key not in stored]
        there = (stored[key] for key in changed if key in stored)
        new = [one for one in there if loaded.get(one.key, _NEVER)[0] != one.revision]
        self._drop(gone)
        self._unfit &= stored.keys()
        self._load(new)
        if self._unfit:
            return None
        fields: dict[str, Any] = {name: self._kinds[kind] for kind, name in FIELDS.items()}
        return Objects(**fields, mentioned=self._mentioned)

    def _drop(self, gone: Collection[ObjectKey]) -> None:
        for key in gone:
            del self._loaded[key]
            self._kinds[key.kind].pop(mention(key)[1], None)
        if gone:
            self._mentioned -= frozenset(map(mention, gone))

    def _load(self, new: Sequence[Stored]) -> None:
        added = set()
        for stored in new:
            (document,) = parsed([stored]).documents
            written, problems = load(document)
            key = mention(stored.key)
            self._unfit.discard(stored.key)
            if written is None or problems:
                self._unfit.add(stored.key)
                self._loaded.pop(stored.key, None)
                continue
            if key not in self._mentioned:
                added.add(key)
            self._kinds[stored.key.kind][key[1]] = written
            self._loaded[stored.key] = (stored.revision, written)
        if added:
            self._mentioned |= added
            for kind in {kind for kind, _ in added}:
                every = self._kinds[kind]
                self._kinds[kind] = {key: every[key] for key in sorted(every)}


_NEVER: Final[tuple[int, Any]] = (-1, None)


def mention(key: ObjectKey) -> Mention:
    """Return how validation speaks of an object."""
    namespace = _OF_NONE if key.namespace == NO_NAMESPACE else key.namespace
    return key.kind, names.key(namespace, key.name)
