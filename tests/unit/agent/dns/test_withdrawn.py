"""Instances that are not ready leave the names of their workload, and no others."""

from socket import inet_aton

import pytest

from agent.dns.answers import Withdrawn
from agent.dns.respond import Responder
from agent.dns.zonefile import read_zone
from tests.unit.agent.dns.served import DOMAIN, PATH, SHOP, ZONE, ask, question, served, shown


def hidden(**workloads: list[str]) -> Withdrawn:
    return {name.encode(): frozenset(map(inet_aton, them)) for name, them in workloads.items()}


def addresses(responder: Responder, name: str) -> list[str]:
    return [line.split()[-1] for line in shown(ask(responder, name).answer)]


WEB_0 = hidden(web=["10.100.0.10"])
DB_0 = hidden(db=["10.100.0.20"])
DB_ALL = hidden(db=["10.100.0.20", "10.100.0.21"])


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("ep.web", ["10.100.0.11"]),
        ("web", ["10.101.0.1"]),
        ("vip.web", ["10.101.0.1"]),
        ("0.web", ["10.100.0.10"]),
        ("1.web", ["10.100.0.11"]),
        ("ep.db", ["10.100.0.20", "10.100.0.21"]),
    ],
)
def test_behind_a_virtual_address_only_the_instances_name_changes(
    name: str, left: list[str]
) -> None:
    assert addresses(served(withdrawn=WEB_0), name) == left


@pytest.mark.parametrize("name", ["db", "ep.db"])
def test_without_a_virtual_address_the_workloads_name_changes_too(name: str) -> None:
    assert addresses(served(withdrawn=DB_0), name) == ["10.100.0.21"]


def test_services_on_an_instance_that_left_are_gone() -> None:
    message = ask(served(withdrawn=DB_0), "_sql._tcp.db", "SRV")
    assert shown(message.answer) == [f"_sql._tcp.db.{SHOP} 5 IN SRV 0 0 5432 1.db.{SHOP}"]
    assert shown(message.additional) == [f"1.db.{SHOP} 5 IN A 10.100.0.21"]


def test_services_on_the_virtual_address_stay() -> None:
    found = ask(
        served(withdrawn=hidden(web=["10.100.0.10", "10.100.0.11"])), "_http._tcp.web", "SRV"
    )
    assert shown(found.additional) == [f"web.{SHOP} 30 IN A 10.101.0.1"]


@pytest.mark.parametrize(("name", "kind"), [("db", "A"), ("ep.db", "A"), ("_sql._tcp.db", "SRV")])
def test_names_that_everybody_left_are_there_without_data(name: str, kind: str) -> None:
    message = ask(served(withdrawn=DB_ALL), name, kind)
    assert (message.rcode(), message.answer, len(message.authority)) == (0, [], 1)


def test_who_returns_is_answered_again() -> None:
    kat = served(withdrawn=DB_ALL)
    kat.table.withdraw("shop", DB_0)
    assert addresses(kat, "db") == ["10.100.0.21"]
    kat.table.withdraw("shop", {})
    assert addresses(kat, "db") == ["10.100.0.20", "10.100.0.21"]
    assert len(ask(kat, "_sql._tcp.db", "SRV").answer[0]) == 2


def test_only_the_names_of_workloads_that_changed_are_worked_out_again() -> None:
    kat = served(withdrawn=DB_0)
    before = dict(kat.table.answers)
    assert kat.table.withdraw("shop", {**DB_0, **WEB_0}) == 1
    after = kat.table.answers
    other = {q for q in before if b"\x02db" in q}
    assert all(after[q] is before[q] for q in other)
    assert kat.table.withdraw("shop", {**DB_0, **WEB_0}) == 0


def test_a_new_zone_is_answered_as_the_states_are_that_came_before_it() -> None:
    kat = served(withdrawn=DB_0)
    list(kat.table.taking(read_zone(PATH, ZONE.replace(" 7 3600", " 8 3600"), DOMAIN)))
    assert addresses(kat, "db") == ["10.100.0.21"]


def test_a_state_that_comes_while_a_zone_is_worked_out_is_not_lost() -> None:
    kat = served()
    more = "".join(f"w{n}.{SHOP} 5 IN A 10.0.{n // 250}.{n % 250}\n" for n in range(200))
    steps = kat.table.taking(read_zone(PATH, ZONE + more, DOMAIN))
    next(steps)
    kat.table.withdraw("shop", DB_0)
    assert addresses(kat, "db") == ["10.100.0.21"]
    list(steps)
    assert addresses(kat, "db") == ["10.100.0.21"]
    assert addresses(kat, "w199") == ["10.0.0.199"]


def test_what_a_new_zone_has_not_is_gone_with_its_types() -> None:
    kat = served()
    lines = [line for line in ZONE.splitlines() if ".db." not in line and not line.startswith("db")]
    list(kat.table.taking(read_zone(PATH, "\n".join((*lines, "")), DOMAIN)))
    assert ask(kat, "db").rcode() == 3
    assert ask(kat, "_sql._tcp.db", "SRV").rcode() == 3
    assert addresses(kat, "web") == ["10.101.0.1"]


def test_a_zone_that_goes_takes_its_names_along() -> None:
    kat = served()
    kat.full(question(f"web.{SHOP}"), over_tcp=False)
    kat.table.drop("shop")
    assert ask(kat, "web").rcode() == 3
    assert kat.quick(question(f"web.{SHOP}")) is None
    assert set(kat.table.answers) == {
        b"\x03kat\x07cluster\x05local\x00\x00\x06\x00\x01",
        b"\x03kat\x07cluster\x05local\x00\x00\x02\x00\x01",
    }


def test_states_of_what_is_not_there_change_nothing() -> None:
    kat = served()
    assert kat.table.withdraw("shop", hidden(nope=["10.0.0.1"])) == 0
    assert kat.table.withdraw("other", hidden(web=["10.0.0.1"])) == 0
