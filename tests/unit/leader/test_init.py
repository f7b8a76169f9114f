"""A new cluster: all of its state, or none."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from katgen.errors import RefusedError, SpecError
from katgen.leader.documents import ObjectKey
from katgen.leader.init import Made, Options, init
from katgen.leader.objects import Objects
from katgen.leader.pki import Pair, load_ca
from katgen.leader.secrets import load_box
from katgen.leader.signing import load_signer
from katgen.leader.store.sqlite import SqliteStore
from katgen.leader.tokens import Tokens
from tests.unit.leader.given import StandingClock

CONFIG = b"""
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: home}
spec: {clusterCIDR: 10.20.0.0/16, serviceCIDR: 10.21.0.0/16, apiPort: 9500}
"""


def options(folder: Path, config: bytes | None = None) -> Options:
    return Options(
        node="n1",
        advertise_address="192.0.2.1",
        state_dir=folder / "leader",
        node_out=folder / "node",
        config=("cluster.kat", config) if config is not None else None,
        interface="eth0",
    )


def made_in(folder: Path, config: bytes | None = None) -> Made:
    told: list[Made] = []
    init(options(folder, config), told.append)
    (made,) = told
    return made


def read(path: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_files_are_there_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    made_in(tmp_path)
    state, node = tmp_path / "leader", tmp_path / "node"
    assert {*names(state)} >= {
        *("ca.crt", "ca.key", "cluster.json", "leader.crt", "leader.key"),
        *("secrets.key", "signing.key", "store.db", "trust.json"),
    }
    assert names(node) == [
        *("ca.crt", "config.json", "node.crt", "node.json", "node.key", "trust.json"),
    ]
    modes = {path.stat().st_mode & 0o077 for path in (state, *state.iterdir(), *node.iterdir())}
    assert modes == {0}
    assert names(tmp_path) == ["leader", "node"]


def test_the_leader_s_name_and_port_are_those_of_the_configuration(tmp_path: Path) -> None:
    made = made_in(tmp_path, CONFIG)
    assert made.leader == "https://192.0.2.1:9500"
    assert read(tmp_path / "leader/cluster.json") == {
        "uid": made.cluster_uid,
        "name": "home",
        "apiPort": 9500,
    }


def test_the_node_knows_where_it_is_asked_for_metrics(tmp_path: Path) -> None:
    made_in(tmp_path, CONFIG.replace(b"apiPort: 9500", b"agentPort: 9501"))
    assert read(tmp_path / "node/node.json")["agentPort"] == 9501


def test_the_node_knows_whom_to_trust(tmp_path: Path) -> None:
    made = made_in(tmp_path)
    trust = read(tmp_path / "node/trust.json")
    signer = load_signer(tmp_path / "leader/signing.key")
    shown = base64.b64encode(signer.public_key).decode()
    assert trust["version"] == 1
    assert trust["cluster"] == made.cluster_uid
    assert trust["signingKeys"] == [{"id": signer.key_id, "publicKey": shown}]


def test_the_root_key_is_in_the_recovery_kit_and_nowhere_else(tmp_path: Path) -> None:
    made = made_in(tmp_path)
    (line,) = (line for line in made.recovery_kit.splitlines() if line.startswith("root key"))
    raw = base64.b64decode(line.rpartition(" ")[2])
    public = Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
    assert read(tmp_path / "node/trust.json")["rootKey"] == base64.b64encode(public).decode()
    held = [path for path in tmp_path.rglob("*") if path.is_file() and raw in path.read_bytes()]
    assert held == []


def test_the_ca_s_hash_is_that_of_the_certificate(tmp_path: Path) -> None:
    made = made_in(tmp_path)
    state = tmp_path / "leader"
    ca = load_ca(Pair((state / "ca.crt").read_bytes(), (state / "ca.key").read_bytes()))
    assert made.ca_hash == f"sha256:{ca.digest}"
    leaf = x509.load_pem_x509_certificate((state / "leader.crt").read_bytes())
    leaf.verify_directly_issued_by(ca.certificate)


async def test_the_store_has_the_cluster_the_node_and_a_hashed_token(tmp_path: Path) -> None:
    made = await run_init(tmp_path)
    store = await SqliteStore.open(tmp_path / "leader/store.db")
    objects = Objects(store, load_box(tmp_path / "leader/secrets.key"), StandingClock())
    node = await objects.get(ObjectKey("Node", "-", "n1"))
    token = await Tokens(store).find(made["token"])
    held = [str(one.key) for one in await objects.all()]
    await store.close()
    assert held == ["ClusterConfiguration kat", "Node n1"]
    assert node is not None
    assert node.document["spec"] == {"advertiseAddress": "192.0.2.1"}
    assert node.document["status"] == {"overlayNetwork": {"interface": "eth0"}}
    assert (token.role, token.name) == ("admin", "admin") if token else False
    secret = made["token"].encode()
    assert secret not in b"".join(p.read_bytes() for p in (tmp_path / "leader").iterdir())


async def run_init(folder: Path) -> Mapping[str, Any]:
    """Run the command, as `kat-agent init` does."""
    done = subprocess.run(command(folder), capture_output=True, check=True)  # noqa: ASYNC221 -- nothing else runs
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-c", "from katgen.leader.main import main; main()", "init"),
        *("--advertise-address", "192.0.2.1", "--node", "n1", "--interface", "eth0"),
        *("--state-dir", str(folder / "leader"), "--node-out", str(folder / "node"), *more),
    ]


def test_the_command_prints_what_exists_nowhere_else(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path), capture_output=True, check=True)
    assert {*json.loads(done.stdout)} == {
        *("clusterUid", "clusterName", "leader", "caHash", "token", "recoveryKit"),
    }


def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    made_in(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RefusedError, match="already initialised"):
        made_in(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_an_empty_state_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "leader").mkdir()
    made_in(tmp_path)
    assert (tmp_path / "leader/cluster.json").exists()


def test_a_directory_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "leader").mkdir()
    (tmp_path / "leader/diary").write_text("mine")
    with pytest.raises(RefusedError, match="is not empty"):
        made_in(tmp_path)
    assert names(tmp_path / "leader") == ["diary"]


def test_all_problems_of_the_configuration_come_at_once(tmp_path: Path) -> None:
    bad = CONFIG.replace(b"10.21.0.0/16", b"10.20.0.0/17").replace(b"apiPort: 9500", b"mtux: 1")
    (tmp_path / "cluster.kat").write_bytes(bad)
    done = subprocess.run(
        command(tmp_path, "--config", str(tmp_path / "cluster.kat")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "spec.mtux: unknown key" in done.stderr
    assert names(tmp_path) == ["cluster.kat"]


def test_an_address_inside_the_overlay_is_refused(tmp_path: Path) -> None:
    inside = CONFIG.replace(b"10.20.0.0/16", b"192.0.0.0/16")
    with pytest.raises(SpecError, match=r"192\.0\.2\.1 is inside clusterCIDR"):
        made_in(tmp_path, inside)
    assert not (tmp_path / "leader").exists()


def test_only_the_cluster_s_configuration_is_taken(tmp_path: Path) -> None:
    more = CONFIG + b"---\napiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {name: shop}\n"
    with pytest.raises(SpecError, match="only a ClusterConfiguration is taken here"):
        made_in(tmp_path, more)


@pytest.mark.parametrize("moment", ["_write_node", "_made", "_flush"])
def test_a_cut_init_can_be_run_again(tmp_path: Path, moment: str) -> None:
    """SIGKILL at the beginning of a step."""
    kill = (
        "import os, sys; from katgen.leader import init as i; from pathlib import Path;"
        f"i.{moment} = lambda *_: os.kill(os.getpid(), 9);"
        f"i.init(i.Options('n1', '192.0.2.1', Path({str(tmp_path / 'leader')!r}), "
        f"Path({str(tmp_path / 'node')!r})), print)"
    )
    done = subprocess.run([sys.executable, "-c", kill], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "leader").exists()
    made_in(tmp_path)
    assert (tmp_path / "leader/cluster.json").exists()
    assert names(tmp_path) == ["leader", "node"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def gone(_: Made) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        init(options(tmp_path), gone)
    assert names(tmp_path) == ["node"]


def test_the_leader_s_files_get_their_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = options(tmp_path)
    owned = Options(
        **{name: getattr(made, name) for name in made.__slots__ if name != "owner"},
        owner=(65534, 65534),
    )
    init(owned, lambda _: None)
    state = tmp_path / "leader"
    assert {path.stat().st_uid for path in (state, *state.iterdir())} == {65534}


def test_the_leader_does_not_run_as_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    run = [*command(tmp_path)[:3], "run", "--state-dir", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        3,
        "kat-leader: does not run as root; its user is kat-leader\n",
    )
