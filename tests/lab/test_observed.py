"""Whoever watches an agent on a real host hears how it is, and nobody else does."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.blocks import is_match
from tests.lab.cluster import OneNode, one_node
from tests.lab.settled import until, until_in_sync
from tests.story import story

AGENT, LEADER = "kat-agent.service", "kat-leader.service"
LOCAL = "http://127.0.0.1:9116"
FOLDER = "/var/lib/kat/agent"
APPLIED = f"{FOLDER}/applied.json"
PROBED = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: web}}
spec:
  type: Service
  replicas: 2
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ["mkdir /tmp/www; cd /tmp/www; echo >healthz; exec httpd -f -p 8080 -h /tmp/www"]
    ports: [{{name: http, containerPort: 8080}}]
    readiness: {{http: {{path: /healthz, port: 8080}}, periodSeconds: 1, timeoutSeconds: 1,
      failureThreshold: 1}}
    stopTimeoutSeconds: 1
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: web}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply(PROBED.format(image=made.image))
        until_ready(made, 2)
        yield made


def curl(kat: OneNode, *arguments: str) -> tuple[str, str]:
    """Return body and status of an answer; 000 is none."""
    argv = ["curl", "-s", "-m", "10", "-w", "\n%{http_code}", *arguments]
    body, _, status = kat.node.run(argv, check=False).stdout.rpartition("\n")
    return body, status


def by_network(kat: OneNode, path: str, *, is_known: bool) -> tuple[str, str]:
    """Ask over TLS at the advertised address, as a Prometheus elsewhere does."""
    known = ["--cert", f"{FOLDER}/node.crt", "--key", f"{FOLDER}/node.key"]
    named = ["--resolve", f"kat-agent:9116:{kat.node.address}", "--cacert", f"{FOLDER}/ca.crt"]
    return curl(kat, *named, *(known if is_known else ()), f"https://kat-agent:9116{path}")


def scraped(kat: OneNode) -> dict[str, float]:
    """Return the agent's values, by name and labels."""
    text, status = curl(kat, f"{LOCAL}/metrics")
    assert status == "200"
    return {
        one.name + "".join(f",{name}={value}" for name, value in sorted(one.labels.items())):
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }  # fmt: skip


def until_ready(kat: OneNode, count: int) -> None:
    found = f"curl -s {LOCAL}/metrics | grep -qx 'kat_agent_instances_ready {count}.0'"
    until(kat.node, found, within_s=60, each_s=0.2)


def test_on_the_node_anybody_hears_that_it_is_healthy_and_ready(kat: OneNode) -> None:
    assert curl(kat, f"{LOCAL}/healthz") == ("ok", "200")
    assert curl(kat, f"{LOCAL}/readyz") == ("ok", "200")


def test_by_network_only_a_certificate_of_the_cluster_opens_it(kat: OneNode) -> None:
    assert by_network(kat, "/readyz", is_known=True) == ("ok", "200")
    assert by_network(kat, "/metrics", is_known=True)[1] == "200"
    assert by_network(kat, "/healthz", is_known=False) == ("", "000")


def test_nothing_else_listens_on_its_port(kat: OneNode) -> None:
    listed = kat.node.run(["ss", "-Hltn", "sport", "=", ":9116"]).stdout.split("\n")
    found = sorted(line.split()[3] for line in listed if line)
    assert found == ["127.0.0.1:9116", f"{kat.node.address}:9116"]


def test_metrics_are_what_prometheus_expects(kat: OneNode) -> None:
    text, _ = curl(kat, f"{LOCAL}/metrics")
    found = {one.name: one for one in text_string_to_metric_families(text)}
    assert all(one.documentation and one.type != "unknown" for one in found.values())
    assert all(
        sample.name.endswith("_total")
        for one in found.values()
        if one.type == "counter"
        for sample in one.samples
    )
    samples = [(s.name, *sorted(s.labels.items())) for one in found.values() for s in one.samples]
    assert len(samples) == len(set(samples))
    assert not [one for one in samples if "web" in str(one)]
    assert found["process_resident_memory_bytes"].samples[0].value > 0


