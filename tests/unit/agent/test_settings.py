"""What a leader settles for all nodes, and what stays a node's own."""

import pytest

from agent import state
from katgen.protocol import Heartbeat, Settings
from tests.unit.agent.cluster import rules
from tests.unit.agent.leader import Running, running
from tests.unit.agent.test_loop import fit, started

EDITED = b"# mine\n"
FILE = "/etc/kat/kat.nft"


def heartbeats(agent: Running) -> int:
    return sum(isinstance(one, Heartbeat) for one in agent.leader.session_.sent)


async def test_heartbeats_come_as_often_as_the_leader_says() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.leader.say(Settings(2, "Report"))
        await agent.pass_time(3)
        before = heartbeats(agent)
        await agent.pass_time(20)
        assert 9 <= heartbeats(agent) - before <= 10


async def edited(agent: Running, drift_policy: str) -> None:
    """Edit a managed file and let two ticks go by."""
    await started(agent)
    agent.leader.say(Settings(15, drift_policy))
    await agent.pass_time(1)
    agent.node.files.put(FILE, EDITED)
    await agent.pass_time(16)
    await agent.pass_time(16)


async def test_drift_is_reverted_if_the_leader_says_so() -> None:
    async with running(fit()) as agent:
        await edited(agent, "Revert")
        assert agent.node.files.read(FILE) == rules().content


async def test_else_it_is_only_told() -> None:
    async with running(fit()) as agent:
        await edited(agent, "Report")
        assert agent.node.files.read(FILE) == EDITED


@pytest.mark.parametrize(
    ("own", "leaders", "left"),
    [("report", "Revert", EDITED), ("revert", "Report", rules().content)],
)
async def test_the_nodes_own_policy_goes_before_the_leaders(
    own: str, leaders: str, left: bytes
) -> None:
    node = fit()
    node.files.put("/etc/kat/policy", f'drift = "{own}"\n'.encode())
    async with running(node) as agent:
        await edited(agent, leaders)
        assert agent.node.files.read(FILE) == left


async def test_nothing_is_reverted_on_a_node_that_is_held() -> None:
    node = fit()
    async with running(node) as agent:
        await started(agent)
        node.files.put(state.HOLD, b"")
        agent.leader.say(Settings(15, "Revert"))
        node.files.put(FILE, EDITED)
        await agent.pass_time(16)
        await agent.pass_time(16)
        assert node.files.read(FILE) == EDITED


async def test_a_file_that_is_not_ours_is_left_alone() -> None:
    node, foreign = fit(), "/etc/containers/systemd/kat/own.container"
    async with running(node) as agent:
        node.files.put(foreign, EDITED)
        await edited(agent, "Revert")
        assert node.files.read(foreign) == EDITED
        assert [one.kind for one in agent.leader.reports[-1].drift] == ["foreign"]
