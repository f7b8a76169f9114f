"""A cluster whose store is an etcd: what the embedded store does, and what only etcd can do.

The tests of one node run here once more. `KAT_STORE=etcd pytest tests/lab` runs all of the lab so.
"""

import json
import time
from collections.abc import Iterator

import pytest

from tests.lab.cluster import OneNode, one_node
from tests.lab.etcd import UNIT, etcdctl
from tests.lab.test_one_node import (
    test_a_copy_reaches_the_other_and_itself_through_it,
    test_delete_leaves_nothing_behind,
    test_each_copy_answers_on_its_own_address,
    test_every_copy_runs_under_systemd,
    test_init_leaves_nothing_failed,
    test_init_prints_the_recovery_kit_and_what_to_do_next,
    test_no_unit_wants_a_daemon_reload,
    test_systemctl_shows_what_kat_wrote,
    test_the_host_reaches_every_copy_through_the_virtual_address,
    test_the_journal_has_what_a_copy_said,
)

__all__ = [
    "test_a_copy_reaches_the_other_and_itself_through_it",
    "test_delete_leaves_nothing_behind",
    "test_each_copy_answers_on_its_own_address",
    "test_every_copy_runs_under_systemd",
    "test_init_leaves_nothing_failed",
    "test_init_prints_the_recovery_kit_and_what_to_do_next",
    "test_no_unit_wants_a_daemon_reload",
    "test_systemctl_shows_what_kat_wrote",
    "test_the_host_reaches_every_copy_through_the_virtual_address",
    "test_the_journal_has_what_a_copy_said",
]
ROUNDS = 5
DEADLINE_S = 60
READY = ["curl", "-sk", "-o", "/root/said", "-w", "%{http_code}", "https://127.0.0.1:9115/readyz"]


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node(store="etcd") as made:
        made.apply(made.web(replicas=2))
        yield made


def test_the_store_is_etcd_alone(kat: OneNode) -> None:
    listed = kat.node.run(["ls", "/var/lib/kat/leader"]).stdout.split()
    assert "store.db" not in listed
    assert etcdctl(kat.node, "get", "/kat/", "--prefix", "--keys-only", "--limit", "1").strip()


def test_only_the_leader_s_user_reads_the_key(kat: OneNode) -> None:
    shown = kat.node.run(["stat", "-c", "%U %a", "/var/lib/kat/leader/etcd.key"]).stdout
    assert shown.strip() == "kat-leader 600"


def test_the_store_of_a_running_cluster_cannot_change(kat: OneNode) -> None:
    (cluster,) = kat.ask("get", "clusterconfigurations")["items"]
    cluster["spec"] = {k: v for k, v in cluster["spec"].items() if k != "etcd"}
    cluster["spec"]["store"] = "embedded"
    cluster = {k: v for k, v in cluster.items() if k != "status"}
    cluster["metadata"] = {"name": cluster["metadata"]["name"]}
    refused = kat.apply(json.dumps(cluster), check=False)
    assert refused.code != 0
    assert "cannot change on a running cluster: it is etcd" in refused.stderr


def test_etcd_killed_in_the_middle_of_applies_loses_nothing(kat: OneNode) -> None:
    accepted = "one"
    for number in range(ROUNDS):
        kat.node.run(["systemctl", "kill", "-s", "KILL", UNIT], check=False)
        stage = f"r{number}"
        applied = kat.apply(kat.web(replicas=2, stage=stage), check=False)
        kat.node.run(["systemctl", "kill", "-s", "KILL", UNIT], check=False)
        if applied.code == 0:
            accepted = stage
    wait_until_ready(kat)
    kat.apply(kat.web(replicas=2, stage="last"))
    assert stages(kat) == {"last"}, accepted
    (web,) = kat.ask("get", "workloads")["items"]
    assert web["status"]["ready"] == 2
    assert len(kat.pids()) == 2


def test_a_leader_that_starts_before_etcd_waits_and_then_goes_on(kat: OneNode) -> None:
    before = kat.pids()
    kat.node.run(["systemctl", "stop", UNIT])
    kat.node.run(["systemctl", "restart", "kat-leader.service"])
    status = kat.node.run(["systemctl", "show", "-p", "StatusText", "kat-leader.service"]).stdout
    assert "Waiting for the store: etcd at https://127.0.0.1:2379" in status
    assert kat.node.run(READY).stdout == "503"
    assert "waits for its store" in kat.node.run(["cat", "/root/said"]).stdout
    kat.node.run(["systemctl", "start", UNIT])
    wait_until_ready(kat)
    kat.apply(kat.web(replicas=2, stage="after"))
    assert stages(kat) == {"after"}
    assert len(kat.pids()) == len(before)


def wait_until_ready(kat: OneNode) -> None:
    end = time.monotonic() + DEADLINE_S
    while kat.node.run(READY, check=False).stdout != "200":
        assert time.monotonic() < end, kat.node.journal("kat-leader.service")[-2000:]
        time.sleep(0.1)


def stages(kat: OneNode) -> set[str]:
    """Return the environment that the containers have."""
    argv = ["podman", "exec"]
    return {
        kat.node.run([*argv, name, "sh", "-c", "echo $STAGE"]).stdout.strip() for name in kat.pids()
    }
