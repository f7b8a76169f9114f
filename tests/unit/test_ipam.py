"""Numbers: lowest free first, and what the two networks hold."""

from collections.abc import Mapping
from typing import Any

import pytest

from katgen.ipam import (
    UID_RANGES,
    Layout,
    NodeAddresses,
    Numbers,
    address_number,
    address_text,
    rested,
    uid_base,
    uid_number,
)
from katgen.planned import Resting
from tests.unit.schedule.world import cluster


def layout(**settings: Any) -> Layout:  # noqa: ANN401 -- a YAML document
    return Layout(cluster(**settings).spec)


def test_the_lowest_free_number_is_given_first() -> None:
    numbers = Numbers(5, used=[0, 2])
    assert [numbers.take() for _ in range(4)] == [1, 3, 4, None]
    numbers.free(3)
    numbers.free(0)
    assert [numbers.take() for _ in range(3)] == [0, 3, None]


def test_an_address_is_text_and_number() -> None:
    assert address_text(0x0A640010) == "10.100.0.16"
    assert address_number("10.100.0.16") == 0x0A640010


SIZES: list[tuple[Mapping[str, Any], tuple[int, int, int]]] = [
    ({}, (256, 245, 65_535)),
    ({"nodeSubnetBits": 5}, (2048, 21, 65_535)),
    ({"clusterCIDR": "10.0.0.0/10"}, (16_384, 245, 65_535)),
    ({"serviceCIDR": "10.101.0.0/30"}, (256, 245, 3)),
    ({"clusterCIDR": "10.100.0.0/26"}, (0, 245, 65_535)),
]


@pytest.mark.parametrize(("settings", "sizes"), SIZES)
def test_a_layout_says_how_much_there_is(
    settings: Mapping[str, Any], sizes: tuple[int, int, int]
) -> None:
    made = layout(**settings)
    assert (made.subnets, made.hosts, made.virtuals) == sizes


def test_a_subnet_is_a_number_and_back() -> None:
    made = layout(nodeSubnetBits=6)
    assert made.subnet_text(5) == "10.100.1.64/26"
    assert made.subnet_number("10.100.1.64/26") == 5


@pytest.mark.parametrize(
    "text", ["10.99.0.0/24", "10.101.0.0/24", "10.100.0.0/25", "10.100.0.1/24"]
)
def test_another_subnet_is_none_of_the_layouts(text: str) -> None:
    assert layout().subnet_number(text) is None


def test_virtual_addresses_begin_after_the_network_address() -> None:
    made = layout()
    assert made.virtual_text(0) == "10.101.0.1"
    assert made.virtual_text(made.virtuals - 1) == "10.101.255.255"
    assert made.virtual_number("10.101.0.0") is None
    assert made.virtual_number("10.102.0.0") is None


def test_instances_get_addresses_from_ten_to_the_last_before_broadcast() -> None:
    addresses = NodeAddresses("10.100.3.0/24", 8)
    given = [addresses.take() for _ in range(245)]
    assert (given[0], given[-1]) == ("10.100.3.10", "10.100.3.254")
    assert addresses.free == 0
    with pytest.raises(ValueError, match=r"no address is free in the subnet of 10\.100\.3\.0"):
        addresses.take()


def test_a_subnet_longer_than_an_octet_counts_on() -> None:
    addresses = NodeAddresses("10.100.2.0/23", 9)
    for host in range(10, 256):
        addresses.claim(f"10.100.2.{host}")
    assert addresses.take() == "10.100.3.0"


def test_a_subnet_in_the_middle_of_an_octet_counts_from_there() -> None:
    addresses = NodeAddresses("10.100.2.64/26", 6)
    addresses.claim("10.100.2.74")
    assert (addresses.take(), addresses.free) == ("10.100.2.75", 51)


def test_uids_lie_between_those_of_useradd_and_those_of_systemd() -> None:
    assert uid_base(0) == 704_643_072
    assert uid_base(UID_RANGES - 1) + 65_535 == 0x6FFFFFFF
    assert (UID_RANGES, uid_number(uid_base(7))) == (17_920, 7)


def test_with_a_subnet_rest_the_addresses_inside_it() -> None:
    entries = {r: Resting(r, "x", 1) for r in ("10.100.1.0/24", "10.100.1.10", "10.100.2.10")}
    assert list(rested(entries, frozenset({"10.100.1.0/24"}))) == ["10.100.2.10"]
    assert list(rested(entries, frozenset({"10.100.2.10"}))) == ["10.100.1.0/24", "10.100.1.10"]
