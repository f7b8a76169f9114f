"""Who is remembered for what they asked, for how long, and at what cost."""

import time

import pytest

from katgen.leader.app import Manners
from katgen.leader.errors import LimitedError
from katgen.leader.limits import BUCKETS_MAX, Limits, Rate, Turnstile
from tests.unit.leader.api import api

STRANGERS = Limits(strangers=Rate(1, 100))


class Time:
    """Stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def addresses(count: int) -> list[str]:
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


def taken(turnstile: Turnstile, address: str, most: int = 1000) -> int:
    """Ask until it is too often; return how often it was not."""
    for count in range(most):
        try:
            turnstile.stranger(address)
        except LimitedError:
            return count
    return most


def test_a_caller_is_not_forgotten_before_all_is_left_for_it_anyway() -> None:
    clock = Time()
    turnstile = Turnstile(STRANGERS, clock)
    assert taken(turnstile, "192.0.2.1") == 100
    for address in addresses(BUCKETS_MAX + 10):
        turnstile.stranger(address)
    clock.now = 10.0
    turnstile.stranger("192.0.2.2")
    assert taken(turnstile, "192.0.2.1") == 10


def test_who_has_been_silent_for_long_makes_room() -> None:
    clock = Time()
    turnstile = Turnstile(STRANGERS, clock)
    for address in addresses(BUCKETS_MAX):
        turnstile.stranger(address)
    clock.now = 100.0
    turnstile.stranger("192.0.2.1")
    assert turnstile.remembered == 1


def test_more_addresses_than_can_be_remembered_count_as_one() -> None:
    turnstile = Turnstile(STRANGERS, Time())
    begun = time.perf_counter()
    for address in addresses(BUCKETS_MAX + 100 - 1):
        turnstile.stranger(address)
    turnstile.stranger("192.0.2.1")
    with pytest.raises(LimitedError, match=r"^a crowd of strangers asks too often"):
        turnstile.stranger("192.0.2.2")
    assert turnstile.remembered == BUCKETS_MAX + 1
    assert taken(turnstile, "10.0.0.1") == 99
    assert time.perf_counter() - begun < 5


def test_strangers_cost_little_however_many_they_are() -> None:
    turnstile = Turnstile(Limits(strangers=Rate(1, 1e6)), Time())
    begun = time.perf_counter()
    for address in addresses(10_000):
        turnstile.stranger(address)
    assert time.perf_counter() - begun < 5
    assert turnstile.remembered == BUCKETS_MAX + 1


def test_people_and_nodes_are_counted_one_by_one_whatever_strangers_do() -> None:
    turnstile = Turnstile(Limits(people=Rate(1, 2), strangers=Rate(1, 1e6)), Time())
    for address in addresses(BUCKETS_MAX + 10):
        turnstile.stranger(address)
    turnstile.person("ann")
    turnstile.person("ann")
    turnstile.person("bob")
    with pytest.raises(LimitedError, match="person ann asks too often"):
        turnstile.person("ann")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_that_one_machine_can_choose_from_count_as_one(one: str, other: str) -> None:
    turnstile = Turnstile(Limits(strangers=Rate(1, 1)), Time())
    turnstile.stranger(one)
    with pytest.raises(LimitedError):
        turnstile.stranger(other)


def test_another_site_counts_for_itself() -> None:
    turnstile = Turnstile(Limits(strangers=Rate(1, 1)), Time())
    turnstile.stranger("2001:db8:0:1::1")
    turnstile.stranger("2001:db8:0:2::1")
    turnstile.stranger("")


async def test_who_asks_for_metrics_is_counted_too() -> None:
    async with api(manners=Manners(Limits(people=Rate(0.1, 2)))) as kat:
        assert [(await kat.ask("GET", "/metrics")).status for _ in range(3)] == [200, 200, 429]


def test_who_turns_out_to_be_known_is_as_if_not_counted() -> None:
    clock = Time()
    turnstile = Turnstile(STRANGERS, clock)
    for _ in range(1000):
        turnstile.forgive(turnstile.stranger("192.0.2.1"))
    assert taken(turnstile, "192.0.2.1") == 100
    turnstile.forgive("address 192.0.2.9")  # forgotten meanwhile
    assert taken(turnstile, "192.0.2.9") == 100
