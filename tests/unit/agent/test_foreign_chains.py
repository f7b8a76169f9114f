"""Which rules of others are in KAT's way. Rulesets are as `nft -j list ruleset` writes them."""

import json
from collections.abc import Mapping

import pytest

from agent.foreign_chains import Ports, found, found_legacy

PORTS = Ports((9115, 9116), (51820,))
Json = dict[str, object]


def chain(name: str, table: str = "filter", **more: str) -> Json:
    return {"chain": {"family": "ip", "table": table, "name": name, **more}}


def forward(policy: str = "accept", name: str = "FORWARD") -> Json:
    return chain(name, type="filter", hook="forward", policy=policy)


def rule(name: str, *expr: Mapping[str, object], table: str = "filter") -> Json:
    return {"rule": {"family": "ip", "table": table, "chain": name, "expr": list(expr)}}


def meta(key: str, right: object) -> Json:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


def dport(protocol: str, right: object) -> Json:
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": right}}


def said(*items: Json) -> list[str]:
    text = json.dumps({"nftables": [{"metainfo": {"version": "1.1.3"}}, *items]})
    return [str(problem) for problem in found(text.encode(), PORTS)]


ACCEPT: Json = {"accept": None}
DROP: Json = {"drop": None}
REJECT: Json = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
COUNTER: Json = {"counter": {"packets": 1, "bytes": 2}}
XT_REJECT: Json = {"xt": {"type": "target", "name": "REJECT"}}


def test_a_machine_without_rules_is_fine() -> None:
    assert said() == []


def test_what_dockers_policy_drops_is_mended_by_two_rules() -> None:
    assert said(forward("drop")) == [
        (
            "nft chain ip filter FORWARD: it would drop traffic that KAT needs in forward; run"
            " `nft insert rule ip filter FORWARD 'iifname \"kat-br0\" accept';"
            " nft insert rule ip filter FORWARD 'oifname \"kat-br0\" accept'`, and keep it in your"
            " firewall's own files"
        )
    ]


def test_the_chain_of_incoming_packets_must_hear_links_and_ports() -> None:
    [text] = said(chain("input", "mine", type="filter", hook="input", policy="drop"))
    assert 'nft insert rule ip mine input \'iifname { "kat-br0", "kat0" } accept\'' in text
    assert "'tcp dport { 9115, 9116 } accept'" in text
    assert "'udp dport { 51820 } accept'" in text


def test_what_is_mended_is_not_named_again() -> None:
    mended = [
        rule("FORWARD", meta("iifname", "kat-br0"), COUNTER, ACCEPT),
        rule("FORWARD", meta("oifname", {"set": ["kat-br0", "lo"]}), ACCEPT),
    ]
    assert said(forward("drop"), *mended) == []


def test_only_what_is_missing_is_asked_for() -> None:
    [text] = said(forward("drop"), rule("FORWARD", meta("iifname", "kat-br0"), ACCEPT))
    assert "oifname" in text
    assert "iifname" not in text


def test_an_accept_with_another_condition_does_not_mend() -> None:
    narrow = rule("FORWARD", meta("iifname", "kat-br0"), dport("tcp", 80), ACCEPT)
    assert len(said(forward("drop"), narrow)) == 1


@pytest.mark.parametrize("verdict", [DROP, REJECT, XT_REJECT])
def test_a_last_rule_for_all_the_rest_is_like_a_policy(verdict: Json) -> None:
    assert len(said(forward(), rule("FORWARD", COUNTER, verdict))) == 1


def test_a_drop_under_a_condition_is_not_for_all() -> None:
    assert said(forward(), rule("FORWARD", meta("iifname", "eth9"), DROP)) == []


def test_an_accept_for_all_comes_before_the_policy() -> None:
    assert said(forward("drop"), rule("FORWARD", ACCEPT)) == []


def test_a_chain_that_is_always_jumped_to_is_followed() -> None:
    to = {"jump": {"target": "rest"}}
    assert len(said(forward(), chain("rest"), rule("FORWARD", to), rule("rest", DROP))) == 1
    assert said(forward(), chain("rest"), rule("FORWARD", to), rule("rest", {"return": None})) == []


def test_chains_that_jump_in_a_circle_come_to_an_end() -> None:
    circle = [rule("FORWARD", {"jump": {"target": "a"}}), rule("a", {"jump": {"target": "a"}})]
    assert said(forward(), chain("a"), *circle) == []


def test_kats_own_tables_and_chains_of_other_kinds_are_left_alone() -> None:
    own = {**forward("drop")["chain"], "table": "kat", "family": "inet"}  # type: ignore[dict-item] # a dict, as made above
    nat = chain("POSTROUTING", type="nat", hook="postrouting", policy="drop")
    output = chain("OUTPUT", type="filter", hook="output", policy="drop")
    assert said({"chain": own}, nat, output) == []


def test_firewalld_is_told_in_its_own_words() -> None:
    here = {"family": "inet", "table": "firewalld", "name": "filter_FORWARD"}
    base: Json = {"chain": {**here, "type": "filter", "hook": "forward", "policy": "accept"}}
    last: Json = {
        "rule": {
            "family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "expr": [REJECT]
        }
    }  # fmt: skip
    [text] = said(base, last)
    assert "firewall-cmd --permanent --zone=trusted --add-interface=kat-br0" in text


@pytest.mark.parametrize("text", [b"", b"x", b"{}", b"[]"])
def test_no_ruleset_is_an_empty_one(text: bytes) -> None:
    assert found(text, PORTS) == ()


def test_a_legacy_policy_is_named_with_the_command_that_mends_it() -> None:
    listing = "-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -i kat-br0 -j ACCEPT\n"
    assert [str(problem) for problem in found_legacy(listing, PORTS)] == [
        (
            "iptables-legacy chain FORWARD: its policy drops traffic that KAT needs in forward; run"
            " `iptables-legacy -I FORWARD -o kat-br0 -j ACCEPT`, and keep it in your firewall's own"
            " files"
        )
    ]
