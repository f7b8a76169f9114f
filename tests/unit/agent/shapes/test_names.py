"""A node takes the settings of its name server as KAT renders them, and no others."""

import json

import pytest

from agent.policy import Policy, complaints
from tests.environment import REPOSITORY

GOLDEN = REPOSITORY / "tests/golden/host-gateway/want/left"
SETTINGS = "/etc/kat/dns.json"
SOCKET = "/etc/systemd/system/kat-dns.socket"


def rendered(path: str) -> str:
    return (GOLDEN / path.lstrip("/")).read_text()


def strange(path: str, text: str) -> list[str]:
    return [c.text for c in complaints(Policy(), {path: ("digest", text)})]


def test_what_kat_renders_is_taken() -> None:
    assert strange(SETTINGS, rendered(SETTINGS)) == strange(SOCKET, rendered(SOCKET)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("domain", "a\nb"),
        ("address", "10.0.0.1:53"),
        ("clusterCIDR", "0.0.0.0/0"),
        ("upstreams", "192.0.2.1"),
        ("upstreams", ["evil.example"]),
        ("upstreams", [1]),
    ],
)
def test_settings_with_another_value_are_refused(key: str, value: object) -> None:
    text = json.dumps({**json.loads(rendered(SETTINGS)), key: value})
    assert strange(SETTINGS, text) == [f"{key} has no value that KAT writes"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}'])
def test_settings_of_another_form_are_refused(text: str) -> None:
    assert len(strange(SETTINGS, text)) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SocketMode=0600", "SocketMode=0666"),
        ("/run/kat/dns.sock", "/run/dbus/system_bus_socket"),
        ("FreeBind=yes", "ExecStartPost=/bin/sh"),
        ("ListenStream=172.20.0.1:53", "ListenStream=22"),
        ("FreeBind=yes", "Service=debug-shell.service"),
    ],
)
def test_sockets_of_another_kind_are_refused(old: str, new: str) -> None:
    text = rendered(SOCKET)
    assert old in text
    assert strange(SOCKET, text.replace(old, new)) != []
