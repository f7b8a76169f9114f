"""Container images made without a registry."""

from tests.lab.node import Node

BUSYBOX = "localhost/bb:1"


def import_busybox(node: Node, name: str = BUSYBOX) -> str:
    """Make an image of the node's static busybox, every applet a link to it; return its name."""
    script = f"""
        set -e
        mkdir -p /tmp/image/bin /tmp/image/tmp /tmp/image/etc
        cp /bin/busybox /tmp/image/bin/busybox
        chroot /tmp/image /bin/busybox --install -s /bin
        printf 'root:x:0:0::/:/bin/sh\\n' >/tmp/image/etc/passwd
        tar -c -C /tmp/image . | podman import -q - {name}
        rm -r /tmp/image
    """
    node.run(["sh", "-c", script])
    return name
