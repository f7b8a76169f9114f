"""What docs/howto/metrics.md has Prometheus ask for is there."""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from prometheus_client.metrics_core import Metric

from agent.observed.counts import Counts, Look
from agent.observed.metrics import registry
from katgen.leader.metrics.prometheus import Figures, Metrics
from tests.docs.blocks import Block, blocks
from tests.environment import REPOSITORY

DOCUMENT = REPOSITORY / "docs/howto/metrics.md"
LOOK = Look(late_s=0, applied=(1, 1), known=(1, 1))
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum", "")}
LABELS = {
    "kat_agent_problems": {"topic"},
    "kat_agent_instances": {"state"},
    "kat_agent_drift": {"kind"},
    "kat_nodes": {"condition", "sync"},
    "kat_holds": {"reason"},
    "kat_store_errors_total": {"operation", "error"},
}


def families() -> Iterator[Metric]:
    leader = Metrics()
    leader.look(Figures)
    yield from leader.registry.collect()
    yield from registry(Counts(), lambda: LOOK).collect()


def names() -> set[str]:
    return {f"{one.name}{end}" for one in families() for end in ENDINGS[one.type]}


def block(beginning: str) -> Block:
    (found,) = (one for one in blocks(DOCUMENT) if one.body.startswith(beginning))
    return found


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(block("groups:").body)["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_every_metric_that_the_document_names_is_there() -> None:
    named = set(re.findall(r"\bkat_[a-z_]+\b", DOCUMENT.read_text(encoding="utf-8")))
    assert len(named) > 15
    assert named - names() == set()


def test_every_label_that_an_alert_chooses_by_is_one_of_its_metric() -> None:
    for rule in alerts():
        for name, chosen in re.findall(r"\b(kat_\w+)\{(\w+)", rule["expr"]):
            assert chosen in LABELS[name], rule["alert"]


def test_the_tables_are_those_that_prometheus_takes() -> None:
    jobs = yaml.safe_load(block("rule_files:").body)["scrape_configs"]
    assert [(one["job_name"], one["tls_config"]["server_name"]) for one in jobs] == [
        ("kat-leader", "kat-leader"),
        ("kat-agent", "kat-agent"),
    ]
    assert all(rule.keys() <= {"alert", "expr", "for"} for rule in alerts())
