"""Container images made without a registry."""

from tests.lab.node import Node

BUSYBOX = "localhost/bb:1"


def import_busybox(node: Node) -> str:
    """Make an image of the node's static busybox, with every applet as a link; return its name."""
    script = f"""
        set -e
        mkdir -p /tmp/image/bin /tmp/image/tmp /tmp/image/etc
        cp /bin/busybox /tmp/image/bin/busybox
        chroot /tmp/image /bin/busybox --install -s /bin
        tar -c -C /tmp/image . | podman import -q - {BUSYBOX}
        rm -r /tmp/image
    """
    node.run(["sh", "-c", script])
    return BUSYBOX
