"""Container images made without a registry."""

from tests.lab.node import Node

BUSYBOX = "localhost/bb:1"


def import_busybox(node: Node, name: str = BUSYBOX, change: str = "CMD sh") -> str:
    """Make an image of the node's static busybox, every applet a link to it; return its name.

    `change` is an instruction for `podman import --change`.
    """
    script = """
        set -e
        mkdir -p /tmp/image/bin /tmp/image/tmp /tmp/image/etc
        cp /bin/busybox /tmp/image/bin/busybox
        chroot /tmp/image /bin/busybox --install -s /bin
        echo root:x:0:0::/:/bin/sh >/tmp/image/etc/passwd
        tar -c -C /tmp/image . | podman import -q --change "$1" - "$2"
        rm -r /tmp/image
    """
    node.run(["sh", "-c", script, "sh", change, name])
    return name
