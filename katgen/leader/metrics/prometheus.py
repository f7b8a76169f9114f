"""What `/metrics` tells, in Prometheus' words.

Labels are bounded: route templates, methods, status codes, and KAT's closed lists of words. None is
a name that a user chose: how one workload or node is, the API says (`katcall get -o json`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Final

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

Counts = Mapping[tuple[str, ...], int]
"""How many, by the values of some labels."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is looked at when somebody asks, and not counted as it happens.

    `nodes` are by condition and sync, `instances` by state and endpoint, `holds` by reason.
    """

    generation: int = 0
    epoch: int = 0
    sessions: int = 0
    events: int = 0
    store_revision: int = 0
    nodes: Counts = field(default_factory=dict)
    instances: Counts = field(default_factory=dict)
    holds: Counts = field(default_factory=dict)


_GAUGES: Final = (
    ("generation", "Generation of the last committed plan."),
    ("epoch", "Epoch of the last committed plan."),
    ("sessions", "Agents that have a session."),
    ("events", "Events that are kept."),
    ("store_revision", "The store's last revision that was seen."),
)
_COUNTS: Final = (
    ("nodes", "Nodes.", ("condition", "sync")),
    ("instances", "Instances of the last committed plan.", ("state", "endpoint")),
    ("holds", "Workloads that are held back.", ("reason",)),
)


class _Looking(Collector):
    """Asks for the figures at each scrape."""

    def __init__(self, look: Callable[[], Figures]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        figures = self._look()
        for name, text in _GAUGES:
            yield GaugeMetricFamily(f"kat_{name}", text, value=getattr(figures, name))
        for name, text, labels in _COUNTS:
            family = GaugeMetricFamily(f"kat_{name}", text, labels=labels)
            for values, count in sorted(getattr(figures, name).items()):
                family.add_metric(values, count)
            yield family

    def describe(self) -> Iterable[Metric]:
        return ()


class Metrics:
    """A registry of its own, and what is counted as it happens."""

    def __init__(self) -> None:
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        build = prometheus.Gauge(
            "kat_build_info", "Always 1.", ("version", "role"), registry=registry
        )
        build.labels(metadata.version("kat"), "leader").set(1)
        self._requests = prometheus.Counter(
            "kat_http_requests", "Answers.", ("route", "method", "status"), registry=registry
        )
        self._latency = prometheus.Histogram(
            "kat_http_request_seconds", "Time to the end of an answer that is no stream.",
            ("route", "method"), buckets=_SHORT_S, registry=registry,
        )  # fmt: skip
        self._streams = prometheus.Gauge(
            "kat_http_streams", "Watches, logs and sessions that are under way.", ("route",),
            registry=registry,
        )  # fmt: skip
        self._plans = prometheus.Histogram(
            "kat_plan_seconds", "Time of a step of planning.", ("step",), buckets=_SHORT_S,
            registry=registry,
        )  # fmt: skip
        self._proposals = prometheus.Counter(
            "kat_proposals", "Plans that were proposed, by what became of them.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self._store = prometheus.Histogram(
            "kat_store_seconds", "Time that the store took.", ("operation",), buckets=_SHORT_S,
            registry=registry,
        )  # fmt: skip
        self._store_errors = prometheus.Counter(
            "kat_store_errors", "Operations that the store did not carry out.",
            ("operation", "error"), registry=registry,
        )  # fmt: skip
        for outcome in ("committed", "refused", "failed"):
            self._proposals.labels(outcome)

    def look(self, look: Callable[[], Figures]) -> None:
        """Have these figures among the metrics. Once."""
        self.registry.register(_Looking(look))

    # -- as it happens

    def answered(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None of a stream."""
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        if seconds is not None:
            self._latency.labels(route, known).observe(seconds)

    @contextmanager
    def streaming(self, route: str) -> Iterator[None]:
        """Count a stream as long as it is open."""
        gauge = self._streams.labels(route)
        with gauge.track_inprogress():
            yield

    @contextmanager
    def planning(self, step: str) -> Iterator[None]:
        """Measure a step: `draft` is a plan made, checked and rendered, `publish` all after it."""
        with self._plans.labels(step).time():
            yield

    def proposed(self, outcome: str) -> None:
        """Count a proposal: committed, refused or failed."""
        self._proposals.labels(outcome).inc()

    @contextmanager
    def storing(self, operation: str) -> Iterator[None]:
        """Measure an operation of the store."""
        begun = time.monotonic()
        try:
            yield
        except Exception as err:
            self._store_errors.labels(operation, type(err).__name__).inc()
            raise
        finally:
            self._store.labels(operation).observe(time.monotonic() - begun)


def counted(values: Iterable[tuple[str, ...]]) -> Counts:
    """Return how often each comes."""
    return Counter(values)
