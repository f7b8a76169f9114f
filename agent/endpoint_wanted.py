"""What endpoint state wants of the packet rules, service by service, so that a change costs little.

It is told everything each time, and works out anew only what has to do with something that differs.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.endpoint_elements import NOTHING, Elements, Share, merged, share
from katgen.endpoints import NamespaceServices, Service, States
from katgen.names import InstanceKey

_NONE: Final = Share(NOTHING)


@dataclass(frozen=True, slots=True)
class Difference:
    """Elements of the services that differ, before and after.

    `left`: virtual addresses that led UDP clients to somebody to whom they lead no more.
    """

    old: Elements
    new: Elements
    left: frozenset[str]


@dataclass(eq=False, slots=True)
class Wanted:
    """By `<ns>/<workload>`; `states` and `own` are those of the last time."""

    _services: dict[str, Service] = field(default_factory=dict)
    _shares: dict[str, Share] = field(default_factory=dict)
    _namespaces: dict[str, NamespaceServices] = field(default_factory=dict)
    _states: dict[InstanceKey, str] = field(default_factory=dict)
    _own: frozenset[InstanceKey] = frozenset()

    def elements(self) -> Elements:
        """Return all of them."""
        return merged(one.elements for one in self._shares.values())

    def answering(self) -> Mapping[str, frozenset[str]]:
        """Return who answers at each virtual address with UDP ports."""
        return {one.virtual: one.targets for one in self._shares.values() if one.virtual}

    def follow(
        self, services: Iterable[NamespaceServices], states: States, own: Collection[InstanceKey]
    ) -> Difference:
        """Take over what is so now. EncodeError for what no packet rule can hold; nothing is then.

        Of services that did not change the same objects are best given again.
        """
        namespaces = {one.namespace: one for one in services}
        touched = self._instances(states, own)
        keys = {one.rpartition("/")[0] for one in touched}
        fresh = self._fresh(namespaces)
        changed = {key for key in keys if key in self._services or key in fresh} | fresh.keys()
        now = {key: fresh.get(key, self._services.get(key)) for key in changed}
        shares = {key: share(one, states, own) if one else _NONE for key, one in now.items()}
        old = {key: self._shares.get(key, _NONE) for key in shares}
        self._take(now, shares)
        self._namespaces, self._states, self._own = namespaces, dict(states), frozenset(own)
        return Difference(
            merged(one.elements for one in old.values()),
            merged(one.elements for one in shares.values()),
            _left(old.values(), shares.values()),
        )

    def _instances(self, states: States, own: Collection[InstanceKey]) -> set[InstanceKey]:
        """Return whose state or place differs."""
        before = self._states
        differ = {one for one, state in states.items() if before.get(one) != state}
        return differ | (before.keys() - states.keys()) | (self._own ^ frozenset(own))

    def _fresh(self, namespaces: Mapping[str, NamespaceServices]) -> dict[str, Service | None]:
        """Return the services that differ, None for one that is gone."""
        found: dict[str, Service | None] = {}
        for name in self._namespaces.keys() | namespaces.keys():
            old, new = self._namespaces.get(name), namespaces.get(name)
            if old is not new:
                before = {f"{name}/{one.workload}": one for one in (old.services if old else ())}
                after = {f"{name}/{one.workload}": one for one in (new.services if new else ())}
                found |= {k: after.get(k) for k in before | after if before.get(k) != after.get(k)}
        return found

    def _take(self, services: Mapping[str, Service | None], shares: Mapping[str, Share]) -> None:
        for key, one in services.items():
            if one is None:
                self._services.pop(key, None)
                self._shares.pop(key, None)
            else:
                self._services[key], self._shares[key] = one, shares[key]


def _left(old: Iterable[Share], new: Iterable[Share]) -> frozenset[str]:
    answering = {one.virtual: one.targets for one in new if one.virtual}
    return frozenset(
        one.virtual
        for one in old
        if one.virtual and one.targets - answering.get(one.virtual, frozenset())
    )
