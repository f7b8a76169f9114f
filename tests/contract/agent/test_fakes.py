"""The cases on the fake machine."""

import pytest

from agent.ports import NodePorts
from tests.contract.agent.cases import CASES
from tests.contract.agent.world import IMAGE, Case
from tests.fakes import FakeNode


class FakeWorld:
    def __init__(self) -> None:
        self.node = FakeNode()
        self.node.podman.local[IMAGE] = ""

    @property
    def ports(self) -> NodePorts:
        return self.node.ports

    def service(self, unit: str, kind: str = "runs") -> None:
        self.node.files.put(f"/run/systemd/system/{unit}", b"[Service]\nExecStart=x\n")
        if kind == "fails":
            self.node.systemd.failing[unit] = "exit-code"
        if kind == "hangs":
            self.node.systemd.hanging.add(unit)

    async def run_container(self, name: str) -> None:
        self.node.podman.appear(name, "", IMAGE)

    async def load_rules(self, rule: str) -> None:
        self.node.network.load(rule)

    async def flush_rules(self) -> None:
        self.node.network.load("")

    async def connect(self, virtual: str, instance: str, sport: int) -> None:
        del sport
        self.node.network.connections.append((virtual, instance))

    async def connected(self) -> set[tuple[str, str]]:
        return set(self.node.network.connections)

    async def log(self, unit: str, *lines: str) -> None:
        self.node.journal.begin_run(unit)
        for line in lines:
            self.node.journal.write(unit, line)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_fake_machine_does(case: Case) -> None:
    await case(FakeWorld())
