"""Rules over topologies: spread, and nearness to or distance from other workloads.

A rule knows how many instances it counts in each domain (value of its topology key) and is told of
every instance of its
own workload that comes or goes while the workload is being placed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from katgen.schedule.needs import Company

Domains = list[str | None]


@dataclass(slots=True)
class Spread:
    """No domain may have more than `skew` instances above the emptiest one."""

    topology: str
    skew: int
    domains: Domains
    counts: Counter[str]
    """Holds every domain that the workload may use, the empty ones too."""
    levels: Counter[int] = field(default_factory=Counter)
    least: int = 0

    def __post_init__(self) -> None:
        self.levels = Counter(self.counts.values())
        self.least = min(self.levels, default=0)

    def note(self, i: int, by: int) -> None:
        """Count an instance on node `i` that came (1) or went (-1)."""
        domain = self.domains[i]
        if domain is None or domain not in self.counts:
            return
        before = self.counts[domain]
        self.counts[domain] = before + by
        self.levels[before] -= 1
        self.levels[before + by] += 1
        if by < 0:
            self.least = min(self.least, before + by)
        elif not self.levels[self.least]:
            self.least += 1

    def blocks(self, i: int) -> bool:
        """Whether one more instance on node `i` breaks the rule."""
        domain = self.domains[i]
        return domain is None or self.counts[domain] + 1 - self.least > self.skew

    def detail(self, i: int) -> str:
        """Say what is in the way on node `i`."""
        domain = self.domains[i]
        if domain is None:
            return f"the node has no label {self.topology}"
        return (
            f"{domain} has {self.counts[domain]}, the emptiest {self.least}, maxSkew is {self.skew}"
        )

    @property
    def name(self) -> str:
        """Name the rule."""
        return f"spread over {self.topology}"


@dataclass(slots=True)
class Near:
    """A domain must have a matching instance; the very first may go anywhere if it matches."""

    company: Company
    topology: str
    domains: Domains
    counts: Counter[str]
    counts_itself: bool

    def note(self, i: int, by: int) -> None:
        """Count an instance on node `i` that came (1) or went (-1)."""
        _note(self, i, by)

    def blocks(self, i: int) -> bool:
        """Whether node `i` is out of reach of what the workload must be near."""
        domain = self.domains[i]
        if domain is None:
            return True
        if self.counts[domain] > 0:
            return False
        return not self.counts_itself or any(n > 0 for n in self.counts.values())

    def detail(self, i: int) -> str:
        """Say what is in the way on node `i`."""
        domain = self.domains[i]
        if domain is None:
            return f"the node has no label {self.topology}"
        return f"none in {domain}"

    @property
    def name(self) -> str:
        """Name the rule."""
        return f"must be near {_shown(self.company)}"


@dataclass(slots=True)
class Apart:
    """A domain must have no matching instance. `whose` is set if the rule is another workload's."""

    company: Company
    topology: str
    domains: Domains
    counts: Counter[str]
    counts_itself: bool
    whose: str = ""

    def note(self, i: int, by: int) -> None:
        """Count an instance on node `i` that came (1) or went (-1)."""
        _note(self, i, by)

    def blocks(self, i: int) -> bool:
        """Whether what the workload must keep away from is in the domain of node `i`."""
        domain = self.domains[i]
        return domain is not None and self.counts[domain] > 0

    def detail(self, i: int) -> str:
        """Say what is in the way on node `i`."""
        domain = str(self.domains[i])
        return f"{self.counts[domain]} in {domain}"

    @property
    def name(self) -> str:
        """Name the rule."""
        if self.whose:
            return f"{self.whose} keeps {_shown(self.company)} away"
        return f"must be apart from {_shown(self.company)}"


Rule = Spread | Near | Apart


@dataclass(slots=True)
class Lean:
    """A preference: each matching instance in the domain is worth `weight`, maybe below zero."""

    topology: str
    weight: int
    domains: Domains
    counts: Counter[str]
    counts_itself: bool

    def note(self, i: int, by: int) -> None:
        """Count an instance on node `i` that came (1) or went (-1)."""
        _note(self, i, by)

    def worth(self, i: int) -> int:
        """Return what node `i` gains or loses."""
        domain = self.domains[i]
        return 0 if domain is None else self.weight * self.counts[domain]


def _note(rule: Near | Apart | Lean, i: int, by: int) -> None:
    domain = rule.domains[i]
    if rule.counts_itself and domain is not None:
        rule.counts[domain] += by


def count_domains(domains: Domains, nodes: Iterable[int]) -> Counter[str]:
    """Return how many of the instances on `nodes` each domain has."""
    counts: Counter[str] = Counter()
    for i in nodes:
        domain = domains[i]
        if domain is not None:
            counts[domain] += 1
    return counts


def is_company(labels: Mapping[str, str], company: Company) -> bool:
    """Whether a workload with these labels is one that the term means."""
    return all(labels.get(key) == value for key, value in company.labels)


def _shown(company: Company) -> str:
    labels = ", ".join(f"{key}={value}" for key, value in company.labels)
    return f"{labels} ({company.topology})"
