"""Runs the cases on the machine that it is started on, as root: a lab node.

`python3 -m tests.contract.agent.inside` prints one JSON object: a text by case, '' if it held.
"""

import asyncio
import json
import re
import subprocess
import sys
import traceback
from collections.abc import Sequence

from agent.clock import SystemClock
from agent.files import DiskFiles
from agent.journal import Journalctl
from agent.machine import LinuxMachine
from agent.network import KernelNetwork
from agent.podman import PodmanService
from agent.ports import NodePorts
from agent.systemd import DBusSystemd
from agent.tools import Subprocesses
from tests.contract.agent.cases import CASES
from tests.contract.agent.hardships import HARDSHIPS
from tests.contract.agent.world import IMAGE

UNITS = "/run/systemd/system"
KINDS = {
    "runs": "ExecStart=/bin/sleep 10000",
    "fails": "Type=oneshot\nExecStart=/bin/false",
    "hangs": "Type=oneshot\nExecStart=/bin/sleep 10000",
}
RULES = """
table inet kat
delete table inet kat
table bridge kat
delete table bridge kat
table inet kat {
    map services {
        typeof ip daddr : verdict
    }
    map endpoints {
        type ipv4_addr . mark : ipv4_addr
    }
    set unready {
        type ipv4_addr . inet_proto . inet_service
    }
    chain balance {
    }
    set some {
        type ipv4_addr
        elements = { 192.0.2.7, 192.0.2.5 }
    }
    chain here {
        RULE
    }
}
table bridge kat {
}
"""


class RealWorld:
    """This machine."""

    def __init__(self) -> None:
        systemd, tools = DBusSystemd(), Subprocesses()
        self.podman = PodmanService(systemd)
        self.ports = NodePorts(
            DiskFiles(),
            systemd,
            self.podman,
            KernelNetwork(tools),
            Journalctl(),
            tools,
            LinuxMachine(tools, systemd),
            SystemClock(),
        )

    def service(self, unit: str, kind: str = "runs") -> None:
        text = f"[Service]\n{KINDS[kind]}\n"
        self.ports.files.write(f"{UNITS}/{unit}", text.encode())

    async def run_container(self, name: str) -> None:
        options = ["--network=none", "--cgroups=disabled", f"--name={name}"]
        await self._run(["podman", "run", "-d", *options, IMAGE, "sleep", "10000"])

    async def load_rules(self, rule: str) -> None:
        self.ports.files.write("/run/rules.nft", RULES.replace("RULE", rule).encode())
        await self._run(["nft", "-f", "/run/rules.nft"])

    async def flush_rules(self) -> None:
        await self._run(["nft", "flush", "ruleset"])

    async def connect(self, virtual: str, instance: str, sport: int) -> None:
        client = "192.0.2.11"
        ends = ["-s", client, "-d", virtual, "--reply-src", instance, "--reply-dst", client]
        ports = ["--sport", str(sport), "--dport", "53"]
        back = ["--reply-port-src", "53", "--reply-port-dst", str(sport)]
        await self._run(["conntrack", "-I", "-p", "udp", "-t", "60", *ends, *ports, *back])

    async def connected(self) -> set[tuple[str, str]]:
        ran = await self.ports.tools.run(["conntrack", "-L", "-p", "udp"], timeout_s=20, env={})
        found = re.findall(r"dst=(\S+) .*?src=(\S+) dst=192\.0\.2\.11 ", ran.stdout)
        return set(found)

    async def log(self, unit: str, *lines: str) -> None:
        said = "; ".join(f"echo {line}" for line in lines)
        text = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c '{said}'\n"
        self.ports.files.write(f"{UNITS}/{unit}", text.encode())
        await self.ports.systemd.start(unit, 20)
        await self._run(["journalctl", "--sync"])

    async def _run(self, argv: Sequence[str]) -> None:
        ran = await self.ports.tools.run(argv, timeout_s=20, env={})
        assert ran.code == 0, ran


async def main() -> dict[str, str]:
    world = RealWorld()
    said = {}
    for case in (*CASES, *HARDSHIPS):
        try:
            await asyncio.wait_for(case(world), 60)
        except Exception:  # noqa: BLE001 -- the test that started this shows it
            said[case.__name__] = traceback.format_exc()
        else:
            said[case.__name__] = ""
    await world.podman.close()
    await world.ports.systemd.close()
    return said


if __name__ == "__main__":
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    sys.stdout.write(json.dumps(asyncio.run(main())) + "\n")
