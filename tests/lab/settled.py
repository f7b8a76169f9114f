"""What a node of KAT is like when nothing is going on, and how to wait for it."""

import json

from tests.lab.cluster import OneNode
from tests.lab.node import Node

DAEMONS = ("kat-agent.service", "kat-leader.service")
IN_SYNC = """katcall get nodes -o json 2>/dev/null |
    busybox tr -d ' \\n' | grep -q '"condition":"Ready","sync":"insync"'"""
UNITS = "systemctl list-units --all --plain --no-legend 'kat*' | cut -d' ' -f1"

SLEEPER = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: sleeper, namespace: {namespace}}}
spec:
  type: Service
  replicas: {replicas}
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ["trap exit TERM; sleep infinity & wait"]
    env: [{{name: STAGE, value: "{stage}"}}]
"""


def sleeper(
    kat: OneNode, *, namespace: str = "default", replicas: int = 1, stage: str = "one"
) -> str:
    """Return a workload that stops as soon as it is told to."""
    return SLEEPER.format(namespace=namespace, replicas=replicas, stage=stage, image=kat.image)


def until(node: Node, condition: str, *, within_s: float = 30, each_s: float = 0.05) -> None:
    """Wait until a shell command succeeds on the node; AssertionError after a while."""
    script = f"""
        end=$(($(date +%s%N) + {int(within_s * 10**9)}))
        until {{ {condition}; }} >/dev/null 2>&1; do
            test $(date +%s%N) -lt $end || exit 1
            sleep {each_s}
        done"""
    ran = node.run(["sh", "-c", script], check=False, timeout_s=within_s + 30)
    assert ran.code == 0, f"not so within {within_s:g} s: {condition}\n{ran.stderr}"


def until_in_sync(kat: OneNode) -> None:
    """Wait until both daemons run and the leader has heard that the node is in sync."""
    until(kat.node, f"systemctl is-active --quiet {' '.join(DAEMONS)} && {IN_SYNC}")


def stale(kat: OneNode) -> list[str]:
    """Return KAT's units of which systemd has loaded another text than there is now."""
    units = kat.node.run(["sh", "-c", UNITS]).stdout.split()
    assert "kat.target" in units
    return properties(kat, "NeedDaemonReload", units, "yes")


def properties(kat: OneNode, name: str, units: list[str], value: str) -> list[str]:
    """Return the units of which a property has this value."""
    words = kat.node.run(["systemctl", "show", "-P", "Id", "-P", name, *units]).stdout.split()
    return [unit for unit, one in zip(words[::2], words[1::2], strict=True) if one == value]


def starts(kat: OneNode) -> dict[str, int]:
    """Return how often systemd has started each instance since the boot."""
    fields = ["-o", "json", "--output-fields=UNIT", "JOB_TYPE=start", "JOB_RESULT=done"]
    lines = kat.node.run(["journalctl", "-b", "--no-pager", "_PID=1", *fields]).stdout.splitlines()
    found: dict[str, int] = {}
    for line in lines:
        unit = json.loads(line)["UNIT"]
        if unit.startswith("kat.") and unit.endswith(".service"):
            found[unit] = found.get(unit, 0) + 1
    return found


def reloads(kat: OneNode) -> int:
    """Return how often systemd has loaded all units anew since the boot."""
    argv = ["journalctl", "-b", "--no-pager", "-o", "cat", "_PID=1"]
    return kat.node.run(argv).stdout.count("Reloading...\n")
