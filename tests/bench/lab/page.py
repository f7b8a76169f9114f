"""The section of docs/figures.md about a real host."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.lab.files import files
from tests.bench.lab.idle import at_the_end, idle
from tests.bench.lab.machine import machine
from tests.bench.lab.starts import Row, changes, starts
from tests.environment import CACHE

HEADER = """
## On a real host

One lab host runs KAT, units by hand and a docker swarm of one node, and they take turns: {rounds}
rounds, medians. All run `sleep infinity` of the same busybox image, already there. KAT's time and
the swarm's begin when the API has answered, the units' with the first file, and all end when
whoever started them says that all run. The host's disk is in memory, and its containers have no
limits; the hundred files are on this machine's disk. The load of the machine was {load:.1f} before.

| what | figure | target |
|---|---:|---:|
"""


def page(rounds: int, idle_minutes: float, only: str | None = None) -> Iterator[str]:
    """Yield the section's text; `only` one of its parts."""
    yield HEADER.format(rounds=rounds, load=os.getloadavg()[0])
    for what, figure, target in _rows(rounds, idle_minutes, only):
        yield f"| {what} | {figure} | {target} |\n"


def _rows(rounds: int, idle_minutes: float, only: str | None) -> Iterator[Row]:
    if only in {None, "files"}:
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            yield from files(Path(scratch), rounds)
    if only == "files":
        return
    with machine() as node:
        if idle_minutes and only in {None, "idle"}:
            yield from idle(node, idle_minutes)
        if only in {None, "starts"}:
            yield from starts(node, rounds)
        if only in {None, "changes"}:
            yield from changes(node, rounds)
        if only is None:
            yield from at_the_end(node)
