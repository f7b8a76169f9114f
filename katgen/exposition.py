"""Metrics as leader and agent send them: in Prometheus' text format, or the same as JSON."""

from collections.abc import Mapping
from typing import Final

import msgspec
import prometheus_client as prometheus
from prometheus_client.metrics_core import Metric

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float


class Family(msgspec.Struct, frozen=True):
    """A metric. `type` is counter, gauge or histogram."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


class Families(msgspec.Struct, frozen=True):
    """All metrics."""

    metrics: tuple[Family, ...]


def text(registry: prometheus.CollectorRegistry) -> bytes:
    """Return all metrics in Prometheus' text format."""
    return prometheus.generate_latest(registry)


def families(registry: prometheus.CollectorRegistry) -> Families:
    """Return all metrics as values. What is no number in JSON (infinity as a label) is text."""
    return Families(tuple(map(_family, registry.collect())))


def _family(found: Metric) -> Family:
    samples = tuple(Sample(one.name, one.labels, one.value) for one in found.samples)
    return Family(found.name, found.type, found.documentation, samples)
