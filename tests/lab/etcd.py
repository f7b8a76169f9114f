"""An etcd on a lab host, as its admin would run it: a unit of its own, TLS, client certificates."""

import time

from katgen.leader import pki
from tests.lab.node import Node
from tests.lab.process import Ran

UNIT = "lab-etcd.service"
FOLDER = "/root/etcd"
"""Where the admin keeps what the leader needs; nobody else may look."""
DEADLINE_S = 60
READY = ["curl", "-sk", "-w", "\n%{http_code}", "https://127.0.0.1:9115/readyz"]
SETTINGS = f"""\
store: etcd,
  etcd: {{endpoints: ["https://127.0.0.1:2379"],
    caFile: {FOLDER}/ca.crt, certFile: {FOLDER}/client.crt, keyFile: {FOLDER}/client.key}}"""
SERVICE = """\
[Unit]
Description=etcd of the lab
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/usr/bin/etcd --data-dir /var/lib/lab-etcd --log-level error \
    --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380 --client-cert-auth \
    --cert-file /etc/lab-etcd/server.crt --key-file /etc/lab-etcd/server.key \
    --trusted-ca-file /etc/lab-etcd/ca.crt
StateDirectory=lab-etcd
Restart=always
RestartSec=0.2

[Install]
WantedBy=multi-user.target
"""


def install_etcd(node: Node) -> pki.Authority:
    """Start an etcd, now and at every boot; return the authority of its certificates."""
    ca = pki.make_ca("lab-etcd")
    server = pki.issue_server(ca, ["localhost"], ["127.0.0.1"])
    files = {
        "/etc/lab-etcd/ca.crt": ca.pair.certificate,
        "/etc/lab-etcd/server.crt": server.certificate,
        "/etc/lab-etcd/server.key": server.key,
        f"{FOLDER}/ca.crt": ca.pair.certificate,
    }
    node.put_tree(files, 0o600)
    put_client(node, ca)
    node.put(f"/etc/systemd/system/{UNIT}", SERVICE.encode())
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "enable", "--quiet", "--now", UNIT])
    return ca


def put_client(node: Node, ca: pki.Authority) -> None:
    """Give the admin a client's certificate of this authority in place of the one there is."""
    pair = pki.issue_admin(ca, "lab", "kat")
    client = {f"{FOLDER}/client.crt": pair.certificate, f"{FOLDER}/client.key": pair.key}
    node.put_tree(client, 0o600)


def kill(node: Node) -> None:
    """Kill it as a loss of power would; systemd starts it again."""
    node.run(["systemctl", "kill", "-s", "KILL", UNIT], check=False)


def until_etcd_answers(node: Node) -> None:
    """Wait until it serves. AssertionError after a while."""
    end = time.monotonic() + DEADLINE_S
    while etcdctl(node, "get", "/", check=False).code != 0:
        assert time.monotonic() < end, node.journal(UNIT)[-2000:]
        time.sleep(0.05)


def readiness(node: Node) -> tuple[str, str]:
    """Return the leader's code and words for whether it is ready; "000" if it does not answer."""
    asked = node.run(READY, check=False)
    said, _, code = asked.stdout.rpartition("\n")
    return code, said


def until_ready(node: Node) -> None:
    """Wait until the leader is ready. AssertionError after a while."""
    end = time.monotonic() + DEADLINE_S
    while readiness(node)[0] != "200":
        assert time.monotonic() < end, node.journal("kat-leader.service")[-2000:]
        time.sleep(0.05)


def etcdctl(node: Node, *arguments: str, check: bool = True, stdin: bytes = b"") -> Ran:
    """Ask it. RunError if it fails, unless `check` is off."""
    keys = ["--cacert", f"{FOLDER}/ca.crt", "--cert", f"{FOLDER}/client.crt"]
    keys += ["--key", f"{FOLDER}/client.key", "--endpoints", "https://127.0.0.1:2379"]
    return node.run(["etcdctl", *keys, *arguments], check=check, stdin=stdin)
