"""The steps of `init` that need no host. The whole of it is in tests/lab."""

import json
from base64 import b64decode
from importlib.resources import files as resources
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent import contexts, state
from agent.files import DiskFiles
from agent.init import MADE, MARK, finished_part
from agent.install_units import UNITS, exec_path, install_units, install_users
from agent.ports import UnfitError
from agent.settings import Settings
from agent.wireguard_key import PRIVATE, make_key
from katgen.errors import EncodeError, RefusedError
from tests.fakes import FakeFiles
from tests.unit.agent.leader import CONFIG

MADE_TEXT = b"""{"clusterUid":"u","clusterName":"lab","leader":"https://192.0.2.11:9115",
"recoveryKit":"kit"}"""
NEW = b'{"current":"lab","contexts":{"lab":{"server":"https://192.0.2.11:9115","token":"t"}}}'
HOME = "/root/.config/kat/config.json"


def test_on_a_fresh_machine_nothing_is_made_yet() -> None:
    assert finished_part(FakeFiles()) is None


def test_an_init_that_was_cut_before_the_leader_was_made_begins_anew() -> None:
    files = FakeFiles()
    files.put(MADE, MADE_TEXT)
    files.put(state.NODE, b"{}")
    assert finished_part(files) is None


def test_an_init_that_was_cut_after_the_leader_was_made_goes_on_with_its_secrets() -> None:
    files = FakeFiles()
    files.put(MARK, b"{}")
    files.put(MADE, MADE_TEXT)
    made = finished_part(files)
    assert made is not None
    assert (made.cluster_name, made.recovery_kit) == ("lab", "kit")


def test_a_second_init_is_refused() -> None:
    files = FakeFiles()
    files.put(MARK, b"{}")
    state.save(files, state.NODE, CONFIG)
    with pytest.raises(RefusedError, match="this machine is node a of a cluster already"):
        finished_part(files)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"\xff": 1}'])
def test_what_a_cut_init_left_damaged_is_refused_with_the_way_out(content: bytes) -> None:
    files = FakeFiles()
    files.put(MARK, b"{}")
    files.put(MADE, content)
    with pytest.raises(RefusedError, match="kat-agent reset"):
        finished_part(files)


def test_units_name_the_directory_of_the_programs() -> None:
    files = FakeFiles()
    assert install_units(files, "/opt/kat/bin") == UNITS
    text = (files.read("/etc/systemd/system/kat-agent.service") or b"").decode()
    assert "\nExecStart=/opt/kat/bin/kat-agent run\n" in text
    texts = [files.read(f"/etc/systemd/system/{unit}") or b"@bindir@" for unit in UNITS]
    assert not any(b"@bindir@" in text for text in texts)


def test_units_that_are_there_are_not_written_again() -> None:
    files = FakeFiles()
    install_units(files, "/usr/bin")
    assert install_units(files, "/usr/bin") == ()


def test_units_of_a_package_are_left_to_it() -> None:
    files = FakeFiles()
    files.put("/usr/lib/systemd/system/kat-agent.service", b"")
    files.put("/usr/lib/sysusers.d/kat-leader.conf", b"")
    assert "kat-agent.service" not in install_units(files, "/usr/bin")
    assert not install_users(files)


@pytest.mark.parametrize(
    "path", ["/opt/a b", "/opt/%h", "/opt/$HOME", "bin", "/a;b", "/a\nb", "/a/../b", '/"', "/é", ""]
)
def test_a_directory_that_a_unit_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(EncodeError):
        exec_path(path)


def test_no_unit_of_workloads_hangs_on_the_agent() -> None:
    text = resources("katgen.units").joinpath("kat-agent.service").read_text()
    keys = {line.partition("=")[0] for line in text.splitlines()}
    assert keys.isdisjoint({"PartOf", "BindsTo", "Requires", "PropagatesStopTo", "Slice"})


def test_the_wireguard_key_is_made_once_and_for_networkd_alone() -> None:
    files = FakeFiles()
    public = make_key(files)
    assert make_key(files) == public
    private = X25519PrivateKey.from_private_bytes(b64decode(files.read(PRIVATE) or b""))
    assert b64decode(public) == private.public_key().public_bytes_raw()
    kept = files.stat(PRIVATE)
    assert kept is not None
    assert (kept.mode, kept.owner) == (0o640, "root:systemd-network")


def test_the_new_context_joins_those_that_katcall_has() -> None:
    files = FakeFiles()
    files.put(HOME, b'{"current":"old","contexts":{"old":{"server":"https://x"}},"more":1}')
    files.put(contexts.MADE, NEW)
    contexts.take_over(files, HOME)
    found = json.loads(files.read(HOME) or b"")
    assert (found["current"], sorted(found["contexts"]), found["more"]) == (
        "lab",
        ["lab", "old"],
        1,
    )
    kept = files.stat(HOME)
    assert kept is not None
    assert kept.mode == 0o600
    assert files.stat(contexts.MADE) is None


@pytest.mark.parametrize("content", [b"{broken", b'{"\xff": 1}'])
def test_contexts_that_cannot_be_read_are_not_overwritten(content: bytes) -> None:
    files = FakeFiles()
    files.put(HOME, content)
    files.put(contexts.MADE, NEW)
    with pytest.raises(UnfitError, match="is damaged"):
        contexts.take_over(files, HOME)
    assert files.read(HOME) == content
    assert files.read(contexts.MADE) == NEW


def test_a_reset_takes_only_this_nodes_context_away() -> None:
    files = FakeFiles()
    files.put(HOME, b'{"current":"lab","contexts":{"old":{"server":"https://x"}}}')
    files.put(contexts.MADE, NEW)
    contexts.take_over(files, HOME)
    state.save(files, state.NODE, CONFIG)
    contexts.drop(files, HOME)
    assert json.loads(files.read(HOME) or b"") == {
        "current": "",
        "contexts": {"old": {"server": "https://x"}},
    }


CLUSTER = """
kind: ClusterConfiguration
spec: {overlay: host-gateway, clusterCIDR: 10.9.0.0/16, apiPort: 7000, wireguardPort: no}
"""


def test_preflight_knows_what_a_cluster_file_says() -> None:
    settings = Settings(CLUSTER)
    assert settings.overlay == "host-gateway"
    assert settings.network("clusterCIDR") == IPv4Network("10.9.0.0/16")
    assert settings.network("serviceCIDR") == IPv4Network("10.101.0.0/16")
    assert settings.port("apiPort") == ("apiPort", 7000)


@pytest.mark.parametrize(
    "text", ["", "{", "- 1", "kind: ClusterConfiguration", f"{CLUSTER}  apiPort: []", "&a [*a]"]
)
def test_what_a_cluster_file_says_wrongly_is_for_the_leader_to_name(text: str) -> None:
    assert Settings(text).port("wireguardPort") == ("wireguardPort", 51820)


def test_the_fake_and_the_disk_agree_on_units(tmp_path: Path) -> None:
    install_units(DiskFiles(tmp_path), "/usr/bin")
    assert (tmp_path / "etc/systemd/system/kat-nft.service").is_file()
