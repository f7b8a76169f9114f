"""Boot one or several nodes on one bridge in one enclosure."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.environment import require
from tests.lab.cgroups import lab_groups
from tests.lab.enclosure import enclosure
from tests.lab.node import Node, start, wait_until_up

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
        for name in names:
            inside.mount_root(name)
        booting = [
            start(inside, name, f"192.0.2.{number}", groups, files or {})
            for number, name in enumerate(names, FIRST_ADDRESS)
        ]
        yield tuple(map(wait_until_up, booting))


@contextmanager
def host(name: str = "a", files: Mapping[str, bytes] | None = None) -> Iterator[Node]:
    """Boot one node."""
    with hosts(name, files=files) as (only,):
        yield only
