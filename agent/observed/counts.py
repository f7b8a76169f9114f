"""What the agent counts as it happens. Numbers alone: `agent.observed.metrics` has words for them.

Labels are closed lists of KAT's own words, never the name of an instance or of anything a user
named: how one of them is, `katcall get instances` and the journal say.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.bundle import Probe

SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LONG_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Tally = Counter[tuple[str, ...]]
"""How often, by the values of a metric's labels."""


class Spread:
    """Durations: how many were at most as long as each bound, how many in all, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.sum_s = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        """Take in a duration; a clock that went backwards counts as none."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += max(0.0, seconds)

    def up_to(self) -> list[tuple[str, float]]:
        """Return bounds with how many lasted no longer, the last for all, as Prometheus has it."""
        found, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


def _zero(*labels: tuple[str, ...]) -> Tally:
    """Return a tally that names these from the start: a rate needs a first value."""
    return Counter(dict.fromkeys(labels, 0))


@dataclass(eq=False, slots=True)
class Counts:
    """One agent's, from its start on."""

    applies: Tally = field(default_factory=lambda: _zero(("changed",), ("unchanged",), ("failed",)))
    apply_s: Spread = field(default_factory=lambda: Spread(LONG_S))
    actions: Tally = field(default_factory=Counter)
    start_failures: Tally = field(default_factory=lambda: _zero(()))
    refusals: Tally = field(default_factory=lambda: _zero(("record",), ("bundle",), ("apply",)))
    probes: Tally = field(default_factory=Counter)
    probe_s: Mapping[str, Spread] = field(
        default_factory=lambda: {kind: Spread(SHORT_S) for kind in ("http", "tcp", "exec")}
    )
    restarts: Tally = field(default_factory=lambda: _zero(("systemd",)))
    turns: Tally = field(default_factory=lambda: _zero(("ready",), ("notready",), ("draining",)))
    effect_s: Spread = field(default_factory=lambda: Spread(SHORT_S))
    drains: Tally = field(default_factory=lambda: _zero(("known",), ("unanswered",), ("alone",)))
    rule_changes: Tally = field(default_factory=lambda: _zero(("done",), ("failed",)))
    rule_s: Spread = field(default_factory=lambda: Spread(SHORT_S))
    rules_restored: Tally = field(default_factory=lambda: _zero(()))
    udp_forgotten: Tally = field(default_factory=lambda: _zero(()))
    sessions: Tally = field(default_factory=lambda: _zero(()))

    def applied(self, outcome: str, seconds: float, verbs: Iterable[str] = ()) -> None:
        """Count an apply: changed, unchanged or failed; `verbs` of its actions."""
        self.applies[(outcome,)] += 1
        for verb in verbs:
            self.actions[(verb,)] += 1
        if outcome != "unchanged":
            self.apply_s.add(seconds)

    def not_started(self, units: int) -> None:
        """Count units that an apply could not start."""
        self.start_failures[()] += units

    def refused(self, topic: str) -> None:
        """Count that a record, a bundle or an apply came to nothing."""
        self.refusals[(topic,)] += 1

    def probed(self, probe: Probe, result: str, seconds: float) -> None:
        """Count a check; `result` is good, bad, or unknown: this machine could not make it.

        The time that it waited for its turn counts.
        """
        self.probes[(probe.purpose, probe.kind, result)] += 1
        self.probe_s[probe.kind].add(seconds)

    def restarted(self, times: int) -> None:
        """Count that systemd has started instances again."""
        self.restarts[("systemd",)] += times

    def turned(self, state: str) -> None:
        """Count that an instance of this node has become ready, notready or draining."""
        self.turns[(state,)] += 1

    def effective(self, seconds: float) -> None:
        """Count that packet rules and names follow what was heard so long ago."""
        self.effect_s.add(seconds)

    def drained(self, outcome: str) -> None:
        """Count that instances left traffic: all know it, somebody did not answer, or no leader."""
        self.drains[(outcome,)] += 1

    def rules_changed(self, seconds: float, *, is_done: bool) -> None:
        """Count a transaction of element operations."""
        self.rule_changes[("done" if is_done else "failed",)] += 1
        self.rule_s.add(seconds)

    def restored(self) -> None:
        """Count that packet rules were not as KAT had left them."""
        self.rules_restored[()] += 1

    def forgot(self, connections: int) -> None:
        """Count UDP connections that the kernel was told to forget."""
        self.udp_forgotten[()] += connections

    def connected(self) -> None:
        """Count a session with a leader."""
        self.sessions[()] += 1


@dataclass(frozen=True, slots=True)
class Look:
    """What is so now. `late_s` is for how long no tick came beyond what is usual, 0 if they come.

    `applied` and `known` are (epoch, generation), None if that is not known; `contact` is when the
    leader was last heard, in Unix seconds, 0 for never. `is_resumed`: no apply is half done.
    `problems` are topics.
    """

    late_s: float
    applied: tuple[int, int] | None
    known: tuple[int, int] | None
    is_resumed: bool = False
    is_applying: bool = False
    is_held: bool = False
    is_connected: bool = False
    contact: float = 0
    problems: frozenset[str] = frozenset()
    drift: Mapping[str, int] = field(default_factory=dict)
    instances: Mapping[str, int] = field(default_factory=dict)
    endpoints: Mapping[str, int] = field(default_factory=dict)
    ready: int = 0
    revived: int = 0
