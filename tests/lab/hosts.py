"""Boot one or several nodes on one bridge in one enclosure."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.environment import require
from tests.lab.boot import boot, make
from tests.lab.cgroups import lab_groups
from tests.lab.enclosure import enclosure
from tests.lab.journals import watched
from tests.lab.layers import kat_layers
from tests.lab.node import Node

TOOLS = ("unshare", "nsenter", "ip", "tar", "systemd-nspawn")
FIRST_ADDRESS = 11
_serial = itertools.count()


@contextmanager
def hosts(
    *names: str,
    files: Mapping[str, bytes] | None = None,
    kat: bool = False,
    disks: Mapping[str, str] | None = None,
) -> Iterator[tuple[Node, ...]]:
    """Boot nodes 192.0.2.11, .12, … with `files` in place before PID 1 starts.

    With `kat`, the tree's KAT is installed on them as a package would, and nothing of it runs.
    `disks` are file systems of a limited size: `{"/var/lib/kat": "64M"}`, or `/` for the root.
    Skips the test on a machine that lacks what a lab needs.
    """
    require(TOOLS)
    layers = kat_layers() if kat else ()
    with lab_groups(str(next(_serial))) as groups, enclosure(*layers) as inside:
        inside.run(["sh", "-ec", "ip link add br0 type bridge; ip link set br0 up"])
        nodes = tuple(
            make(inside, number, name, groups, disks or {})
            for number, name in enumerate(names, FIRST_ADDRESS)
        )
        for node in nodes:
            inside.unpack(f"{node.home}/root", files or {})
        with watched(nodes):
            boot(*nodes)
            yield nodes


@contextmanager
def host(
    name: str = "a",
    files: Mapping[str, bytes] | None = None,
    *,
    kat: bool = False,
    disks: Mapping[str, str] | None = None,
) -> Iterator[Node]:
    """Boot one node."""
    with hosts(name, files=files, kat=kat, disks=disks) as (only,):
        yield only
