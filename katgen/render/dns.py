"""kat-dns's sockets and settings: they name the node's own address, so they are its own files.

systemd holds the sockets, so that no restart and no crash of the name server loses a question. The
address may come later than the socket at boot, hence `FreeBind=`. A trigger limit would end the
socket for good, for a fault that may be over a second later. Source: systemd.socket(5).
"""

import json

from katgen.bundle import Activation, Artifact, artifact
from katgen.render.ipv4 import address
from katgen.render.networkd_words import domain
from katgen.render.view import NodeView

SETTINGS = "/etc/kat/dns.json"
SOCKET = "/etc/systemd/system/kat-dns.socket"
_UNIT = "kat-dns.socket"
_WANTED = f"/etc/systemd/system/sockets.target.d/{_UNIT.removesuffix('.socket')}.conf"
_HEADER = "# Managed by KAT; an edit is reported as drift.\n"
_TEXT = """
[Unit]
Description=Names of KAT

[Socket]
ListenDatagram={address}:53
ListenStream={address}:53
FreeBind=yes
ReceiveBuffer=8M
TriggerLimitIntervalSec=0
# The agent tells here that endpoint states have changed.
ListenDatagram=/run/kat/dns.sock
SocketMode=0600
"""


def own(view: NodeView) -> tuple[Artifact, ...]:
    """Return the sockets' unit and the settings."""
    at = address(view.address)
    unit = _HEADER + _TEXT.format(address=at)
    settings = json.dumps(_settings(view, at), indent=2) + "\n"
    return (
        artifact(SETTINGS, settings, activation=Activation.DNS, pair_key=SETTINGS),
        artifact(SOCKET, unit, activation=Activation.DAEMON_RELOAD, unit=_UNIT, pair_key=SOCKET),
    )


def shared() -> tuple[Artifact, ...]:
    """Return the drop-in by which every boot starts the socket.

    Not in kat.target's folder: a namespace may be called like it.
    """
    text = f"{_HEADER}\n[Unit]\nWants={_UNIT}\n"
    return (artifact(_WANTED, text, activation=Activation.DAEMON_RELOAD, pair_key=_WANTED),)


def _settings(view: NodeView, at: str) -> dict[str, object]:
    spec = view.cluster.spec
    return {
        "format": 1,
        "domain": domain(spec.cluster_domain),
        "address": at,
        "clusterCIDR": str(spec.cluster_cidr),
        "serviceCIDR": str(spec.service_cidr),
        "upstreams": [str(one) for one in spec.upstream_dns],
    }