def test_what_the_document_on_metrics_shows_is_so(kat: OneNode) -> None:
    told = story("metrics", "docs/howto/metrics.md")
    assert len(told) > 3
    for one in told:
        script = f"cd /root; {{ {one.text}\n}} 2>&1"
        printed = tuple(kat.node.run(["bash", "-c", script]).stdout.splitlines())
        assert is_match(one.output, printed), f"metrics.md:{one.line}: {one.text}\n{printed}"


def test_an_apply_and_a_flap_are_seen(kat: OneNode) -> None:
    before = scraped(kat)
    assert before["kat_agent_instances,state=active"] == 2
    assert before["kat_agent_endpoints,state=ready"] == 2
    assert before["kat_agent_session"] == 1
    name = min(kat.pids())
    kat.node.run(["podman", "exec", name, "rm", "/tmp/www/healthz"])  # noqa: S108 -- the container's
    until_ready(kat, 1)
    kat.node.run(["podman", "exec", name, "touch", "/tmp/www/healthz"])  # noqa: S108 -- the same
    until_ready(kat, 2)
    flapped = scraped(kat)
    assert grown(before, flapped, "kat_agent_endpoint_changes_total,state=notready") == 1
    assert grown(before, flapped, "kat_agent_endpoint_changes_total,state=ready") == 1
    assert grown(before, flapped, "kat_agent_endpoint_effect_seconds_count") == 2
    assert grown(before, flapped, "kat_agent_rule_changes_total,outcome=done") == 2
    bad = "kat_agent_probes_total,kind=http,purpose=readiness,result=bad"
    assert flapped[bad] > before.get(bad, 0)
    assert grown(before, flapped, "kat_agent_applies_total,outcome=changed") == 0
    kat.katcall("scale", "web", "--replicas", "1")
    until_in_sync(kat)
    scaled = scraped(kat)
    assert grown(before, scaled, "kat_agent_applies_total,outcome=changed") == 1
    assert grown(before, scaled, "kat_agent_apply_seconds_count") == 1
    assert grown(before, scaled, "kat_agent_drains_total,outcome=known") == 1
    assert grown(before, scaled, "kat_agent_applied_generation") == 1
    assert scaled["kat_agent_instances,state=active"] == 1


def grown(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after[name] - before.get(name, 0)


def test_packet_rules_that_somebody_flushed_are_counted_when_they_are_back(kat: OneNode) -> None:
    kat.node.run(["nft", "delete", "table", "inet", "kat"])
    until(kat.node, f"curl -s {LOCAL}/metrics | grep -qx 'kat_agent_rules_restored_total 1.0'")


def test_with_no_leader_a_node_is_ready_and_says_since_when_it_is_alone(kat: OneNode) -> None:
    kat.node.run(["systemctl", "stop", LEADER])
    try:
        until(kat.node, f"curl -s {LOCAL}/metrics | grep -qx 'kat_agent_session 0.0'")
        contact = scraped(kat)["kat_agent_last_contact_timestamp_seconds"]
        now = float(kat.node.run(["date", "+%s"]).stdout)
        assert now - 60 < contact <= now + 1
        assert curl(kat, f"{LOCAL}/readyz") == ("ok", "200")
    finally:
        kat.node.run(["systemctl", "start", LEADER])
        until_in_sync(kat)


def test_an_agent_whose_memory_is_damaged_is_not_ready(kat: OneNode) -> None:
    kat.node.run(["mv", APPLIED, "/root/applied.json"])
    kat.node.put(APPLIED, b"{")
    try:
        assert curl(kat, f"{LOCAL}/readyz") == ("not ready: plan", "503")
        assert curl(kat, f"{LOCAL}/healthz") == ("ok", "200")
    finally:
        kat.node.run(["mv", "/root/applied.json", APPLIED])
    until(kat.node, f'test "$(curl -s {LOCAL}/readyz)" = ok')


def test_an_agent_that_is_stopped_answers_nobody(kat: OneNode) -> None:
    kat.node.run(["systemctl", "stop", AGENT])
    try:
        assert curl(kat, f"{LOCAL}/healthz") == ("", "000")
    finally:
        kat.node.run(["systemctl", "start", AGENT])
        until_in_sync(kat)
