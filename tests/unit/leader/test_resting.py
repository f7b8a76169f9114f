"""When numbers that have rested are taken back: in lots, or at once if somebody waits for them."""

from dataclasses import replace
from ipaddress import IPv4Network

import msgspec
import pytest

from katgen.leader.resting import LOT, REST_S, Rests
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.plan import make_plan
from katgen.planned import Plan, Refusal, Resting, Unplaced
from katgen.protocol import Report
from tests.unit.leader.given import StandingClock
from tests.unit.schedule.world import inventory, node, specs, workload

A = NodeName("a")
WEB = WorkloadKey("shop/web")


class Moving(StandingClock):
    """Time that a test moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed


def addresses(count: int) -> frozenset[str]:
    return frozenset(f"10.100.0.{n}" for n in range(100, 100 + count))


def planned(count: int, *reasons: str) -> Plan:
    """Return a plan in which so many addresses rest, and an instance finds no node for reasons."""
    made = make_plan(specs(workload("web")), inventory(node("a")))
    resting = {one: Resting(one, "shop/web/0-1", 1) for one in addresses(count)}
    unplaced = (Unplaced(Ordinal("1"), tuple(map(Refusal, reasons))),) if reasons else ()
    web = msgspec.structs.replace(made.workloads[WEB], unplaced=unplaced)
    return msgspec.structs.replace(made, resting=resting, workloads={WEB: web})


def rested(plan: Plan, passed: float = REST_S, generation: int = 1) -> frozenset[str]:
    """Return what is taken back after so long, from a node that is at a generation."""
    clock = Moving()
    rests = Rests(clock)
    rests.committed(1)
    clock.passed = passed
    return rests.over(plan, {A: Report(A, "boot", 1, generation, "in sync")})


def test_a_lot_is_taken_back() -> None:
    assert rested(planned(LOT)) == addresses(LOT)
    assert rested(planned(LOT), passed=REST_S - 1) == frozenset()
    assert rested(planned(LOT), generation=0) == frozenset()


def test_less_than_a_lot_waits_for_more() -> None:
    assert rested(planned(LOT - 1)) == frozenset()


@pytest.mark.parametrize(
    "reason", ["cpu: wants 2, 1 of 4 free", "the node is cordoned", "there are no nodes"]
)
def test_who_lacks_something_else_is_helped_by_no_address(reason: str) -> None:
    assert rested(planned(1, reason)) == frozenset()


def test_who_lacks_an_address_has_it_at_once() -> None:
    full = make_plan(specs(workload("web", 246)), inventory(node("a", cpu="999", memory="9Ti")))
    reasons = [one.reason for one in full.workloads[WEB].unplaced[0].refusals]
    assert reasons == ["no address left: 245 addresses: 245 in use, 0 resting"]
    assert rested(planned(1, *reasons)) == addresses(1)
    at_home = f"its data is on a; {reasons[0]}"
    assert rested(planned(1, "cpu: wants 2, 1 of 4 free", at_home)) == addresses(1)


def worn(resource: str, subnets: int = 1, virtual: str = "") -> Plan:
    """Return a plan in which one number rests, with so many subnets and a virtual address."""
    made = planned(0)
    given = {NodeName(f"n{number}"): f"10.100.{number}.0/24" for number in range(subnets)}
    web = msgspec.structs.replace(made.workloads[WEB], virtual_address=virtual)
    resting = {resource: Resting(resource, "somebody", 1)}
    return msgspec.structs.replace(made, resting=resting, subnets=given, workloads={WEB: web})


def narrow(plan: Plan) -> Plan:
    """Return a plan of a cluster that has one virtual address."""
    cluster = plan.specs.cluster
    spec = cluster.spec.model_copy(update={"service_cidr": IPv4Network("10.101.0.0/31")})
    return msgspec.structs.replace(
        plan, specs=replace(plan.specs, cluster=cluster.model_copy(update={"spec": spec}))
    )


def test_the_last_subnet_is_taken_back_at_once() -> None:
    subnet = "10.100.7.0/24"
    assert rested(worn(subnet, subnets=256)) == {subnet}
    assert rested(worn(subnet, subnets=256), passed=REST_S - 1) == frozenset()
    assert rested(worn(subnet, subnets=255)) == frozenset()
    assert rested(worn("10.100.7.10", subnets=256)) == frozenset()


def test_the_last_virtual_address_is_taken_back_at_once() -> None:
    assert rested(narrow(worn("10.101.0.1"))) == {"10.101.0.1"}
    assert rested(narrow(worn("10.101.0.1")), passed=REST_S - 1) == frozenset()
    assert rested(worn("10.101.0.1")) == frozenset()
    assert rested(narrow(worn("10.100.0.10", virtual="10.101.0.1"))) == frozenset()


@pytest.mark.parametrize("committed", [1, 3])
def test_the_next_look_is_when_the_first_number_has_rested(committed: int) -> None:
    """A leader that came later, or a plan that was refused, knows a later number only."""
    clock, plan = Moving(), planned(1)
    rests = Rests(clock)
    clock.passed = 50
    rests.look()
    rests.committed(committed)
    assert rests.next_moment(plan) == 50 + REST_S
    clock.passed = 60 + REST_S  # nobody has looked meanwhile
    assert rests.next_moment(plan) == 50 + REST_S
    rests.look()
    assert rests.next_moment(plan) is None


def test_nothing_that_rests_is_nothing_to_look_for() -> None:
    rests = Rests(Moving())
    rests.committed(1)
    assert rests.next_moment(make_plan(specs(), inventory(node("a")))) is None
