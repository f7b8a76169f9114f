"""Boot one or several nodes on one bridge in one enclosure."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.environment import require, rootfs_path
from tests.lab.cgroups import lab_groups
from tests.lab.enclosure import SCRATCH, Enclosure, enclosure
from tests.lab.node import Node, boot

TOOLS = ("unshare", "nsenter", "ip", "tar", "systemd-nspawn")
FIRST_ADDRESS = 11
_serial = itertools.count()


@contextmanager
def hosts(*names: str, files: Mapping[str, bytes] | None = None) -> Iterator[tuple[Node, ...]]:
    """Boot nodes 192.0.2.11, .12, … with `files` in place before PID 1 starts.

    Skips the test on a machine that lacks what a lab needs.
    """
    require(TOOLS)
    with lab_groups(str(next(_serial))) as groups, enclosure() as inside:
        inside.run(["sh", "-ec", "ip link add br0 type bridge; ip link set br0 up"])
        nodes = []
        for number, name in enumerate(names, FIRST_ADDRESS):
            _mount_root(inside, name)
            nodes.append(boot(inside, name, f"192.0.2.{number}", groups, files or {}))
        yield tuple(nodes)


@contextmanager
def host(name: str = "a", files: Mapping[str, bytes] | None = None) -> Iterator[Node]:
    """Boot one node."""
    with hosts(name, files=files) as (only,):
        yield only


def _mount_root(inside: Enclosure, name: str) -> None:
    """Mount an overlay of the root file system for a node; the base is never written."""
    base = f"{SCRATCH}/{name}"
    options = f"lowerdir={rootfs_path()},upperdir={base}/upper,workdir={base}/work"
    inside.run(["mkdir", "-p", *(f"{base}/{d}" for d in ("upper", "work", "root", "containers"))])
    try:
        inside.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{base}/root"])
    except RuntimeError as err:
        raise RuntimeError(f"the lab needs overlayfs over {rootfs_path()}: {err}") from err
