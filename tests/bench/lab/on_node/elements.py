"""Run on a node by its own Python, with the agent's code: changes of endpoint state. Prints JSON.

elements.py ROUNDS MANY  milliseconds of each change of one instance's state in the kernel, and of
                         each change of MANY at once, one in each of MANY services
"""

import asyncio
import json
import sys
from pathlib import Path
from time import perf_counter

import msgspec

from agent.endpoints.rules import EndpointRules
from agent.machine_ports import opened
from katgen.endpoints import NOT_READY, READY, NamespaceServices

FOLDER = Path("/var/lib/kat/services")


async def measured(read: list[NamespaceServices], rounds: int, many: int) -> dict[str, list[float]]:
    """Return what the changes took."""
    own = {s.candidates[0].instance: s.candidates[0].address for one in read for s in one.services}
    firsts = [*own]
    ready = {c.instance: READY for one in read for s in one.services for c in s.candidates}
    took: dict[str, list[float]] = {}
    async with opened() as node:
        rules = EndpointRules(node)
        await rules.apply(read, ready, own)
        for what, count in (("one", 1), ("many", many)):
            for number in range(rounds):
                out = dict.fromkeys(firsts[number : number + count], NOT_READY)
                for states in (ready | out, ready):
                    begun = perf_counter()
                    await rules.apply(read, states, own, out.keys())
                    took.setdefault(what, []).append((perf_counter() - begun) * 1000)
    return took


def main() -> None:
    """Measure, and print."""
    rounds, many = int(sys.argv[1]), int(sys.argv[2])
    texts = [one.read_bytes() for one in FOLDER.iterdir()]
    read = [msgspec.json.decode(one, type=NamespaceServices) for one in texts]
    json.dump(asyncio.run(measured(read, rounds, many)), sys.stdout)


main()
