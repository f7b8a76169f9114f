"""A lab that stands until it is told to end: a keeper process holds it, others find it by a file.

    lock         held by the keeper as long as it lives, so that nobody mistakes an old file for it
    state.json   the keeper, the enclosure, and each node's address and PID 1 (0 while it is off)
    log          what the keeper said

All are in `.cache/lab-up`, or where KAT_LAB says.
"""

import fcntl
import json
import os
import selectors
import signal
import string
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.environment import CACHE
from tests.lab.boot import boot
from tests.lab.enclosure import Enclosure
from tests.lab.hosts import hosts
from tests.lab.images import import_busybox
from tests.lab.node import Node
from tests.lab.registry import push, registry, trust

FOLDER = Path(os.environ.get("KAT_LAB") or CACHE / "lab-up")
NAMES = string.ascii_lowercase
REBOOT = 133
"""How nspawn ends when its payload wants a reboot and --keep-unit leaves it to the caller."""

ALREADY = "a lab is up already: python -m tests.lab down"


class LabError(Exception):
    """There is a lab already, or none."""


def keep(count: int) -> None:
    """Boot a lab, say `ready` on standard output, and hold it until SIGTERM, SIGINT or SIGHUP."""
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, _end)
    with _held(), hosts(*NAMES[:count], kat=True) as nodes:
        _furnish(nodes)
        _write(nodes)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        _watch(nodes)


def is_up() -> bool:
    """Tell whether a keeper lives, whether or not its lab is up yet."""
    try:
        with (FOLDER / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def keeper() -> int:
    """Return the keeper's process. LabError if there is no lab."""
    return int(str(_read()["keeper"]))


def nodes() -> tuple[Node, ...]:
    """Return the nodes of the lab, to run commands on. LabError if there is no lab."""
    state = _read()
    inside = Enclosure(int(str(state["enclosure"])))
    found = state["nodes"]
    assert isinstance(found, dict)
    return tuple(
        Node(name, one["address"], inside, groups=(), leader=one["leader"])
        for name, one in found.items()
    )


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@contextmanager
def _held() -> Iterator[None]:
    """Be the one keeper."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(ALREADY) from None
        try:
            yield
        finally:
            (FOLDER / "state.json").unlink(missing_ok=True)


def _furnish(booted: Sequence[Node]) -> None:
    """Put busybox on every node and in a registry on the first one, which all of them trust."""
    where = registry(booted[0])
    for node in booted:
        import_busybox(node)
        trust(node, where)
    push(booted[0], "localhost/bb:1", f"{where}/bb:1")


def _watch(booted: Sequence[Node]) -> None:
    """Boot a node that reboots, forever."""
    ended = selectors.DefaultSelector()
    for node in booted:
        _register(ended, node)
    while True:
        for key, _ in ended.select():
            node = key.data
            ended.unregister(key.fd)
            os.close(key.fd)
            if node.nspawn.wait() == REBOOT:
                boot(node)
                _register(ended, node)
            else:
                node.leader = 0
            _write(booted)


def _register(ended: selectors.BaseSelector, node: Node) -> None:
    assert node.nspawn is not None
    ended.register(os.pidfd_open(node.nspawn.pid), selectors.EVENT_READ, node)


def _write(booted: Sequence[Node]) -> None:
    state = {
        "keeper": os.getpid(),
        "enclosure": booted[0].enclosure.pid,
        "nodes": {one.name: {"address": one.address, "leader": one.leader} for one in booted},
    }
    new = FOLDER / "state.new"
    new.write_text(json.dumps(state), encoding="utf-8")
    new.rename(FOLDER / "state.json")


def _read() -> dict[str, object]:
    try:
        text = (FOLDER / "state.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    if not text or not is_up():
        raise LabError("no lab is up: python -m tests.lab up")
    state: dict[str, object] = json.loads(text)
    return state
