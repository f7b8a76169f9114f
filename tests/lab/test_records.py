"""A leader that has the keys and lies: the node stays as it was, and says why."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.environment import REPOSITORY
from tests.lab.cluster import OneNode, one_node

SCRIPT = "/run/lab/false_leader.py"
LEADER = "https://192.0.2.11:9115/v1alpha1/nodes/a"
MOTTO = "/var/lib/kat/config/default/motto/0123456789ab/motto.txt"
UNSIGNED = "the signature of the commit record is wrong"
REFUSED = {
    "bad signature": UNSIGNED,
    "no signature": UNSIGNED,
    "empty plan that nobody signed": UNSIGNED,
    "another cluster": "the commit record is of cluster another, this node of ",
    "lower epoch": "the commit record 0-999 is older than 1-2, which this node has accepted",
    "lower generation": "the commit record 1-0 is older than 1-2, which this node has accepted",
    "older empty plan": "the commit record 1-0 is older than 1-2, which this node has accepted",
    "same number": "there are two commit records 1-2; this node keeps the first",
    "newer format": "the commit record has format 2, this agent knows 1; update KAT",
    "critical field": (
        "the commit record needs colour, which this agent does not know; update KAT"
    ),
    "empty answer": f"{LEADER}: the bundle 3 is none: Input data was truncated",
    "empty object": f"{LEADER}: the bundle 4 is none: Object missing required field `generation`",
    "cut JSON": f"{LEADER}: the bundle 5 is none: Input data was truncated",
    "another node": "the manifest is that of node b, not a",
    "another node inside": "the manifest names node b, not a",
    "proof that does not fit": "node a: not part of root ",
    "content with a bit flipped": f"{LEADER}: the content 8478c3bf8a66 is corrupt",
    "outside the roots": "'/etc/passwd': KAT does not write there",
    "the node's policy": "'/etc/kat/policy': KAT does not write there",
    "a service": "'/etc/systemd/system/kat-agent.service': KAT does not write there",
    "upwards": ("'/var/lib/kat/config/default/../../agent/trust.json': KAT does not write there"),
    "set-user-id": (
        f"'{MOTTO}': mode 4755 lets others than root write it, or is more than permissions"
    ),
    "aborted replayed": "the bundle is of root ",
}
"""By what the leader says: what the agent reports of it, or how that begins."""


class Heard(NamedTuple):
    """By what the leader said: what the agent reported, what differed; and the agent's journal."""

    told: Mapping[str, Mapping[str, Any]]
    journal: str


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with one_node() as kat:
        told = lied_to(kat)
        yield Heard(told, kat.node.journal("kat-agent"))


def lied_to(kat: OneNode) -> dict[str, Mapping[str, Any]]:
    """Have a false leader say everything in the true one's place."""
    kat.apply(kat.web())
    kat.node.put(SCRIPT, (REPOSITORY / "tests/lab/false_leader.py").read_bytes())
    kat.node.run(["systemctl", "stop", "kat-leader"])
    said = kat.node.run(["python3", "-I", SCRIPT], timeout_s=300).stdout.splitlines()
    return {one["name"]: one for one in map(json.loads, said)}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing_and_the_agent_says_why(heard: Heard, name: str) -> None:
    (said,) = heard.told[name]["said"]
    assert said.startswith(REFUSED[name])
    assert heard.told[name]["changed"] == []


def test_an_aborted_proposal_is_verified_and_leaves_nothing(heard: Heard) -> None:
    assert heard.told["aborted"] == {"name": "aborted", "said": [], "changed": []}


def test_a_field_of_a_newer_leader_is_ignored_and_logged(heard: Heard) -> None:
    assert heard.told["unknown field"]["said"] == []
    assert heard.told["unknown field"]["changed"] == []
    assert "the record has fields of a newer KAT, ignoring: colour" in heard.journal


def test_an_empty_plan_that_is_signed_and_newer_is_obeyed(heard: Heard) -> None:
    assert heard.told["newer empty plan"]["said"] == []
    gone = " ".join(heard.told["newer empty plan"]["changed"])
    assert "/etc/containers/systemd/kat/kat.default.web.0-1.container" in gone
    assert "kat.default.web.0-1.service loaded active running" in gone
