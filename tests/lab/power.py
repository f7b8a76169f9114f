"""Switch a node off in the good way and the bad one, and stop its time."""

from tests.lab import cgroups
from tests.lab.boot import boot
from tests.lab.node import Node

STOP_S = 120


def reboot(node: Node) -> None:
    """Reboot a node as root on it would; return when it is up. Its disks are what they were."""
    # nspawn ends when its payload wants a reboot (--keep-unit), this command before or with it.
    node.run(["systemctl", "reboot"], check=False)
    _wait_until_off(node)
    boot(node)


def shut_down(node: Node) -> None:
    """Switch a node off in order; `boot` starts it again."""
    node.run(["systemctl", "poweroff"], check=False)
    _wait_until_off(node)


def crash(node: Node) -> None:
    """Kill everything on a node at once, as a loss of power would; `boot` starts it again.

    What was written is on its disk, synced or not.
    """
    cgroups.kill(node.groups[-1])
    _wait_until_off(node)


def freeze(node: Node) -> None:
    """Stop everything on a node where it is. It says nothing and closes nothing, until `thaw`."""
    cgroups.freeze(node.groups[-1], frozen=True)


def thaw(node: Node) -> None:
    """Let a frozen node go on."""
    cgroups.freeze(node.groups[-1], frozen=False)


def _wait_until_off(node: Node) -> None:
    assert node.nspawn is not None
    node.nspawn.wait(timeout=STOP_S)
    node.leader = 0
