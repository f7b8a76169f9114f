"""A real kat-leader with TLS and SQLite in a folder of its own, for figures and soaks."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

from katgen.leader.backend import FILE
from katgen.leader.init import Made, Options, init
from katgen.leader.store import Transaction
from katgen.leader.store.sqlite import SqliteStore
from katgen.leader.tokens import make_token
from tests.environment import REPOSITORY

NOBODY = 65534
READY_S = 60.0
PEOPLE = 15
MIB = 1 << 20
_CODE = "from katgen.leader.main import main; main()"


@dataclass(frozen=True, slots=True)
class Running:
    """A leader: its process, where it is, and who may ask it."""

    pid: int
    url: str
    ca: str
    tokens: tuple[str, ...]
    """Of several people: one alone may not ask as often as a leader can answer."""
    folder: Path

    def headers(self, person: int = 0) -> Mapping[str, str]:
        """Return who asks."""
        return {"Authorization": f"Bearer {self.tokens[person % len(self.tokens)]}"}

    def rss_mib(self) -> float:
        """Return what the process has in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def cpu_s(self) -> float:
        """Return what it has used of its processors."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def leader() -> Iterator[Running]:
    """Start a leader, wait until it answers, and end it. Needs root, to be somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="kat-bench-"))
    folder.chmod(0o755)
    try:
        made, port = _made(folder)
        tokens = (made.token, *asyncio.run(_people(folder / "leader" / FILE)))
        with (folder / "log").open("wb") as log, _started(folder, log) as process:
            try:
                _wait(port, process, folder)
                ca = (folder / "node/ca.crt").read_text()
                yield Running(process.pid, f"https://127.0.0.1:{port}", ca, tokens, folder)
            finally:
                process.terminate()
                process.wait(30)
    finally:
        shutil.rmtree(folder)


def _made(folder: Path) -> tuple[Made, int]:
    port = free_port()
    spec = f"{{clusterCIDR: 10.20.0.0/16, serviceCIDR: 10.21.0.0/16, apiPort: {port}}}"
    config = f"""\
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {{name: bench}}
spec: {spec}
"""
    told: list[Made] = []
    options = Options(
        node="n1",
        advertise_address="127.0.0.1",
        state_dir=folder / "leader",
        node_out=folder / "node",
        config=("cluster.kat", config.encode()),
        owner=(NOBODY, NOBODY),
    )
    init(options, told.append)
    return told[0], port


async def _people(path: Path) -> list[str]:
    """Return the tokens of people who are made here."""
    new = [make_token(f"p{number}", "admin", "now") for number in range(PEOPLE)]
    store = await SqliteStore.open(path)
    await store.commit(Transaction(puts={one.path: one.value for one in new}))
    await store.close()
    for one in path.parent.glob(f"{path.name}*"):
        os.chown(one, NOBODY, NOBODY)
    return [one.text for one in new]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, "run", "--state-dir", str(folder / "leader")],
        cwd=REPOSITORY,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def _wait(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)  # nothing tells of a port that begins to listen
        else:
            return
    raise RuntimeError("the leader does not listen")


@asynccontextmanager
async def client(running: Running, connections: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client with so many connections at most."""
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cadata=running.ca), limit=connections
    )
    async with aiohttp.ClientSession(
        running.url,
        connector=connector,
        headers=running.headers(),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=1 << 16,
    ) as session:
        yield session


def config(namespace: str, name: str, count: int) -> dict[str, object]:
    """Return an object that says how often it was written, and when."""
    return {
        "apiVersion": "kat/v1alpha1",
        "kind": "Config",
        "metadata": {"name": name, "namespace": namespace, "labels": {"tier": f"t{count % 2}"}},
        "data": {"count": str(count), "written": f"{time.time():.6f}", "text": "x" * 400},
    }


def percentile(values: list[float], share: float) -> float:
    """Return a percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
