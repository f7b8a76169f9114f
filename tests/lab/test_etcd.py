"""A cluster whose store is an etcd: what the embedded store does, and what only etcd can do.

The tests of one node run here once more. `KAT_STORE=etcd pytest tests/lab` runs all of the lab so.
"""

import json
from collections.abc import Iterator

import pytest

from tests.lab.cluster import OneNode, one_node
from tests.lab.etcd import FOLDER, UNIT, etcdctl, readiness, until_ready
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


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node(store="etcd") as made:
        made.apply(made.web(replicas=2))
        yield made


def test_the_store_is_etcd_alone(kat: OneNode) -> None:
    listed = kat.node.run(["ls", "/var/lib/kat/leader"]).stdout.split()
    assert "store.db" not in listed
    keys = etcdctl(kat.node, "get", "/kat/", "--prefix", "--keys-only").stdout
    assert "objects/Workload/default/web" in keys


def test_its_etcd_answers_nobody_without_a_client_certificate(kat: OneNode) -> None:
    argv = ["etcdctl", "--cacert", f"{FOLDER}/ca.crt", "--endpoints", "https://127.0.0.1:2379"]
    assert kat.node.run([*argv, "get", "/kat/", "--prefix"], check=False).code != 0


def test_only_the_leader_s_user_reads_the_key(kat: OneNode) -> None:
    shown = kat.node.run(["stat", "-c", "%U %a", "/var/lib/kat/leader/etcd.key"]).stdout
    assert shown.strip() == "kat-leader 600"


def test_the_store_of_a_running_cluster_cannot_change(kat: OneNode) -> None:
    (cluster,) = kat.ask("get", "clusterconfiguration")["items"]
    cluster["spec"] = {k: v for k, v in cluster["spec"].items() if k != "etcd"}
    cluster["spec"]["store"] = "embedded"
    cluster = {k: v for k, v in cluster.items() if k != "status"}
    cluster["metadata"] = {"name": cluster["metadata"]["name"]}
    refused = kat.apply(json.dumps(cluster), check=False)
    assert refused.code != 0
    assert "cannot change on a running cluster: it is etcd" in refused.stderr


def test_a_leader_that_starts_before_etcd_waits_and_then_goes_on(kat: OneNode) -> None:
    before = kat.pids()
    kat.node.run(["systemctl", "stop", UNIT])
    kat.node.run(["systemctl", "restart", "kat-leader.service"])
    status = kat.node.run(["systemctl", "show", "-p", "StatusText", "kat-leader.service"]).stdout
    assert "Waiting for the store: etcd at https://127.0.0.1:2379" in status
    code, said = readiness(kat.node)
    assert code == "503"
    assert "waits for its store" in said
    kat.node.run(["systemctl", "start", UNIT])
    until_ready(kat.node)
    kat.apply(kat.web(replicas=2, stage="after"))
    assert stages(kat) == {"after"}
    assert len(kat.pids()) == len(before)


def stages(kat: OneNode) -> set[str]:
    """Return the environment that the containers have."""
    argv = ["podman", "exec"]
    return {
        kat.node.run([*argv, name, "sh", "-c", "echo $STAGE"]).stdout.strip() for name in kat.pids()
    }
