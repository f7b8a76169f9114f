"""A machine in memory: every port of the agent, with failures on order and every call on record.

node = FakeNode()
node.files.put("/run/systemd/system/kat.a.service", b"[Service]\n")
node.trace.fail("systemd.start", UnitError("kat.a.service", "failed"))
await something(node.ports)
assert node.trace.changes() == ["files.write /etc/a", "systemd.start kat.a.service"]
"""

from tests.fakes.files import FakeFiles
from tests.fakes.journal import FakeJournal
from tests.fakes.machine import FakeClock, FakeMachine
from tests.fakes.network import FakeNetwork
from tests.fakes.node import FakeNode
from tests.fakes.podman import FakePodman
from tests.fakes.systemd import FakeSystemd
from tests.fakes.tools import FakeTools
from tests.fakes.trace import Call, KilledError, Trace

__all__ = [
    "Call",
    "FakeClock",
    "FakeFiles",
    "FakeJournal",
    "FakeMachine",
    "FakeNetwork",
    "FakeNode",
    "FakePodman",
    "FakeSystemd",
    "FakeTools",
    "KilledError",
    "Trace",
]
