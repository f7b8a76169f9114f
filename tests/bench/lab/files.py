"""A hundred changed files on this machine's disk: KAT's agent and pyinfra; then nothing to do."""

import asyncio
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from agent import state
from agent.apply import apply
from agent.drift import file_drift
from agent.files import DiskFiles
from agent.ports import NewFile, NodePorts
from agent.stage import stage
from katgen.bundle import Activation, Artifact, artifact
from tests.bench.lab.starts import Row, shown
from tests.environment import CACHE
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, FakeSession

FILES = 100
FOLDER = "/var/lib/kat/config/shop/web/0123456789"
PYINFRA = "pyinfra==3.10.0"
VENV = CACHE / "bench-venv"
DEPLOY = """
from pyinfra.operations import files

for n in range({count}):
    files.put(src="from/{{}}".format(n), dest="{to}/{{}}".format(n))
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of a round: all changed, and again with nothing to do."""

    changed: float
    again: float


def files(scratch: Path, rounds: int) -> Iterator[Row]:
    """Yield the rows; `scratch` is an empty directory on the disk that is measured."""
    pyinfra = pyinfra_program()
    ways: Mapping[str, Callable[[int], Taken]] = {
        "port": Port(scratch / "port").round,
        "agent": Agent(scratch / "agent").round,
        "pyinfra": lambda number: by_pyinfra(pyinfra, scratch / "pyinfra", number),
    }
    taken: dict[str, list[Taken]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, measure in ways.items():
            taken[way].append(measure(number))
    changed = {w: statistics.median(one.changed for one in found) for w, found in taken.items()}
    again = {w: statistics.median(one.again for one in found) for w, found in taken.items()}
    what = f"{FILES} changed files"
    yield f"{what}, durable and atomic: the agent's files", shown(changed["port"]), "60 ms"
    yield f"{what}: staged, applied and remembered by the agent", shown(changed["agent"]), "stated"
    yield f"{what}: pyinfra, local, not durable", shown(changed["pyinfra"]), "for scale"
    yield "once more, nothing to change: the agent", shown(again["port"]), "5 ms"
    yield "and every file read and digested, for drift", shown(again["agent"]), "stated"
    yield "once more, nothing to change: pyinfra", shown(again["pyinfra"]), "for scale"


def content(file: int, number: int) -> bytes:
    """Return what a file has in a round."""
    return f"file {file} of round {number}\n".encode() * 20


class Port:
    """The agent's disk alone, and the agent that sees that it is in sync."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self._files = DiskFiles(root)
        self._agent = Agent(root.with_name("second"))

    def round(self, number: int) -> Taken:
        new = [NewFile(f"{FOLDER}/{n}", content(n, number)) for n in range(FILES)]
        begin = perf_counter()
        self._files.write_all(new)
        self._files.flush([FOLDER])
        changed = perf_counter() - begin
        return Taken(changed, self._agent.in_sync(number))


class Agent:
    """All that an agent does for a generation, but for a network and a PID 1."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self._cluster = Cluster()
        self._node: NodePorts = replace(FakeNode().ports, files=DiskFiles(root))

    def round(self, number: int) -> Taken:
        changed = asyncio.run(self._apply(number))
        begin = perf_counter()
        asyncio.run(self._apply(number))
        applied = state.load(self._node.files, state.APPLIED, state.Applied)
        if applied is None or file_drift(self._node.files, applied):
            raise RuntimeError("what was written is not there")
        return Taken(changed, perf_counter() - begin)

    def in_sync(self, number: int) -> float:
        """Return the time of a second pass over the same generation."""
        asyncio.run(self._apply(number))
        return asyncio.run(self._again(number))

    async def _apply(self, number: int) -> float:
        target = self._cluster.target(number + 1, *self._artifacts(number))
        session = FakeSession(files=self._cluster.contents)
        begin = perf_counter()
        await stage(target, session, self._node)
        await apply(target, self._node)
        return perf_counter() - begin

    async def _again(self, number: int) -> float:
        target = self._cluster.target(number + 1, *self._artifacts(number))
        begin = perf_counter()
        await apply(target, self._node)
        return perf_counter() - begin

    def _artifacts(self, number: int) -> tuple[Artifact, ...]:
        return tuple(
            artifact(path, content(n, number).decode(), activation=Activation.NONE, pair_key=path)
            for n in range(FILES)
            for path in (f"{FOLDER}/{n}",)
        )


def pyinfra_program() -> Path:
    """Return pyinfra, in a virtual environment of its own that is kept."""
    program = VENV / "bin/pyinfra"
    if not program.exists():
        venv.create(VENV, with_pip=True)
        pip = [str(VENV / "bin/python"), "-m", "pip", "install", "-q", PYINFRA]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return program


def by_pyinfra(program: Path, folder: Path, number: int) -> Taken:
    """Have pyinfra put the same files, twice."""
    (folder / "from").mkdir(parents=True, exist_ok=True)
    (folder / "to").mkdir(exist_ok=True)
    for n in range(FILES):
        (folder / "from" / str(n)).write_bytes(content(n, number))
    (folder / "deploy.py").write_text(DEPLOY.format(count=FILES, to=folder / "to"))
    return Taken(_pyinfra_s(program, folder), _pyinfra_s(program, folder))


def _pyinfra_s(program: Path, folder: Path) -> float:
    begin = perf_counter()
    argv = [str(program), "-y", "@local", "deploy.py"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, env={**os.environ})
    return perf_counter() - begin
