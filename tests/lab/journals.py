"""What KAT and failed units logged on the nodes of a test that fails.

A lab may end before the failure is reported, as when its `with` block is in the test: then the
journals are read as the block ends, and kept until they are asked for.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.lab.node import Node
from tests.lab.process import RunError

READ_S = 20
FAILED = "systemctl list-units --failed --plain --no-legend --no-pager"
JOURNAL = "journalctl -q --no-pager -o short-precise -u 'kat*'"
ASK = f"""
{FAILED}
{JOURNAL} $({FAILED} | awk '{{ print "-u", $1 }}')
"""
TAIL_LINES = 60

_live: list[Node] = []
_kept: list[str] = []


@contextmanager
def watched(nodes: Sequence[Node]) -> Iterator[None]:
    """Have the journals of these nodes at hand during the block, and after it if it fails."""
    _live.extend(nodes)
    try:
        yield
    except (Exception, pytest.fail.Exception):
        _kept.extend(map(journal, nodes))
        raise
    finally:
        for node in nodes:
            _live.remove(node)


def collect() -> str:
    """Return the journals of the nodes there are, and of those that have ended in a failure."""
    texts = [*_kept, *map(journal, _live)]
    forget()
    return "\n".join(texts)


def forget() -> None:
    """Drop what has been kept: a failure that was expected."""
    _kept.clear()


def journal(node: Node) -> str:
    """Return what KAT's units and failed ones logged, of all boots.

    Of a node that is off or does not answer, from its disk and KAT's only.
    """
    try:
        text = node.run(["sh", "-c", ASK], timeout_s=READ_S, check=False).stdout
    except (RuntimeError, subprocess.TimeoutExpired) as err:
        text = f"({err})\n{_from_disk(node)}"
    return f"--- node {node.name}\n{text}"


def _from_disk(node: Node) -> str:
    disk = ["chroot", f"{node.home}/root", "sh", "-c", f"{JOURNAL} -D /var/log/journal"]
    try:
        return node.enclosure.run(disk).stdout
    except RunError as err:
        return str(err)
