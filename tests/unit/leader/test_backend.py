"""The store of a cluster's choice, from its configuration to the leader's state."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from katgen.errors import SpecError
from katgen.leader import backend
from katgen.leader.init import Made, Options, init
from katgen.leader.store import StoreError
from tests.contract.store.etcd_server import EtcdServer, credentials, running
from tests.unit.leader.test_serve import (
    DEADLINE_S,
    NOBODY,
    Running,
    folder,
    free_port,
    serving,
)

__all__ = ["folder"]
CONFIG = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {{name: home}}
spec:
  clusterCIDR: 10.20.0.0/16
  serviceCIDR: 10.21.0.0/16
  apiPort: {port}
  store: etcd
  etcd: {{endpoints: ["{endpoint}"], caFile: {at}/ca, certFile: {at}/crt, keyFile: {at}/key}}
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    data = tmp_path / "etcd"
    data.mkdir()
    with running(data) as server:
        yield server


def options(folder: Path, at: Path, endpoint: str) -> Options:
    config = CONFIG.format(port=free_port(), endpoint=endpoint, at=at)
    return Options(
        node="n1",
        advertise_address="127.0.0.1",
        state_dir=folder / "leader",
        node_out=folder / "node",
        config=("cluster.kat", config.encode()),
        owner=(NOBODY, NOBODY) if os.geteuid() == 0 else None,
    )


def given(etcd: EtcdServer, at: Path) -> None:
    """Lay down the files that the user has for etcd."""
    own = credentials(etcd.ca)
    for name, content in {"ca": own.ca, "crt": own.certificate, "key": own.key}.items():
        (at / name).write_bytes(content)


def made_in(folder: Path, etcd: EtcdServer, at: Path) -> Made:
    given(etcd, at)
    told: list[Made] = []
    init(options(folder, at, etcd.members.endpoints[0]), told.append)
    return told[0]


async def test_init_keeps_what_the_leader_needs_of_etcd_and_nothing_else(
    folder: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    made = await asyncio.to_thread(made_in, folder, etcd, tmp_path)
    state = folder / "leader"
    endpoints = list(etcd.members.endpoints)
    assert json.loads((state / "cluster.json").read_bytes())["etcd"] == endpoints
    copies = ("etcd-ca.crt", "etcd.crt", "etcd.key")
    assert {stat.S_IMODE((state / name).stat().st_mode) for name in copies} == {0o600}
    assert (state / "etcd.key").read_bytes() == (tmp_path / "key").read_bytes()
    assert not (state / "store.db").exists()
    store = await backend.opened(state, made.cluster_uid, backend.Kept(tuple(endpoints)))
    kinds = {item.key.split("/")[1] for item in (await store.list("objects/")).items}
    await store.close()
    assert kinds == {"ClusterConfiguration", "Node"}


def test_an_etcd_that_is_away_fails_init_and_leaves_nothing(
    folder: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    etcd.kill()
    with pytest.raises(StoreError, match=r"etcd at https://127.0.0.1:\d+ is away"):
        made_in(folder, etcd, tmp_path)
    assert list(folder.iterdir()) == []


def test_all_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "crt").write_text("any")
    with pytest.raises(SpecError) as refused:
        init(options(tmp_path, tmp_path, "https://127.0.0.1:1"), lambda _: None)
    assert [str(problem) for problem in refused.value.problems] == [
        f"{tmp_path}/ca: no such file or directory; check the path of etcd's file",
        f"{tmp_path}/key: no such file or directory; check the path of etcd's file",
    ]


def test_a_key_that_grpc_cannot_use_is_refused(tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_bytes(pem)
    with pytest.raises(SpecError, match="is of a kind that gRPC cannot use"):
        init(options(tmp_path, tmp_path, "https://127.0.0.1:1"), lambda _: None)


@as_root
async def test_a_leader_waits_for_an_etcd_that_comes_later(
    folder: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    made = await asyncio.to_thread(made_in, folder, etcd, tmp_path)
    etcd.kill()
    with serving(folder, made) as leader:
        await asyncio.to_thread(leader.hear, "READY=1")
        await asyncio.to_thread(leader.hear, "WATCHDOG=1")
        assert await leader.status("GET", "/healthz") == 200
        assert await leader.status("GET", "/readyz") == 503
        await asyncio.to_thread(etcd.start)
        await until_ready(leader)
        assert await leader.status("GET", "/v1alpha1/nodes/n1") == 200
        leader.process.send_signal(signal.SIGTERM)
        output, _ = leader.process.communicate(timeout=DEADLINE_S)
    assert leader.process.returncode == 0, output
    assert "waiting for the store: etcd at https://127.0.0.1:" in output


@as_root
async def test_a_leader_that_waits_ends_when_told(
    folder: Path, tmp_path: Path, etcd: EtcdServer
) -> None:
    made = await asyncio.to_thread(made_in, folder, etcd, tmp_path)
    etcd.kill()
    with serving(folder, made) as leader:
        await asyncio.to_thread(leader.hear, "READY=1")
        leader.process.send_signal(signal.SIGTERM)
        output, _ = leader.process.communicate(timeout=DEADLINE_S)
    assert leader.process.returncode == 0, output


async def until_ready(leader: Running) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            # A leader whose manager does not read what it is told stands still.
            await asyncio.to_thread(leader.hear, "WATCHDOG=1")
            try:
                if await leader.status("GET", "/readyz") == 200:
                    return
            except OSError:  # the one that waited has gone, the other is not there yet
                pass
