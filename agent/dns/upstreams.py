"""Which servers are asked about names that are not the cluster's."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple

from agent.dns.settings import Settings
from agent.dns.stamps import Stamp, stamp

OF_RESOLVED: Final = "/run/systemd/resolve/resolv.conf"
"""The servers that systemd-resolved itself asks, its links' too: resolved.conf(5)."""
OF_HOST: Final = "/etc/resolv.conf"
AT_MOST: Final = 3
"""As resolv.conf(5) has it."""
_LOOK_S: Final = 1
_PORT: Final = 53
_STUBS: Final = frozenset({"127.0.0.53", "127.0.0.54", "0.0.0.0", "::"})  # noqa: S104 -- refused
"""systemd-resolved's own listeners, which may ask us; the last two mean this machine."""
_SERVER: Final = re.compile(
    r"^nameserver[ \t]+([0-9A-Fa-f.:]+(?:%[\w.-]+)?)[ \t]*(?:[;#].*)?$", re.MULTILINE
)


class Server(NamedTuple):
    """A server; an IPv6 address may name its link: `fe80::1%eth0`."""

    address: str
    port: int = _PORT

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return AF_INET6 if ":" in self.address else AF_INET


class Upstreams:
    """The servers to ask, the one first that answered last. Follows the host's own list."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._files: Final = tuple(root / path.lstrip("/") for path in (OF_RESOLVED, OF_HOST))
        self._settings = settings
        self._looked_s = -float(_LOOK_S)
        self._stamp: Stamp | None = None
        self._servers: tuple[Server, ...] = ()

    def servers(self) -> tuple[Server, ...]:
        """Return the servers to ask now."""
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            self._look()
        return self._servers

    def answered(self, server: Server) -> None:
        """Put a server first."""
        if server in self._servers and self._servers[0] != server:
            rest = (one for one in self._servers if one != server)
            self._servers = (server, *rest)

    def _look(self) -> None:
        if self._settings.upstreams:
            self._servers = self._servers or self._usable(self._settings.upstreams)
            return
        path = next((p for p in self._files if p.exists()), self._files[-1])
        seen = stamp(path)
        if seen is None:
            self._servers = ()
        elif seen != self._stamp:
            self._servers = self._usable(_listed(path))
        self._stamp = seen

    def _usable(self, addresses: Iterable[str]) -> tuple[Server, ...]:
        """Return the servers that are neither this one nor any that only the cluster has."""
        usable = [
            Server(one)
            for one in dict.fromkeys(addresses)
            if _is_address(one)
            and one not in _STUBS
            and not any(network.has(one) for network in self._settings.own)
        ]
        return tuple(usable[:AT_MOST])


def _listed(path: Path) -> list[str]:
    try:
        return _SERVER.findall(path.read_text(errors="replace"))
    except OSError:
        return []


def _is_address(text: str) -> bool:
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text.partition("%")[0])
    except OSError:
        return False
    return True
