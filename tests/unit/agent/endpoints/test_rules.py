"""Endpoint state in the kernel of a fake machine, whoever else changes rules there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager

import pytest

from agent.endpoints.elements import Elements, changes, share
from agent.endpoints.rules import ATTEMPTS, EndpointRules
from agent.ports import UnfitError, UnitError
from agent.rules import Rules
from katgen.endpoints import READY, Candidate, NamespaceServices, Service, States
from katgen.names import InstanceKey, Ordinal
from tests.fakes import FakeNode
from tests.unit.agent.endpoints.test_elements import VIRTUAL, key, ready, service

WEB = service(3, udp=True)
ALTERED = "# somebody's\n"


def shop(*services: Service) -> tuple[NamespaceServices, ...]:
    return (NamespaceServices(1, "shop", services or (WEB,)),)


class Machine:
    """A fake machine with loaded rules, and the state of its endpoints."""

    def __init__(self) -> None:
        self.node = FakeNode()
        self.node.files.put("/etc/kat/kat.nft", b"# rules\n")
        self.endpoints = EndpointRules(self.node.ports)
        self.rules = Rules(self.node.ports, self.endpoints)

    async def say(self, states: States, own: Iterable[InstanceKey] = ()) -> None:
        await self.endpoints.apply(shop(), states, dict.fromkeys(own, ""))
        await self.endpoints.forget()

    @property
    def listings(self) -> int:
        return len(self.node.trace.texts("network.rules"))

    def leads_to(self) -> list[str]:
        return sorted(self.node.network.maps.elements().endpoints.values())


@pytest.fixture
async def machine() -> Machine:
    made = Machine()
    await made.rules.load()
    await made.say(ready(0, 1, 2))
    made.node.trace.clear()
    return made


async def test_a_change_is_one_transaction_and_lists_nothing(machine: Machine) -> None:
    await machine.say(ready(0, 2))
    assert machine.leads_to() == ["10.100.1.10", "10.100.1.12"]
    assert len(machine.node.trace.texts("network.change_rules")) == 1
    assert machine.listings == 0


async def test_the_same_again_changes_nothing(machine: Machine) -> None:
    await machine.say(ready(0, 1, 2))
    assert machine.node.trace.changes() == []


async def test_own_changes_are_not_looked_into(machine: Machine) -> None:
    await machine.say(ready(0))
    await machine.say(ready(0, 1))
    assert not await machine.rules.check()
    assert machine.listings == 0


async def test_after_a_load_it_is_found_out_what_is_there(machine: Machine) -> None:
    machine.node.network.load("# rules\n")
    machine.endpoints.reloaded()
    await machine.say(ready(0))
    assert machine.leads_to() == ["10.100.1.10"]
    assert machine.listings == 1


async def test_what_is_known_of_endpoints_is_written_before_lost_rules_are_loaded() -> None:
    made = Machine()
    path = "/var/lib/kat/endpoints/shop.nft"

    async def write() -> None:
        made.node.ports.files.write(path, b"# as of now\n")

    rules = Rules(made.node.ports, made.endpoints, write)
    await rules.load()
    made.node.files.take(path)
    made.node.trace.clear()
    made.node.network.load("")
    assert await rules.check()
    did = [one for one in made.node.trace.changes() if path in one or "kat-nft.service" in one]
    assert did == [f"files.write {path}", "systemd.reload kat-nft.service"]


async def test_an_element_that_somebody_changed_is_mended_without_a_load(machine: Machine) -> None:
    first = f"{VIRTUAL} . 0x4b000000"
    machine.node.network.change_unheard(
        f"delete element inet kat endpoints {{ {first} }}\n"
        f"add element inet kat endpoints {{ {first} : 192.0.2.66 }}\n"
    )
    assert not await machine.rules.check()
    assert machine.leads_to() == ["10.100.1.10", "10.100.1.11", "10.100.1.12"]
    assert machine.node.trace.texts("systemd.reload") == []
    assert not await machine.rules.check()
    assert machine.listings == 1


async def test_an_element_that_could_not_be_mended_is_at_the_next_look(machine: Machine) -> None:
    theirs = f"delete element inet kat endpoints {{ {VIRTUAL} . 0x4b000000 }}\n"
    machine.node.network.change_unheard(theirs)
    machine.node.trace.fail("network.change_rules", UnfitError("nft is killed"))
    assert not await machine.rules.check()
    assert machine.rules.wrong.is_set()
    assert not await machine.rules.check()
    assert machine.rules.problem == ""
    assert machine.leads_to() == ["10.100.1.10", "10.100.1.11", "10.100.1.12"]


async def test_a_foreign_change_beside_an_own_one_is_found(machine: Machine) -> None:
    machine.node.network.load_unheard("# other rules\n")
    machine.endpoints.reloaded()
    await machine.say(ready(0))
    assert await machine.rules.check()
    assert machine.node.network.table == "# rules\n"


async def test_a_change_that_nft_refuses_is_made_from_what_is_there(machine: Machine) -> None:
    first = f"{VIRTUAL} . 0x4b000002"
    machine.node.network.change_unheard(f"delete element inet kat endpoints {{ {first} }}\n")
    await machine.say(ready(0, 1))
    wanted = share(WEB, ready(0, 1), ()).elements
    assert machine.node.network.maps.elements() == wanted
    assert machine.listings == 1


async def test_a_change_that_fails_is_made_at_the_next_attempt(machine: Machine) -> None:
    trouble = UnfitError("nft has not ended after 30 s")
    machine.node.trace.fail("network.change_rules", trouble)
    machine.node.trace.fail("network.rules", UnfitError("out of memory"))
    with pytest.raises(UnfitError, match="out of memory"):
        await machine.say(ready(0))
    await machine.say(ready(0))
    assert machine.leads_to() == ["10.100.1.10"]


async def test_udp_clients_of_one_that_left_are_led_anew(machine: Machine) -> None:
    stays, leaves = (VIRTUAL, "10.100.1.10"), (VIRTUAL, "10.100.1.11")
    machine.node.network.connections = [stays, leaves, ("10.101.0.9", "10.100.1.11")]
    await machine.say(ready(0, 2))
    assert machine.node.network.connections == [stays, ("10.101.0.9", "10.100.1.11")]


async def test_connections_are_forgotten_after_the_elements_have_changed(machine: Machine) -> None:
    await machine.say(ready(0, 2))
    verbs = [one.split()[0] for one in machine.node.trace.changes()]
    assert verbs == ["network.change_rules", "network.forget_udp"]


async def test_connections_that_could_not_be_forgotten_are_at_the_next_attempt(
    machine: Machine,
) -> None:
    machine.node.network.connections = [(VIRTUAL, "10.100.1.11")]
    machine.node.trace.fail("network.forget_udp", UnfitError("netlink"))
    with pytest.raises(UnfitError):
        await machine.say(ready(0, 2))
    await machine.say(ready(0, 2))
    assert machine.node.network.connections == []


async def test_one_that_comes_has_nobody_forgotten(machine: Machine) -> None:
    await machine.say(ready(0, 2))
    machine.node.trace.clear()
    await machine.say(ready(0, 1, 2))
    assert machine.node.trace.texts("network.forget_udp") == []


STRAY = (VIRTUAL, VIRTUAL)


async def lose_and_check(machine: Machine) -> None:
    machine.node.network.load("")
    assert await machine.rules.check()


async def lose_and_apply(machine: Machine) -> None:
    machine.node.network.load("")
    async with machine.rules.loading():
        machine.node.network.load("# rules\n")


async def lose_and_start(machine: Machine) -> None:
    machine.node.network.load("")
    await machine.rules.load()


async def alter_and_check(machine: Machine) -> None:
    machine.node.network.load(ALTERED)
    assert await machine.rules.check()


async def lose_between_look_and_load(machine: Machine) -> None:
    async with machine.rules.loading():
        machine.node.network.load("")
        machine.node.network.load("# rules\n")


async def lose_and_be_loaded_by_others(machine: Machine) -> None:
    machine.node.network.load("")
    async with machine.rules.loading():
        pass
    machine.node.network.load("# rules\n")
    assert not await machine.rules.check()


async def lose_and_be_refused(machine: Machine) -> None:
    machine.node.trace.fail("systemd.reload", UnitError("kat-nft.service", "exit-code"))
    machine.node.network.load(ALTERED)
    assert not await machine.rules.check()
    machine.node.network.load("")
    assert await machine.rules.check()


@pytest.mark.parametrize(
    "lose",
    [
        lose_and_check,
        lose_and_apply,
        lose_and_start,
        lose_and_be_refused,
        lose_between_look_and_load,
        lose_and_be_loaded_by_others,
        alter_and_check,
    ],
)
async def test_who_was_led_to_nobody_while_there_were_no_rules_is_led_anew(
    machine: Machine, lose: Callable[[Machine], Awaitable[None]]
) -> None:
    elsewhere = ("10.101.9.9", "10.101.9.9")
    machine.node.network.connections = [STRAY, (VIRTUAL, "10.100.1.10"), elsewhere]
    await lose(machine)
    await machine.say(ready(0, 1, 2))
    assert machine.node.network.connections == [(VIRTUAL, "10.100.1.10"), elsewhere]
    machine.node.trace.clear()
    await machine.say(ready(0, 1, 2))
    assert machine.node.trace.texts("network.forget_untranslated") == []


async def test_who_was_led_to_nobody_and_could_not_be_forgotten_is_at_the_next_attempt(
    machine: Machine,
) -> None:
    machine.node.network.connections = [STRAY]
    await lose_and_check(machine)
    machine.node.trace.fail("network.forget_untranslated", UnfitError("netlink"))
    with pytest.raises(UnfitError):
        await machine.say(ready(0, 1, 2))
    await machine.say(ready(0, 1, 2))
    assert machine.node.network.connections == []


async def test_as_long_as_rules_are_right_nobody_is_looked_for(machine: Machine) -> None:
    machine.node.network.change_elsewhere()
    assert not await machine.rules.check()
    async with machine.rules.loading():
        machine.node.network.load("# newer\n")
    machine.node.network.change_elsewhere()
    async with machine.rules.loading():
        pass
    await machine.say(ready(0, 1))
    assert machine.node.trace.texts("network.forget_untranslated") == []


async def test_a_machine_with_too_many_connections_is_not_looked_at_for_ever(
    machine: Machine,
) -> None:
    machine.node.network.connections = [(VIRTUAL, "10.100.1.11")]
    await lose_and_check(machine)
    for nth in range(ATTEMPTS):
        machine.node.trace.fail("network.forget_untranslated", UnfitError("timed out"), nth + 1)
    for _ in range(ATTEMPTS):
        with pytest.raises(UnfitError):
            await machine.say(ready(0, 2))
    assert machine.node.network.connections == []  # who has left is forgotten all the same
    await machine.say(ready(0, 2))
    assert len(machine.node.trace.texts("network.forget_untranslated")) == ATTEMPTS


async def test_a_service_that_is_gone_takes_its_elements_along(machine: Machine) -> None:
    machine.node.network.connections = [(VIRTUAL, "10.100.1.10")]
    await machine.endpoints.apply((), ready(0, 1, 2), {})
    await machine.endpoints.forget()
    assert machine.leads_to() == []
    assert machine.node.network.connections == []


async def test_an_instance_that_becomes_own_refuses_by_itself(machine: Machine) -> None:
    await machine.say(ready(0, 1), own=[key(2)])
    assert sorted(machine.node.network.maps.elements().unready) == [
        "10.100.1.12 . tcp . 8080",
        "10.100.1.12 . udp . 53",
    ]
    await machine.say(ready(0, 1))
    assert machine.node.network.maps.elements().unready == {}


async def test_rules_that_cannot_be_loaded_are_told_and_what_is_known_of_endpoints_stays(
    machine: Machine,
) -> None:
    path = "/var/lib/kat/endpoints/shop.nft"
    machine.node.files.put(path, b"# as of now\n")
    machine.node.trace.fail("systemd.reload", UnitError("kat-nft.service", "exit-code"))
    await machine.rules.load()
    assert machine.rules.problem == (
        "the packet rules cannot be loaded: kat-nft.service: exit-code"
    )
    assert path in machine.node.files.tree


async def test_a_load_that_was_refused_is_no_load(machine: Machine) -> None:
    machine.node.network.load_unheard("# somebody's\n")
    machine.node.trace.fail("systemd.reload", UnitError("kat-nft.service", "exit-code"))
    assert not await machine.rules.check()
    assert machine.node.network.table == "# somebody's\n"


async def test_a_load_that_took_effect_is_one_whatever_was_said_of_it(machine: Machine) -> None:
    machine.node.network.load_unheard("# somebody's\n")
    machine.node.trace.fail("network.rules", UnfitError("nft is killed"), 2)
    assert await machine.rules.check()
    assert machine.rules.problem.startswith("the packet rules cannot be loaded")


async def test_of_chains_only_those_are_left_that_something_leads_to(machine: Machine) -> None:
    await machine.say(ready(0, 2))
    assert set(machine.node.network.maps.chains) == {"random-2"}
    await machine.say(ready(0, 1, 2))
    assert set(machine.node.network.maps.chains) == {"random-3"}


async def test_of_what_a_load_brought_nothing_is_left_that_nothing_leads_to(
    machine: Machine,
) -> None:
    await machine.say(ready(0))
    machine.node.network.load("# rules\n")
    machine.node.network.change_unheard(
        changes(Elements(), share(WEB, ready(0, 1), ()).elements, ())
    )
    machine.endpoints.reloaded()
    await machine.say(ready(0))
    assert set(machine.node.network.maps.chains) == {"random-1"}


async def test_a_service_that_no_rule_can_hold_keeps_no_other_from_its_own(
    machine: Machine,
) -> None:
    bad = Service("api", (Candidate(key(9), Ordinal("0"), "nowhere"),), "10.101.0.9", {80: 80})
    said = await machine.endpoints.apply(shop(WEB, bad), {**ready(0), key(9): READY}, {})
    assert said == "shop/api: 'nowhere' is not an IPv4 address"
    assert machine.leads_to() == ["10.100.1.10"]
    assert await machine.endpoints.apply(shop(), ready(0), {}) == ""


OTHER = "10.101.0.9"
STRANGE = changes(
    Elements(),
    Elements(
        {OTHER: "goto random-7"},
        {f"{OTHER} . 0x4b000000": "10.100.1.99"},
        {"10.100.1.99 . tcp . 80": ""},
    ),
    (),
)


async def test_elements_of_services_that_nobody_knows_are_spared_as_long_as_asked_for(
    machine: Machine,
) -> None:
    machine.node.network.load("# rules\n")
    machine.node.network.change_unheard(
        changes(Elements(), share(WEB, ready(0, 1), ()).elements, ()) + STRANGE
    )
    machine.endpoints.spare(others=True)
    machine.endpoints.reloaded()
    await machine.say(ready(0))
    await machine.say(ready(0, 2))
    assert machine.leads_to() == ["10.100.1.10", "10.100.1.12", "10.100.1.99"]
    assert "10.100.1.99 . tcp . 80" in machine.node.network.maps.elements().unready
    assert "random-7" in machine.node.network.maps.chains
    machine.endpoints.spare(others=False)
    await machine.say(ready(0, 2))
    assert machine.node.network.maps.elements() == share(WEB, ready(0, 2), ()).elements
    assert set(machine.node.network.maps.chains) == {"random-2"}


async def test_elements_that_are_spared_are_no_foreign_change(machine: Machine) -> None:
    machine.endpoints.spare(others=True)
    await machine.say(ready(0, 1, 2))
    machine.node.network.change_unheard(STRANGE)
    machine.node.trace.clear()
    assert not await machine.rules.check()
    assert machine.node.trace.changes() == []
    assert not await machine.rules.check()
    assert machine.listings == 1


@asynccontextmanager
async def change_under_way(
    machine: Machine, change: Coroutine[object, object, object]
) -> AsyncIterator[None]:
    """Have the answer to a change of elements come after the block."""
    network = machine.node.network
    network.hangs = asyncio.Event()
    task = asyncio.create_task(change)
    await machine.node.clock.advance(0.02)
    yield
    network.hangs.set()
    await task


async def test_what_is_spared_no_more_goes_also_if_a_mend_is_under_way(machine: Machine) -> None:
    machine.endpoints.spare(others=True)
    await machine.say(ready(0, 2))
    machine.node.network.change_unheard(STRANGE)
    await machine.rules.check()
    machine.node.network.change_unheard(
        f"delete element inet kat endpoints {{ {VIRTUAL} . 0x4b000000 }}\n"
    )
    async with change_under_way(machine, machine.rules.check()):
        machine.endpoints.spare(others=False)
    await machine.say(ready(0, 2))
    assert machine.node.network.maps.elements() == share(WEB, ready(0, 2), ()).elements


async def test_a_load_is_not_forgotten_for_a_change_that_was_under_way(machine: Machine) -> None:
    async with change_under_way(machine, machine.say(ready(0, 2))):
        machine.node.network.load("# rules\n")
        machine.endpoints.reloaded()
    await machine.say(ready(0, 2))
    assert machine.node.network.maps.elements() == share(WEB, ready(0, 2), ()).elements


async def test_only_what_is_said_to_have_changed_is_worked_out_anew(machine: Machine) -> None:
    same = shop()
    await machine.endpoints.apply(same, ready(0, 1, 2), {}, ())
    states = ready(0)
    await machine.endpoints.apply(same, states, {}, ())
    assert machine.leads_to() == ["10.100.1.10", "10.100.1.11", "10.100.1.12"]
    await machine.endpoints.apply(same, states, {}, [key(1)])
    assert machine.leads_to() == ["10.100.1.10"]


@pytest.mark.parametrize("can_destroy", [True, False])
async def test_a_snapshot_is_made_where_it_can_be_loaded(*, can_destroy: bool) -> None:
    machine = Machine()
    machine.node.network.can_destroy = can_destroy
    await machine.endpoints.prepare()
    (services,) = shop()
    found = machine.endpoints.snapshot(services, {key(0): READY})
    assert (found is not None) is can_destroy


async def test_without_rules_nothing_is_changed() -> None:
    node = FakeNode()
    await EndpointRules(node.ports).apply(shop(), ready(0), {})
    assert node.trace.texts("network.change_rules") == []


PIN = "add element inet kat itself { 10.100.1.12 . 10.100.1.12 }\n"
UNPIN = PIN.replace("add", "delete")


async def with_pin(machine: Machine) -> None:
    """Have a load bring an element that is to be removed later."""
    machine.node.network.change_unheard(PIN)
    await machine.endpoints.remember()
    machine.node.trace.clear()


async def test_what_removes_an_element_of_right_rules_leaves_them_right(machine: Machine) -> None:
    await with_pin(machine)
    await machine.say(ready(0))
    await machine.endpoints.carry_out(UNPIN)
    assert not await machine.rules.check()
    assert machine.listings == 1
    machine.node.network.change_elsewhere()
    assert not await machine.rules.check()


async def test_a_removal_after_a_change_of_other_tables_leaves_right_rules_right(
    machine: Machine,
) -> None:
    await with_pin(machine)
    machine.node.network.change_elsewhere()
    await machine.endpoints.carry_out(UNPIN)
    assert not await machine.rules.check()


async def test_a_removal_from_rules_that_somebody_has_altered_makes_them_no_better(
    machine: Machine,
) -> None:
    await with_pin(machine)
    machine.node.network.change_unheard(PIN.replace("1.12", "1.66"))
    await machine.endpoints.carry_out(UNPIN)
    assert await machine.rules.check()
    assert machine.node.network.maps.others() == {}


async def test_what_is_altered_right_after_a_removal_is_not_taken_for_right(
    machine: Machine,
) -> None:
    await with_pin(machine)
    machine.node.network.before_listing = PIN.replace("1.12", "1.66")
    await machine.endpoints.carry_out(UNPIN)
    assert await machine.rules.check()
