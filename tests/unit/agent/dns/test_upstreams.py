"""Whom kat-dns asks about other names, and whom never."""

import json
import os
from pathlib import Path

import pytest

from agent.dns.settings import Settings, SettingsError, read_settings
from agent.dns.upstreams import OF_HOST, OF_RESOLVED, Server, Upstreams

TEXT = {
    "format": 1,
    "domain": "kat.cluster.local",
    "address": "10.100.1.1",
    "clusterCIDR": "10.100.0.0/16",
    "serviceCIDR": "10.101.0.0/16",
    "upstreams": [],
}


def settings(root: Path, **changes: object) -> Settings:
    path = root / "dns.json"
    path.write_text(json.dumps({**TEXT, **changes}))
    return read_settings(path)


def listed(root: Path, path: str, *lines: str) -> None:
    at = root / path.lstrip("/")
    at.parent.mkdir(parents=True, exist_ok=True)
    new = at.with_name("new")
    new.write_text("\n".join((*lines, "")))
    new.rename(at)


def asked(root: Path, *addresses: str) -> list[str]:
    made = Upstreams(root, settings(root, upstreams=list(addresses)))
    return [server.address for server in made.servers()]


def test_the_clusters_own_setting_comes_before_what_the_host_has(tmp_path: Path) -> None:
    listed(tmp_path, OF_RESOLVED, "nameserver 192.0.2.1")
    assert asked(tmp_path, "192.0.2.53") == ["192.0.2.53"]


def test_what_resolved_asks_comes_before_what_programs_ask(tmp_path: Path) -> None:
    listed(tmp_path, OF_RESOLVED, "nameserver 192.0.2.1")
    listed(tmp_path, OF_HOST, "nameserver 127.0.0.53", "nameserver 192.0.2.2")
    assert asked(tmp_path) == ["192.0.2.1"]


def test_without_resolved_the_hosts_own_list_is_read(tmp_path: Path) -> None:
    listed(
        tmp_path,
        OF_HOST,
        "# nameserver 192.0.2.9",
        "search nameserver.example",
        "nameserver 127.0.0.1",
        "nameserver\t2001:db8::1",
        "nameserver 192.0.2.2 # ours",
        "nameserver 192.0.2.2",
        "nameserver name.example",
        "nameserver 192.0.2.300",
    )
    assert asked(tmp_path) == ["127.0.0.1", "2001:db8::1", "192.0.2.2"]


def test_nobody_is_asked_where_nobody_is_listed(tmp_path: Path) -> None:
    assert asked(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.53", "127.0.0.54", "0.0.0.0", "10.100.1.1"),  # noqa: S104 -- never asked
        *("10.100.7.9", "10.101.0.1", "::", "10.100.255.255"),
    ],
)
def test_resolved_itself_and_what_only_the_cluster_has_are_never_asked(
    tmp_path: Path, address: str
) -> None:
    listed(tmp_path, OF_RESOLVED, f"nameserver {address}", "nameserver 192.0.2.1")
    assert asked(tmp_path) == ["192.0.2.1"]
    assert asked(tmp_path, address, "192.0.2.2") == ["192.0.2.2"]


def test_three_servers_are_asked_at_most(tmp_path: Path) -> None:
    addresses = [f"192.0.2.{n}" for n in range(1, 9)]
    assert asked(tmp_path, *addresses) == addresses[:3]


def test_a_changed_list_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("agent.dns.upstreams.time.monotonic", lambda: now[0])
    listed(tmp_path, OF_RESOLVED, "nameserver 192.0.2.1")
    made = Upstreams(tmp_path, settings(tmp_path))
    assert made.servers() == (Server("192.0.2.1"),)
    listed(tmp_path, OF_RESOLVED, "nameserver 192.0.2.2")
    assert made.servers() == (Server("192.0.2.1"),)  # not looked for at every question
    now[0] += 1
    assert made.servers() == (Server("192.0.2.2"),)
    os.unlink(tmp_path / OF_RESOLVED.lstrip("/"))  # noqa: PTH108 -- it is one
    now[0] += 1
    assert made.servers() == ()


def test_who_answered_last_is_asked_first(tmp_path: Path) -> None:
    made = Upstreams(tmp_path, settings(tmp_path, upstreams=["192.0.2.1", "192.0.2.2"]))
    _, second = made.servers()
    made.answered(second)
    assert [server.address for server in made.servers()] == ["192.0.2.2", "192.0.2.1"]


def test_settings(tmp_path: Path) -> None:
    found = settings(tmp_path, upstreams=["192.0.2.1"])
    assert (found.domain, found.upstreams) == ("kat.cluster.local", ("192.0.2.1",))
    assert found.clients.has("10.100.200.7")
    assert not found.clients.has("10.101.0.1")
    assert not found.clients.has("::1")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"domain": "a..b"},
        {"domain": 5},
        {"upstreams": "192.0.2.1"},
        {"clusterCIDR": "10.100.0.0/33"},
        {"serviceCIDR": "nonsense"},
        {"address": None},
    ],
)
def test_damaged_settings_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"dns\.json"):
        settings(tmp_path, **changes)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '"x"'])
def test_settings_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dns.json"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read_settings(path)
