"""A container registry on a node, without a password and without TLS."""

from tests.lab.node import Node

CONFIG = """version: 0.1
storage:
  filesystem: {{rootdirectory: /var/lib/lab-registry}}
  delete: {{enabled: true}}
http: {{addr: ":{port}"}}
"""
# docker-registry.service itself is masked, so that no bare node runs it.
UNIT = b"""
[Unit]
Description=Registry of the lab
[Service]
ExecStart=docker-registry serve /etc/lab/registry.yml
[Install]
WantedBy=multi-user.target
"""
ANSWERS = "until nc -z 127.0.0.1 $1; do sleep 0.05; done"


def registry(node: Node, port: int = 5000) -> str:
    """Start a registry that also starts at boot; return its host part in an image's name."""
    unit = "/etc/systemd/system/lab-registry.service"
    node.put_tree({"/etc/lab/registry.yml": CONFIG.format(port=port).encode(), unit: UNIT})
    node.run(["systemctl", "enable", "-q", "--now", "lab-registry.service"])
    node.run(["sh", "-c", ANSWERS, "sh", str(port)])
    return f"{node.address}:{port}"


def trust(node: Node, where: str) -> None:
    """Let a node's Podman speak to a registry without TLS."""
    content = f'[[registry]]\nlocation = "{where}"\ninsecure = true\n'
    node.put("/etc/containers/registries.conf.d/50-lab.conf", content.encode())


def push(node: Node, image: str, name: str) -> str:
    """Push a node's image to `HOST:PORT/PATH[:TAG]`; return its digest there."""
    to = ["--digestfile=/dev/stdout", image, f"docker://{name}"]
    return node.run(["podman", "push", "-q", "--tls-verify=false", *to]).stdout.strip()
