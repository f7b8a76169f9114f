"""Elements of packet rules from endpoint state, and the text from one set to another."""

import pytest

from agent.endpoints.elements import Elements, changes, share, snapshot_text
from agent.nft_listing import seen
from katgen.endpoints import (
    DRAINING,
    NEW,
    NOT_READY,
    READY,
    Candidate,
    NamespaceServices,
    Service,
)
from katgen.errors import EncodeError
from katgen.names import InstanceKey, Ordinal
from katgen.render import nft
from tests import cuts
from tests.fakes.nft_maps import Maps

VIRTUAL = "10.101.0.5"


def key(number: int) -> InstanceKey:
    return InstanceKey(f"shop/web/{number}-1")


def service(count: int, *, sticky: bool = False, panic: int = 0, udp: bool = False) -> Service:
    candidates = tuple(
        Candidate(key(one), Ordinal(str(one)), f"10.100.1.{10 + one}") for one in range(count)
    )
    return Service("web", candidates, VIRTUAL, {80: 8080}, {53: 53} if udp else {}, sticky, panic)


def ready(*numbers: int) -> dict[InstanceKey, str]:
    return {key(one): READY for one in numbers}


def slots(of: Service, *numbers: int) -> list[str]:
    """Return who is in each slot, by the last byte of its address."""
    found = share(of, ready(*numbers), ()).elements.endpoints
    return [at.rpartition(".")[2] for at in found.values()]


def test_all_ready_give_what_the_files_of_services_give() -> None:
    of = cuts.balanced(
        cuts.workload("shop/web", {"0": ("a", "10.100.1.10"), "1": ("b", "10.100.1.11")}),
        VIRTUAL,
        {"ports": [{"port": 80, "targetPort": 8080}]},
    )
    (rendered,) = nft.services(cuts.namespace_view(cuts.cluster(), "shop", [of]))
    loaded = Maps()
    loaded.carry_out(rendered.content.decode())
    found = share(service(2), ready(0, 1), ()).elements
    assert loaded.elements() == Elements(found.services, found.endpoints)
    assert loaded.chains == {"random-2": 1}


def test_one_that_leaves_gives_its_slot_to_the_last() -> None:
    assert slots(service(4), 0, 2, 3) == ["10", "13", "12"]
    assert share(service(4), ready(0, 2, 3), ()).elements.services == {VIRTUAL: "goto random-3"}


def test_with_affinity_the_others_keep_their_slots() -> None:
    of = service(4, sticky=True)
    found = slots(of, 0, 2, 3)
    assert [found[at] for at in (0, 2, 3)] == ["10", "12", "13"]
    assert found[1] in {"10", "12", "13"}
    assert share(of, ready(0, 2, 3), ()).elements.services == {VIRTUAL: "goto sticky-4"}


def test_with_affinity_a_substitute_stays_when_another_leaves() -> None:
    of = service(8, sticky=True)
    one_down = slots(of, 0, 1, 2, 4, 5, 6, 7)
    substitute = int(one_down[3]) - 10
    gone = next(at for at in (0, 1, 2) if at != substitute)
    two_down = slots(of, *(at for at in range(8) if at not in (3, gone)))
    assert two_down[3] == one_down[3]


def test_with_none_ready_the_address_leads_nowhere() -> None:
    assert share(service(3), {}, ()).elements == Elements()


def test_in_panic_all_get_traffic_and_no_one_refuses() -> None:
    states = {**ready(0), key(1): NOT_READY, key(2): NOT_READY}
    found = share(service(3, panic=50), states, [key(1), key(2)]).elements
    assert found.services == {VIRTUAL: "goto random-3"}
    assert found.unready == {}


def test_who_has_never_been_ready_makes_no_panic_and_refuses() -> None:
    states = {**ready(0, 1), key(2): NEW}
    found = share(service(5, panic=50), states, [key(2), key(3)]).elements
    assert list(found.endpoints.values()) == ["10.100.1.10", "10.100.1.11"]
    assert sorted(found.unready) == ["10.100.1.12 . tcp . 8080", "10.100.1.13 . tcp . 8080"]


def test_who_has_never_been_ready_gets_nothing_in_panic() -> None:
    states = {**ready(0), key(1): NOT_READY, key(2): NOT_READY, key(3): NEW}
    found = share(service(4, panic=50), states, ()).elements
    assert list(found.endpoints.values()) == ["10.100.1.10", "10.100.1.11", "10.100.1.12"]


def test_before_anyone_has_been_ready_all_get_traffic_unless_there_is_no_panic() -> None:
    everybody = ["10.100.1.10", "10.100.1.11", "10.100.1.12"]
    found = share(service(3, panic=1), {key(0): NEW}, [key(0)]).elements
    assert (list(found.endpoints.values()), found.unready) == (everybody, {})
    assert share(service(3, panic=0), {key(0): NEW}, ()).elements == Elements()


def test_who_drains_gets_traffic_until_one_of_the_others_has_been_ready() -> None:
    found = share(service(3, panic=50), {key(1): DRAINING, key(2): NEW}, ()).elements
    assert list(found.endpoints.values()) == ["10.100.1.11"]


def test_an_own_instance_that_is_not_ready_refuses_its_ports() -> None:
    states = {**ready(0), key(1): NOT_READY}
    found = share(service(3, udp=True), states, [key(0), key(1)]).elements
    assert sorted(found.unready) == ["10.100.1.11 . tcp . 8080", "10.100.1.11 . udp . 53"]


