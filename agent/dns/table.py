"""All that is answered from memory: every question's answer, every name, every zone."""

from collections.abc import Generator
from typing import Final

from agent.dns import wire
from agent.dns.answers import (
    NOT_KNOWN,
    Answer,
    Answers,
    Negatives,
    Withdrawn,
    domain_zone,
    negatives,
    positives,
)
from agent.dns.zonefile import Rrset, Zone

STEP: Final = 64
"""Workloads to work out before others have their turn."""


class Table:
    """`answers` and `names` are read for every question; only this class changes them.

    `names` holds every name there is, those between a name and its zone too, with what is answered
    to a type that it has not. Below the cluster's `domain` there is nothing but zones of one label;
    none is denied unless it is known which there are, `knows_zones`.
    """

    def __init__(self, domain: str) -> None:
        self.domain: Final = wire.name_from_text(f"{domain}.")
        self.answers: Final[Answers] = {}
        self.names: Final[dict[bytes, Answer]] = {}
        self._depth = len(wire.parents(self.domain))
        self._zones: dict[bytes, tuple[Zone, Negatives]] = {}
        self._withdrawn: dict[str, Withdrawn] = {}
        self._doubtful: set[bytes] = set()
        self.knows_zones = True
        list(self.taking(domain_zone(self.domain)))

    def taking(self, zone: Zone) -> Generator[None, None, None]:
        """Put a zone in the place of the one that had its origin; all of it at once, at the end."""
        hidden = self._withdrawn.get(zone.namespace, {})
        negative = negatives(zone.origin, zone.soa)
        fresh: Answers = {}
        names: dict[bytes, Answer] = {}
        for number, (label, sets) in enumerate(zone.workloads.items(), 1):
            fresh |= _answers(zone, label, hidden)
            names |= dict.fromkeys(_names(zone, sets), negative.no_data)
            if number % STEP == 0:
                yield
        self._put(zone, negative, fresh, names)
        # What was withdrawn meanwhile.
        self._hide(zone, hidden, self._withdrawn.get(zone.namespace, {}))

    def _put(self, zone: Zone, negative: Negatives, fresh: Answers, names: Answers) -> None:
        old, _ = self._zones.get(zone.origin, (None, None))
        gone = [name for name in _all_names(old) if name not in names] if old else []
        stale = [question for question in _questions(old) if question not in fresh] if old else []
        self.answers.update(fresh)
        self.names.update(names)
        for question in stale:
            self.answers.pop(question, None)
        for name in gone:
            self.names.pop(name, None)
        self._zones[zone.origin] = (zone, negative)
        self._doubtful.discard(zone.origin)

    def drop(self, namespace: str) -> None:
        """Forget a zone: its names are not there any more."""
        origin = self._origin(namespace)
        self._doubtful.discard(origin)
        zone, _ = self._zones.pop(origin, (None, None))
        if zone is not None:
            for question in _questions(zone):
                self.answers.pop(question, None)
            for name in _all_names(zone):
                self.names.pop(name, None)

    def doubt(self, namespace: str) -> None:
        """Say that there is a zone which could not be read: none of its names is denied.

        A zone that was read before is answered as it was.
        """
        self._doubtful.add(self._origin(namespace))

    def withdraw(self, namespace: str, withdrawn: Withdrawn) -> int:
        """Say which addresses a namespace's names leave out; return how many workloads change."""
        before = self._withdrawn.get(namespace, {})
        self._withdrawn[namespace] = withdrawn
        zone, _ = self._zones.get(self._origin(namespace), (None, None))
        return self._hide(zone, before, withdrawn) if zone else 0

    def _hide(self, zone: Zone, before: Withdrawn, after: Withdrawn) -> int:
        nothing = frozenset[bytes]()
        changed = [
            label
            for label in {*before, *after}
            if before.get(label, nothing) != after.get(label, nothing) and label in zone.workloads
        ]
        for label in changed:
            fresh = _answers(zone, label, after)
            for one in zone.workloads[label]:
                question = _question(one)
                if question in fresh:
                    self.answers[question] = fresh[question]
                else:
                    self.answers.pop(question, None)
        return len(changed)

    def is_ours(self, name: bytes) -> bool:
        """Whether a name (lower case) is the cluster's domain or below it."""
        return name.endswith(self.domain) and self.domain in wire.parents(name)

    def not_there(self, name: bytes) -> Answer:
        """Return the answer to a name of ours that is not in `names`."""
        above = wire.parents(name)
        own = above[-self._depth - 1] if len(above) > self._depth else self.domain
        known = self._zones.get(own)
        if known is None and (own in self._doubtful or not self.knows_zones):
            return NOT_KNOWN
        _, negative = known or self._zones[self.domain]
        return negative.no_name

    def _origin(self, namespace: str) -> bytes:
        return wire.label(namespace.encode(errors="replace")) + self.domain


def _answers(zone: Zone, label: bytes, withdrawn: Withdrawn) -> Answers:
    hidden = withdrawn.get(label, frozenset())
    return positives(zone.workloads[label], hidden, wire.label(label) + zone.origin)


def _names(zone: Zone, sets: tuple[Rrset, ...]) -> Generator[bytes, None, None]:
    """Yield names and what is between them and their zone, RFC 4592 §2.2.2."""
    for one in sets:
        name = one.name
        while len(name) >= len(zone.origin):
            yield name
            name = name[name[0] + 1 :]


def _all_names(zone: Zone) -> set[bytes]:
    return {name for sets in zone.workloads.values() for name in _names(zone, sets)}


def _questions(zone: Zone) -> list[bytes]:
    return [_question(one) for sets in zone.workloads.values() for one in sets]


def _question(one: Rrset) -> bytes:
    return one.name + one.type.to_bytes(2) + wire.IN.to_bytes(2)
