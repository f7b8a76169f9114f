"""`kat-leader run` as systemd runs it: its own user, readiness, the watchdog, SIGTERM."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from katgen.leader.init import Made, Options, init
from katgen.leader.store import Transaction
from katgen.leader.store.sqlite import SqliteStore
from tests.environment import REPOSITORY
from tests.unit.leader.given import workload

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
NOBODY = 65534
DEADLINE_S = 60


@dataclass
class Running:
    """A leader, and what it tells systemd."""

    made: Made
    process: subprocess.Popen[str]
    said: socket.socket
    ca: str

    def hear(self, word: str) -> None:
        """Wait until it has said so."""
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            self.said.settimeout(until - time.monotonic())
            if word in self.said.recv(4096).decode().splitlines():
                return
        raise AssertionError(f"{word} was never said")

    async def status(self, method: str, path: str, body: str = "") -> int:
        headers = {
            "Authorization": f"Bearer {self.made.token}",
            "Content-Type": "application/yaml",
        }
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=self.ca))
        url = f"{self.made.leader}{path}"
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.request(method, url, headers=headers, data=body or None) as answer,
        ):
            await answer.read()
            return answer.status


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that others can pass through; pytest's own are root's alone."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def leader(folder: Path) -> Iterator[Running]:
    with serving(folder, made_in(folder)) as running:
        yield running


@contextmanager
def serving(folder: Path, made: Made) -> Iterator[Running]:
    """Start a leader of what was made in a folder, and listen to what it tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        said.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o777)
        environment = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "300000",
            "PATH": os.environ["PATH"],
        }
        process = started(folder, environment)
        try:
            yield Running(made, process, said, (folder / "node/ca.crt").read_text())
        finally:
            process.kill()
            process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def made_in(folder: Path) -> Made:
    config = f"""
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {{name: home}}
spec: {{clusterCIDR: 10.20.0.0/16, serviceCIDR: 10.21.0.0/16, apiPort: {free_port()}}}
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
    (made,) = told
    return made


def started(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    code = "from katgen.leader.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", "--state-dir", str(folder / "leader")],
        cwd=REPOSITORY,
        env=environment,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def test_it_is_ready_when_it_answers_and_ends_when_told(leader: Running) -> None:
    await asyncio.to_thread(leader.hear, "READY=1")
    assert await leader.status("GET", "/readyz") == 200
    assert await leader.status("GET", "/v1alpha1/nodes/n1") == 200
    assert await leader.status("POST", "/v1alpha1/apply", workload()) == 200
    await asyncio.to_thread(leader.hear, "WATCHDOG=1")
    leader.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(leader.hear, "STOPPING=1")
    output, _ = leader.process.communicate(timeout=DEADLINE_S)
    assert leader.process.returncode == 0, output
    assert 'changed="Workload default/web created"' in output
    assert leader.made.token not in output


def test_without_a_cluster_it_says_what_to_do(folder: Path) -> None:
    process = started(folder, {"PATH": os.environ["PATH"]})
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "leader/cluster.json is missing: `kat-agent init` makes a cluster" in output


def test_with_a_damaged_plan_it_does_not_start_and_says_what_to_do(folder: Path) -> None:
    made_in(folder)
    asyncio.run(put(folder / "leader/store.db", "plan/meta", b'{"format": 1, "generation": 3}'))
    process = started(folder, {"PATH": os.environ["PATH"]})
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "plan/meta: Object missing required field" in output
    assert "restore a backup of the store" in output
    assert "Traceback" not in output


async def put(path: Path, key: str, value: bytes) -> None:
    """Write a record into a store of the leader's."""
    store = await SqliteStore.open(path)
    await store.commit(Transaction(puts={key: value}))
    await store.close()
    for file in path.parent.iterdir():
        os.chown(file, NOBODY, NOBODY)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_lost_store_is_not_replaced_by_an_empty_one(folder: Path, *, is_empty: bool) -> None:
    made_in(folder)
    store = folder / "leader/store.db"
    store.unlink()
    if is_empty:
        store.touch()
        os.chown(store, NOBODY, NOBODY)
    process = started(folder, {"PATH": os.environ["PATH"]})
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "leader/store.db is lost: restore its backup, or remove" in output
    assert "listening" not in output