def test_one_that_drains_leaves_the_address_and_refuses_nobody_yet() -> None:
    found = share(service(2), {**ready(0), key(1): DRAINING}, [key(0), key(1)]).elements
    assert list(found.endpoints.values()) == ["10.100.1.10"]
    assert found.unready == {}


def test_at_an_address_at_which_a_predecessor_still_serves_nobody_is_refused() -> None:
    states = {**ready(0), key(1): NOT_READY}
    found = share(service(2), states, [key(0), key(1)], {"10.100.1.11"}).elements
    assert found.unready == {}


def test_a_snapshot_leaves_out_what_no_rule_can_hold() -> None:
    bad = Service("api", (Candidate(key(9), Ordinal("0"), "nowhere"),), VIRTUAL, {80: 80})
    with_bad = NamespaceServices(1, "shop", (bad, service(3)))
    without = NamespaceServices(1, "shop", (service(3),))
    assert snapshot_text(with_bad, ready(0)) == snapshot_text(without, ready(0))


def test_a_difference_names_only_what_differs() -> None:
    old = share(service(4), ready(0, 1, 2, 3), ()).elements
    new = share(service(4), ready(0, 2, 3), ()).elements
    assert changes(old, new, {"random-4"}) == (
        "add chain inet kat random-3\n"
        "flush chain inet kat random-3\n"
        "add rule inet kat random-3 meta mark set numgen random mod 3 offset 0x4b000000"
        " goto balance\n"
        "delete element inet kat services {\n\t10.101.0.5 }\n"
        "delete element inet kat endpoints {\n"
        "\t10.101.0.5 . 0x4b000001,\n\t10.101.0.5 . 0x4b000003 }\n"
        "add element inet kat services {\n\t10.101.0.5 : goto random-3 }\n"
        "add element inet kat endpoints {\n\t10.101.0.5 . 0x4b000001 : 10.100.1.13 }\n"
    )


def test_no_difference_is_no_command() -> None:
    found = share(service(4), ready(0), ()).elements
    assert changes(found, found, ()) == ""


@pytest.mark.parametrize("address", ["", "10.100.1.256", "10.1.1.1 }", "10.1.1.1\n", "01.1.1.1"])
def test_what_is_no_address_gets_into_no_command(address: str) -> None:
    bad = Service("web", (Candidate(key(0), Ordinal("0"), address),), VIRTUAL, {80: 80})
    with pytest.raises(EncodeError, match="is not an IPv4 address"):
        share(bad, ready(0), ())


@pytest.mark.parametrize("numbers", [(), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_snapshot_gives_the_same_whatever_was_loaded(
    numbers: tuple[int, ...], *, sticky: bool
) -> None:
    of = service(3, sticky=sticky)
    text = snapshot_text(NamespaceServices(1, "shop", (of,)), ready(*numbers))
    wanted = share(of, ready(*numbers), ()).elements
    for before in ((0, 1, 2), (2,)):
        kernel = Maps()
        kernel.carry_out(changes(Elements(), share(of, ready(*before), ()).elements, ()))
        if numbers == (0, 1, 2) != before:
            continue  # the files of services say it
        kernel.carry_out(text)
        kernel.carry_out(text)
        assert kernel.elements() == wanted


def test_a_listing_tells_endpoint_state_from_the_rest() -> None:
    first, second = seen([LISTED]), seen([LISTED.replace("10.100.1.11", "10.100.1.12")])
    assert first.elements == Elements(
        {"10.101.0.5": "goto random-2", "10.101.0.6": "goto sticky-1"},
        {"10.101.0.5 . 0x4b000000": "10.100.1.10", "10.101.0.5 . 0x4b000001": "10.100.1.11"},
        {"10.100.1.10 . tcp . 8080": ""},
    )
    assert first.chains == {"random-2", "sticky-1"}
    assert second.digest == first.digest
    assert second.elements != first.elements


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mod 2", "mod 1"),
        ("1258291200", "1258291201"),
        ("\t\tjump balance\n", ""),
        ("\t\treject\n", ""),
        ("type ipv4_addr . mark", "type ipv4_addr . inet_service"),
        ("192.0.2.7", "192.0.2.8"),
    ],
)
def test_a_change_of_anything_else_is_seen(old: str, new: str) -> None:
    assert old in LISTED
    assert seen([LISTED.replace(old, new)]).digest != seen([LISTED]).digest


def test_a_chain_of_slots_more_is_no_change() -> None:
    more = LISTED.replace(
        "\tchain sticky-1",
        "\tchain random-7 {\n"
        "\t\tmeta mark set numgen random mod 7 offset 1258291200 goto balance\n\t}\n\n"
        "\tchain sticky-1",
    )
    assert seen([more]).digest == seen([LISTED]).digest
    assert "random-7" in seen([more]).chains


LISTED = """\
table inet kat {
	map services {
		typeof ip daddr : verdict
		elements = { 10.101.0.5 : goto random-2,
		10.101.0.6 : goto sticky-1 }
	}

	map endpoints {
		type ipv4_addr . mark : ipv4_addr
		elements = { 10.101.0.5 . 0x4b000000 : 10.100.1.10,
		10.101.0.5 . 0x4b000001 : 10.100.1.11 }
	}

	set unready {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.100.1.10 . tcp . 8080 }
	}

	set others {
		type ipv4_addr
		elements = { 192.0.2.7 }
	}

	chain unserved {
		meta l4proto tcp reject with tcp reset
		reject
	}

	chain random-2 {
		meta mark set numgen random mod 2 offset 1258291200 goto balance
	}

	chain sticky-1 {
		jump balance
		meta mark set numgen random mod 1 offset 1266679808 goto balance
	}
}
"""
