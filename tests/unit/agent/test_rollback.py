import pytest

from agent import state
from agent.ports import UnfitError
from agent.rollback import lift_hold, roll_back
from katgen.bundle import Activation
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, instance

OLD, NEW = instance(0, 1), instance(0, 2, activation=Activation.STOP_FIRST)


async def after_two() -> FakeNode:
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, OLD))
    await cluster.apply(node.ports, cluster.target(2, NEW))
    return node


async def test_the_generation_before_runs_again_with_no_leader() -> None:
    node = await after_two()
    await roll_back(node.ports)
    assert list(node.podman.running) == ["kat.shop.web.0-1"]
    assert state.is_held(node.files)


async def test_the_high_water_mark_stays() -> None:
    node = await after_two()
    await roll_back(node.ports)
    mark = state.high_water(node.files)
    assert (mark.epoch, mark.generation) == (1, 2)


async def test_twice_goes_back_twice_until_there_is_nothing() -> None:
    node = await after_two()
    await roll_back(node.ports)
    with pytest.raises(UnfitError, match="no generation before 1-1 is kept"):
        await roll_back(node.ports)


async def test_a_node_without_a_generation_has_nothing_to_go_back_to() -> None:
    with pytest.raises(UnfitError, match="nothing is applied on this node yet"):
        await roll_back(FakeNode().ports)


async def test_resume_lifts_the_hold() -> None:
    node = await after_two()
    await roll_back(node.ports)
    assert lift_hold(node.ports)
    assert not state.is_held(node.files)
    assert not lift_hold(node.ports)


async def test_the_nodes_policy_is_asked_about_what_ran_before_it() -> None:
    node = await after_two()
    node.files.put(state.POLICY, b'namespaces = ["other"]\n')
    with pytest.raises(UnfitError, match="namespace shop may not run here"):
        await roll_back(node.ports)
    assert list(node.podman.running) == ["kat.shop.web.0-2"]
    assert not state.is_held(node.files)
