"""The agent's metrics in Prometheus' words. Imported when somebody asks: the library takes 1 MB."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import prometheus_client as prometheus
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.machine import kat_version
from agent.observed.counts import Counts, Look, Spread

_COUNTERS: Final = (
    ("applies", "applies", "Committed plans, by what they came to here.", ("outcome",)),
    ("actions", "actions", "Steps of applies.", ("verb",)),
    ("start_failures", "start_failures", "Units that did not start in an apply.", ()),
    ("apply_failures", "refusals", "What could not be taken or applied.", ("topic",)),
    ("probes", "probes", "Checks of health.", ("purpose", "kind", "result")),
    ("endpoint_changes", "turns", "Instances of this node that changed state.", ("state",)),
    ("drains", "drains", "Times that instances left traffic before a stop.", ("outcome",)),
    ("rule_changes", "rule_changes", "Transactions of packet rules' elements.", ("outcome",)),
    ("rules_restored", "rules_restored", "Times that packet rules were not as KAT left them.", ()),
    ("udp_forgotten", "udp_forgotten", "UDP connections to who has left a service.", ()),
    ("sessions", "sessions", "Sessions with a leader.", ()),
)
_SPREADS: Final = (
    ("apply_seconds", "apply_s", "Time of an apply that changed something."),
    ("endpoint_effect_seconds", "effect_s", "From news of who is ready to rules and names."),
    ("rule_change_seconds", "rule_s", "Time of a transaction of packet rules' elements."),
)
_TALLIES: Final = (
    ("instances", "instances", "Instances on this node, by systemd's state.", "state"),
    ("endpoints", "endpoints", "Instances of this node that services may lead to.", "state"),
    ("drift", "drift", "What somebody changed behind KAT's back.", "kind"),
)
_FLAGS: Final = (
    ("session", "is_connected", "Whether a leader answers."),
    ("applying", "is_applying", "Whether an apply is under way."),
    ("held", "is_held", "Whether leaders are not followed since a rollback by hand."),
    ("instances_ready", "ready", "Instances that are ready."),
    ("last_contact_timestamp_seconds", "contact", "When a leader was last heard; 0 is never."),
    ("late_seconds", "late_s", "For how long the agent's own ticks are overdue."),
)


def registry(counts: Counts, look: Callable[[], Look]) -> prometheus.CollectorRegistry:
    """Return what is asked at each scrape."""
    made = prometheus.CollectorRegistry()
    prometheus.ProcessCollector(registry=made)
    made.register(_Agent(counts, look))
    return made


class _Agent(Collector):
    def __init__(self, counts: Counts, look: Callable[[], Look]) -> None:
        self._counts, self._look = counts, look

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("kat_build_info", "Always 1.", labels=("version", "role"))
        build.add_metric((kat_version(), "agent"), 1)
        yield build
        look = self._look()
        yield from _looked_at(look)
        yield from _counted(self._counts, look)

    def describe(self) -> Iterable[Metric]:
        return ()


def _looked_at(look: Look) -> Iterator[Metric]:
    for name, attribute, text in _FLAGS:
        yield GaugeMetricFamily(f"kat_agent_{name}", text, value=getattr(look, attribute))
    for which, mark in (("applied", look.applied), ("known", look.known)):
        if mark is not None:
            epoch, generation = mark
            text = f"Of the plan {which} here."
            yield GaugeMetricFamily(f"kat_agent_{which}_epoch", text, value=epoch)
            yield GaugeMetricFamily(f"kat_agent_{which}_generation", text, value=generation)
    problems = GaugeMetricFamily(
        "kat_agent_problems", "1 for each topic in which something is wrong.", labels=("topic",)
    )
    for topic in sorted(look.problems):
        problems.add_metric((topic,), 1)
    yield problems
    for name, attribute, text, label in _TALLIES:
        family = GaugeMetricFamily(f"kat_agent_{name}", text, labels=(label,))
        for value, count in sorted(getattr(look, attribute).items()):
            family.add_metric((value,), count)
        yield family


def _counted(counts: Counts, look: Look) -> Iterator[Metric]:
    for name, attribute, text, labels in _COUNTERS:
        family = CounterMetricFamily(f"kat_agent_{name}", text, labels=labels)
        for values, count in sorted(getattr(counts, attribute).items()):
            family.add_metric(values, count)
        yield family
    restarts = CounterMetricFamily(
        "kat_agent_restarts", "Instances started again, by whom.", labels=("by",)
    )
    restarts.add_metric(("systemd",), counts.restarts[("systemd",)])
    restarts.add_metric(("liveness",), look.revived)
    yield restarts
    for name, attribute, text in _SPREADS:
        spread: Spread = getattr(counts, attribute)
        yield HistogramMetricFamily(
            f"kat_agent_{name}", text, buckets=spread.up_to(), sum_value=spread.sum_s
        )
    probes = HistogramMetricFamily(
        "kat_agent_probe_seconds", "Time of a check of health.", labels=("kind",)
    )
    for kind, spread in counts.probe_s.items():
        probes.add_metric((kind,), buckets=spread.up_to(), sum_value=spread.sum_s)
    yield probes
