"""What others read of endpoint state: kat-dns now, and whoever comes up at a boot without an agent.

| file | for |
|---|---|
| `/run/kat/endpoints/<ns>.json` | kat-dns: the addresses that names leave out |
| `/var/lib/kat/endpoints/<ns>.json` | kat-dns after a boot |
| `/var/lib/kat/endpoints/<ns>.nft` | every load of the packet rules |
"""

import errno
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.ports import Files
from katgen.endpoints import NamespaceServices, States, withdrawn
from katgen.names import is_label

NAMES: Final = "/run/kat/endpoints"
SNAPSHOTS: Final = "/var/lib/kat/endpoints"
SOCKET: Final = "/run/kat/dns.sock"
SNAPSHOT_S: Final = 60
"""Boot snapshots are on disk: they are written no more often than this."""
_KINDS: Final = ("nft", "json")
_BUSY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS})
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class _Withdrawn(msgspec.Struct, frozen=True):
    """The format of both JSON files; addresses by workload."""

    format: int
    withdrawn: Mapping[str, tuple[str, ...]]


def names_text(services: NamespaceServices, states: States) -> bytes:
    """Return what names of a namespace leave out, as kat-dns reads it."""
    out = {one.workload: withdrawn(one, states) for one in services.services}
    return _ENCODER.encode(_Withdrawn(1, {name: gone for name, gone in out.items() if gone}))


def ring(namespace: str) -> bool:
    """Tell kat-dns that a file has changed; False if it has too much else to do just now.

    If it is not there, it reads all when it starts.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.setblocking(False)  # noqa: FBT003 -- socket's own signature
            bell.sendto(namespace.encode(), SOCKET)
    except OSError as err:
        return err.errno not in _BUSY
    return True


@dataclass(slots=True)
class NamesFiles:
    """The files that kat-dns reads; `rings` is called with each namespace whose file changed.

    If that is False, it is called `again`.
    """

    files: Files
    rings: Callable[[str], bool] = ring
    _unheard: set[str] = field(default_factory=set)

    def put(self, namespace: str, text: bytes | None) -> None:
        """Write a namespace's file, or remove it; the same again is left alone. UnfitError."""
        path = f"{NAMES}/{namespace}.json"
        if self.files.read(path) == text:
            return
        if text is None:
            self.files.delete(path)
        else:
            self.files.write(path, text)
        self.ring(namespace)

    def ring(self, namespace: str) -> None:
        """Have kat-dns look at a namespace."""
        (self._unheard.discard if self.rings(namespace) else self._unheard.add)(namespace)

    def again(self) -> None:
        """Ring where nobody has heard it."""
        for one in sorted(self._unheard):
            self.ring(one)


def written_namespaces(files: Files) -> frozenset[str]:
    """Return the namespaces of which any file is there. Raises UnfitError."""
    paths = [*files.list(NAMES), *files.list(SNAPSHOTS)]
    names = (path.rpartition("/")[2].rpartition(".") for path in paths)
    return frozenset(name for name, _, kind in names if kind in _KINDS and is_label(name))


def forget_snapshots(files: Files, namespaces: Collection[str]) -> None:
    """Delete the boot snapshots of namespaces whose services will change, durably. UnfitError.

    Without one everybody counts as ready at a boot; an old one would bring back who has left.
    """
    paths = [f"{SNAPSHOTS}/{name}.{kind}" for name in sorted(namespaces) for kind in _KINDS]
    there = [path for path in paths if files.stat(path) is not None]
    for path in there:
        files.delete(path)
    if there:
        files.flush([SNAPSHOTS])


@dataclass(slots=True)
class Snapshots:
    """Boot snapshots on disk, of the namespaces in `due` older than what is so now."""

    files: Files
    due: set[str] = field(default_factory=set)
    _written_at: float = float("-inf")

    def is_time(self, now_s: float, *, also: bool) -> bool:
        """Whether there is something to write, here or `also` elsewhere, and time for it."""
        return (also or bool(self.due)) and now_s - self._written_at >= SNAPSHOT_S

    def begin(self, now_s: float) -> None:
        """Have the next be written no sooner than after its time."""
        self._written_at = now_s

    def write(self, namespace: str, names: bytes, rules: bytes | None) -> None:
        """Write names and rules; no rules means that the kernel cannot take them. UnfitError.

        They are still due until they are `written`.
        """
        self._put(f"{SNAPSHOTS}/{namespace}.json", names)
        self._put(f"{SNAPSHOTS}/{namespace}.nft", rules)

    def written(self, namespaces: Collection[str]) -> None:
        """Have what was written outlast a power failure. UnfitError; then it is still due."""
        if namespaces:
            self.files.flush([SNAPSHOTS])
        self.due.difference_update(namespaces)

    def _put(self, path: str, text: bytes | None) -> None:
        if self.files.read(path) == text:
            return
        if text is None:
            self.files.delete(path)
        else:
            self.files.write(path, text)
