"""`python -m tests.bench.endpoint_bench`: how soon names and traffic follow health, on a lab host.

First an instance of three is turned, again and again, with the leader up and down; a check is made
in every second. Then the agent's own code changes the kernel's rules of a thousand services.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from statistics import median

from katgen.render import networkd, nft, services
from katgen.render.view import PlannedWorkload
from tests import cuts
from tests.lab import host
from tests.lab.settled import until
from tests.lab.test_endpoints import LEADER, looked_at, ready, turn, web, without

ROUNDS = 10
SERVICES = 1000
MANY = 100
TIMES = 20
INSIDE = Path(__file__).parent / "lab/on_node/elements.py"


def main() -> None:
    """Measure, and print a table."""
    sys.stdout.write("| what | median | worst |\n|---|---:|---:|\n")
    for what, times in chain(turned(), changed()):
        sys.stdout.write(f"| {what} | {median(times):.0f} ms | {max(times):.0f} ms |\n")
        sys.stdout.flush()


def turned() -> Iterator[tuple[str, list[float]]]:
    """Yield what was measured of turns, in milliseconds."""
    with looked_at() as kat:
        kat.apply(web(kat, 3))
        until(kat.node, ready(3))
        for stopped, words in (("", "leader up"), (LEADER, "leader down")):
            with without(kat, stopped):
                took = [(turn(kat, "out"), turn(kat, "in")) for _ in range(ROUNDS)]
            yield from _rows(f"unhealthy, {words}", [one for one, _ in took])
            yield from _rows(f"healthy again, {words}", [one for _, one in took])


def _rows(what: str, took: list[dict[str, float]]) -> Iterator[tuple[str, list[float]]]:
    yield f"{what}: checked", [1000 * one["checked"] for one in took]
    for name, words in (("names", "kat-dns answers so"), ("traffic", "connections go so")):
        yield f"{what}: {words} after the check", [1000 * (o[name] - o["checked"]) for o in took]
    yield f"{what}: from the turn to both", [1000 * max(o["names"], o["traffic"]) for o in took]


def changed() -> Iterator[tuple[str, list[float]]]:
    """Yield what changes of the kernel's elements took, in milliseconds."""
    with host(kat=True) as node:
        node.put_tree({path: text.encode() for path, text in files().items()})
        node.run(["nft", "-f", "/etc/kat/kat.nft"])
        script = ["python3", "-c", INSIDE.read_text(), str(TIMES), str(MANY)]
        ran = node.run(["env", "PYTHONPATH=/usr/lib/kat", *script], timeout_s=120)
    took: dict[str, list[float]] = json.loads(ran.stdout)
    yield f"one instance of {SERVICES} services of three, in the kernel", took["one"]
    yield f"{MANY} instances at once", took["many"]


def files() -> dict[str, str]:
    """Return a node's files of the data plane."""
    cluster = cuts.cluster()
    every = [*balanced()]
    view = cuts.namespace_view(cluster, "shop", every)
    rules = (*nft.node(cuts.node_view(cluster, "a")), *nft.cluster(cluster), *nft.services(view))
    return cuts.texts((*networkd.shared(cluster), *rules, *services.services(view)))


def balanced() -> Iterable[PlannedWorkload]:
    """Yield the services, with three instances each."""
    for number in range(SERVICES):
        high, low = divmod(number, 80)
        placed = {str(n): ("a", f"10.100.{10 + high}.{10 + 3 * low + n}") for n in range(3)}
        spec = {"ports": [{"port": 80, "targetPort": 8080}]}
        virtual = f"10.101.{number // 250}.{1 + number % 250}"
        yield cuts.balanced(cuts.workload(f"shop/w{number}", placed), virtual, spec)


if __name__ == "__main__":
    main()
