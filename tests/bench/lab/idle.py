"""What processes take while nothing happens: memory, and CPU over some minutes."""

import json
import time
from collections.abc import Iterator, Mapping

from tests.bench.lab.machine import THERE, ask
from tests.bench.lab.starts import Row
from tests.lab import Node

TARGETS = {"kat-agent": ("40 MiB", "0.2 %"), "kat-leader": ("stated", "stated")}
INSTANCES = 10
UNITS = ("kat-agent", "kat-leader", "docker", "containerd")


def idle(node: Node, minutes: float) -> Iterator[Row]:
    """Yield memory and CPU of each service, children with it, while instances run."""
    for who in ("kat", "swarm"):
        ask(node, who, "hold", str(INSTANCES))
    before, begin = _used(node), time.monotonic()
    time.sleep(minutes * 60)
    after, seconds = _used(node), time.monotonic() - begin
    for unit in UNITS:
        memory, cpu = TARGETS.get(unit, ("for scale", "for scale"))
        now = after[unit]
        yield f"{unit}, {now['processes']:.0f} processes, memory", _memory(now), memory
        share = (now["cpu"] - before[unit]["cpu"]) / seconds
        yield f"{unit}, CPU over {minutes:g} idle minutes", f"{share:.2%}", cpu
    for who in ("kat", "swarm"):
        ask(node, who, "delete")


def at_the_end(node: Node) -> Iterator[Row]:
    """Yield the memory of KAT's services after all that they went through."""
    for unit, used in _used(node).items():
        if unit in TARGETS:
            yield f"{unit}, memory at the end of all rounds", _memory(used), "stated"


def _memory(used: Mapping[str, float]) -> str:
    return f"{used['pss']:.0f} MiB PSS, {used['rss']:.0f} MiB RSS"


def _used(node: Node) -> Mapping[str, Mapping[str, float]]:
    used = node.run(["python3", f"{THERE}/used.py", *UNITS]).stdout
    found: Mapping[str, Mapping[str, float]] = json.loads(used)
    return found
