"""Whatever happens to endpoints in whatever order, the kernel ends with what is wanted."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agent.endpoints.elements import Elements, changes, merged, share, snapshot_text
from agent.endpoints.rules import EndpointRules
from katgen.endpoints import (
    DRAINING,
    NEW,
    NOT_READY,
    READY,
    Candidate,
    NamespaceServices,
    Service,
    States,
    served,
)
from katgen.names import InstanceKey, Ordinal
from tests.fakes import FakeNode
from tests.fakes.nft_maps import Maps

NAMES = ("cart", "web")
NAMESPACES = ("shop", "vault")


def instance(namespace: str, name: str, number: int) -> InstanceKey:
    return InstanceKey(f"{namespace}/{name}/{number}-1")


EVERY = [instance(ns, name, one) for ns in NAMESPACES for name in NAMES for one in range(5)]


@st.composite
def services(draw: st.DrawFn) -> tuple[NamespaceServices, ...]:
    """Draw both namespaces; an address belongs to one instance, a virtual one to one service."""
    return tuple(
        NamespaceServices(
            1,
            namespace,
            tuple(
                _service(draw, namespace, name, 10 * (2 * at + index + 1))
                for index, name in enumerate(NAMES)
            ),
        )
        for at, namespace in enumerate(NAMESPACES)
    )


def _service(draw: st.DrawFn, namespace: str, name: str, base: int) -> Service:
    numbers = draw(st.lists(st.integers(0, 4), unique=True).map(sorted))
    candidates = tuple(
        Candidate(instance(namespace, name, one), Ordinal(str(one)), f"10.100.0.{base + one}")
        for one in numbers
    )
    if not draw(st.sampled_from([True, True, True, False])):
        return Service(name, candidates)
    udp = draw(st.sampled_from([{}, {53: 53}]))
    panic = draw(st.sampled_from([0, 50, 100]))
    virtual = f"10.101.0.{base}"
    return Service(name, candidates, virtual, {80: 8080}, udp, draw(st.booleans()), panic)


STATES = st.dictionaries(st.sampled_from(EVERY), st.sampled_from([READY, NOT_READY, NEW, DRAINING]))
OWN = st.sets(st.sampled_from(EVERY))
STEPS = st.lists(st.tuples(st.none() | services(), STATES, OWN, st.booleans()), min_size=1)


def wanted(given: tuple[NamespaceServices, ...], states: States, own: set[InstanceKey]) -> Elements:
    every = (service for one in given for service in one.services)
    return merged(share(service, states, own).elements for service in every)


@given(services(), STEPS)
def test_every_sequence_of_changes_ends_in_what_is_wanted(
    first: tuple[NamespaceServices, ...],
    steps: list[tuple[tuple[NamespaceServices, ...] | None, States, set[InstanceKey], bool]],
) -> None:
    async def play() -> None:
        node, now = FakeNode(), first
        node.network.load("# rules\n")
        rules = EndpointRules(node.ports)
        for fresh, states, own, is_reloaded in steps:
            now = fresh or now
            if is_reloaded:
                node.network.load("# rules\n")
                rules.reloaded()
            await rules.apply(now, states, dict.fromkeys(own, ""))
            assert node.network.maps.elements() == wanted(now, states, own)

    asyncio.run(play())


@given(services(), STATES)
def test_the_slots_hold_all_that_are_served_and_nobody_else(
    given: tuple[NamespaceServices, ...], states: States
) -> None:
    for service in (service for one in given for service in one.services):
        chosen = [one.address for one in served(service, states)] if service.virtual_address else []
        found = list(share(service, states, ()).elements.endpoints.values())
        assert set(found) == set(chosen)
        if chosen and service.sticky:
            assert len(found) == len(service.candidates)
        else:
            assert len(found) == len(chosen)


@given(services(), STATES)
def test_a_load_with_snapshots_is_as_of_their_state(
    given: tuple[NamespaceServices, ...], states: States
) -> None:
    kernel = Maps()
    for text in (_loaded(given), *(snapshot_text(one, states) for one in given)):
        kernel.carry_out(text)
    assert kernel.elements() == wanted(given, states, set())


@given(services(), STATES, services())
def test_a_snapshot_loads_also_after_another_plan_s_files(
    given: tuple[NamespaceServices, ...], states: States, others: tuple[NamespaceServices, ...]
) -> None:
    kernel = Maps()
    for text in (_loaded(others), *(snapshot_text(one, states) for one in given)):
        kernel.carry_out(text)


def _loaded(namespaces: tuple[NamespaceServices, ...]) -> str:
    """Return what the files of services do: everybody is served."""
    everybody = dict.fromkeys(EVERY, READY)
    every = (service for one in namespaces for service in one.services)
    return changes(Elements(), merged(share(one, everybody, ()).elements for one in every), ())
