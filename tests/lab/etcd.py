"""An etcd on a lab host, as its admin would run it: a unit of its own, TLS, client certificates."""

from katgen.leader import pki
from tests.lab.node import Node

UNIT = "lab-etcd.service"
FOLDER = "/root/etcd"
"""Where the admin keeps what the leader needs; nobody else may look."""
SETTINGS = f"""\
store: etcd,
  etcd: {{endpoints: ["https://127.0.0.1:2379"],
    caFile: {FOLDER}/ca.crt, certFile: {FOLDER}/client.crt, keyFile: {FOLDER}/client.key}}"""
SERVICE = """\
[Unit]
Description=etcd of the lab

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
StartLimitIntervalSec=0

[Install]
WantedBy=multi-user.target
"""


def install_etcd(node: Node) -> None:
    """Start an etcd, now and at every boot."""
    ca = pki.make_ca("lab-etcd")
    server = pki.issue_server(ca, ["localhost"], ["127.0.0.1"])
    client = pki.issue_admin(ca, "lab", "kat")
    files = {
        "/etc/lab-etcd/ca.crt": ca.pair.certificate,
        "/etc/lab-etcd/server.crt": server.certificate,
        "/etc/lab-etcd/server.key": server.key,
        f"{FOLDER}/ca.crt": ca.pair.certificate,
        f"{FOLDER}/client.crt": client.certificate,
        f"{FOLDER}/client.key": client.key,
    }
    node.put_tree(files, 0o600)
    node.put(f"/etc/systemd/system/{UNIT}", SERVICE.encode())
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "enable", "--quiet", "--now", UNIT])


def etcdctl(node: Node, *arguments: str) -> str:
    """Ask it, and return what it says."""
    keys = ["--cacert", f"{FOLDER}/ca.crt", "--cert", f"{FOLDER}/client.crt"]
    keys += ["--key", f"{FOLDER}/client.key", "--endpoints", "https://127.0.0.1:2379"]
    return node.run(["etcdctl", *keys, *arguments]).stdout
