"""What endpoint state wants of the packet rules, service by service, so that a change costs little.

It is told what may differ, and works out anew only what has to do with that.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.endpoints.elements import NOTHING, Elements, Share, merged, share
from katgen.endpoints import DRAINING, READY, NamespaceServices, Service, States
from katgen.errors import EncodeError
from katgen.names import InstanceKey

_NONE: Final = Share(NOTHING)
_SERVE: Final = frozenset({READY, DRAINING})


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
    """By `<ns>/<workload>`; `own` are those of the last time.

    `problems` are of services that no packet rule can hold: theirs stay as they were.
    """

    problems: dict[str, str] = field(default_factory=dict)
    _services: dict[str, Service] = field(default_factory=dict)
    _shares: dict[str, Share] = field(default_factory=dict)
    _namespaces: dict[str, NamespaceServices] = field(default_factory=dict)
    _own: frozenset[InstanceKey] = frozenset()
    _chains: Counter[str] = field(default_factory=Counter)

    def elements(self) -> Elements:
        """Return all of them."""
        return merged(one.elements for one in self._shares.values())

    def chains(self) -> frozenset[str]:
        """Return the chains of slots to which virtual addresses lead."""
        return frozenset(self._chains)

    def addresses(self) -> frozenset[str]:
        """Return virtual addresses and those of candidates: keys of elements begin with them."""
        services = self._services.values()
        candidates = (one.address for service in services for one in service.candidates)
        return frozenset((*(one.virtual_address for one in services), *candidates))

    def virtual_addresses(self) -> frozenset[str]:
        """Return those of all services that have one."""
        all_ = (one.virtual_address for one in self._services.values())
        return frozenset(one for one in all_ if one)

    def answering(self) -> Mapping[str, frozenset[str]]:
        """Return who answers at each virtual address with UDP ports."""
        return {one.virtual: one.targets for one in self._shares.values() if one.virtual}

    def follow(
        self,
        services: Iterable[NamespaceServices],
        states: States,
        own: Mapping[InstanceKey, str],
        changed: Collection[InstanceKey] | None = None,
    ) -> Difference:
        """Take over what is so now. `own` are the instances of this node, with their addresses.

        `changed` are those whose state may be another, None for any. Of services that did not
        change the same objects are best given again.
        """
        namespaces = {one.namespace: one for one in services}
        fresh = self._fresh(namespaces)
        keys = self._services.keys() if changed is None else self._touched(changed, own)
        known = {key: self._services[key] for key in keys if key in self._services}
        now: dict[str, Service | None] = {**known, **fresh}
        serving = {at for one, at in own.items() if at and states.get(one) in _SERVE}
        shares = {key: self._share(key, one, states, (own, serving)) for key, one in now.items()}
        old = {key: self._shares.get(key, _NONE) for key in shares}
        self._take(now, shares)
        self._namespaces, self._own = namespaces, frozenset(own)
        return Difference(
            merged(one.elements for one in old.values()),
            merged(one.elements for one in shares.values()),
            _left(old.values(), shares.values()),
        )

    def _touched(
        self, changed: Collection[InstanceKey], own: Mapping[InstanceKey, str]
    ) -> set[str]:
        """Return the services of those whose state or place differs."""
        return {one.rpartition("/")[0] for one in (*changed, *(self._own ^ own.keys()))}

    def _share(
        self,
        key: str,
        service: Service | None,
        states: States,
        here: tuple[Collection[InstanceKey], Collection[str]],
    ) -> Share:
        """Return what a service has; one that no packet rule can hold keeps what it had."""
        self.problems.pop(key, None)
        if service is None:
            return _NONE
        try:
            return share(service, states, *here)
        except EncodeError as err:
            self.problems[key] = f"{key}: {err}"
            return self._shares.get(key, _NONE)

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
            self._chains.subtract(_chains_of(self._shares.get(key, _NONE)))
            self._chains.update(_chains_of(shares[key]))
            if one is None:
                self._services.pop(key, None)
                self._shares.pop(key, None)
            else:
                self._services[key], self._shares[key] = one, shares[key]
        self._chains = +self._chains


def _chains_of(one: Share) -> list[str]:
    return [verdict.removeprefix("goto ") for verdict in one.elements.services.values()]


def _left(old: Iterable[Share], new: Iterable[Share]) -> frozenset[str]:
    answering = {one.virtual: one.targets for one in new if one.virtual}
    return frozenset(
        one.virtual
        for one in old
        if one.virtual and one.targets - answering.get(one.virtual, frozenset())
    )
