"""Who is answered: the cluster's own addresses, and this machine under any of its addresses."""

import socket
from collections.abc import Callable
from typing import Final

from agent.dns.settings import Network

_KNOWN_MAX: Final = 4096
_LOOPBACK: Final = "127."
_ANY_PORT: Final = 9


def is_own(address: str) -> bool:
    """Whether an address is this machine's: the way there begins and ends at it. Sends nothing."""
    if address.startswith(_LOOPBACK):
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect((address, _ANY_PORT))
        except OSError:
            return False
        own: str = channel.getsockname()[0]
        return own == address


class Clients:
    """Remembers which addresses are the cluster's; the machine's own may go to another one."""

    def __init__(self, cluster: Network, is_own: Callable[[str], bool] = is_own) -> None:
        self._cluster: Final = cluster
        self._is_own: Final = is_own
        self._known: Final[set[str]] = set()

    def has(self, address: str) -> bool:
        """Whether questions from an address are answered."""
        if address in self._known:
            return True
        if not self._cluster.has(address):
            return self._is_own(address)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known.add(address)
        return True
