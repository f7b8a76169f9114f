"""What others read of endpoint state: kat-dns now, and whoever comes up at a boot without an agent.

| file | for |
|---|---|
| `/run/kat/endpoints/<ns>.json` | kat-dns: the addresses that names leave out |
| `/var/lib/kat/endpoints/<ns>.json` | kat-dns after a boot |
| `/var/lib/kat/endpoints/<ns>.nft` | every load of the packet rules |
"""

import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.ports import Files
from katgen.endpoints import NamespaceServices, States, withdrawn

NAMES: Final = "/run/kat/endpoints"
SNAPSHOTS: Final = "/var/lib/kat/endpoints"
SOCKET: Final = "/run/kat/dns.sock"
SNAPSHOT_S: Final = 60
"""Boot snapshots are on disk: they are written no more often than this."""
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class _Withdrawn(msgspec.Struct, frozen=True):
    """The format of both JSON files; addresses by workload."""

    format: int
    withdrawn: Mapping[str, tuple[str, ...]]


def names_text(services: NamespaceServices, states: States) -> bytes:
    """Return what names of a namespace leave out, as kat-dns reads it."""
    out = {one.workload: withdrawn(one, states) for one in services.services}
    return _ENCODER.encode(_Withdrawn(1, {name: gone for name, gone in out.items() if gone}))


def ring(namespace: str) -> None:
    """Tell kat-dns that a file has changed; if it does not hear, it reads all when it starts."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)  # noqa: FBT003 -- socket's own signature
        bell.sendto(namespace.encode(), SOCKET)


@dataclass(slots=True)
class NamesFiles:
    """The files that kat-dns reads; `rings` is called with each namespace whose file changed."""

    files: Files
    rings: Callable[[str], None] = ring

    def put(self, namespace: str, text: bytes | None) -> None:
        """Write a namespace's file, or remove it; the same again is left alone. UnfitError."""
        path = f"{NAMES}/{namespace}.json"
        if self.files.read(path) == text:
            return
        if text is None:
            self.files.delete(path)
        else:
            self.files.write(path, text)
        self.rings(namespace)


def forget_snapshots(files: Files, namespaces: Collection[str]) -> None:
    """Delete the boot snapshots of namespaces whose services will change, durably. UnfitError.

    Without one everybody counts as ready at a boot; an old one would bring back who has left.
    """
    paths = [f"{SNAPSHOTS}/{name}{end}" for name in sorted(namespaces) for end in (".nft", ".json")]
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

    def is_time(self, now_s: float) -> bool:
        """Whether there is something to write, and enough time has passed."""
        return bool(self.due) and now_s - self._written_at >= SNAPSHOT_S

    def write(self, texts: Mapping[str, tuple[bytes, bytes | None]], now_s: float) -> None:
        """Write names and rules by namespace; no rules means that the kernel cannot take them.

        Raises UnfitError; then what is left is still due.
        """
        self._written_at = now_s
        for name, (names, rules) in texts.items():
            self._put(f"{SNAPSHOTS}/{name}.json", names)
            self._put(f"{SNAPSHOTS}/{name}.nft", rules)
            self.due.discard(name)
        if texts:
            self.files.flush([SNAPSHOTS])

    def _put(self, path: str, text: bytes | None) -> None:
        if self.files.read(path) == text:
            return
        if text is None:
            self.files.delete(path)
        else:
            self.files.write(path, text)
