"""`/etc/kat/dns.json`: the cluster's domain, and who is asked about all other names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import Final, NamedTuple

from katgen.errors import KatError

PATH: Final = "/etc/kat/dns.json"
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9][a-z0-9-]{0,62}")
_BITS: Final = 32


class SettingsError(KatError):
    """The file is missing or damaged; nothing can be served without it."""


class Network(NamedTuple):
    """An IPv4 network as numbers."""

    address: int
    mask: int

    def has(self, address: str) -> bool:
        """Whether a dotted address is in it; one that is no IPv4 address is not."""
        try:
            number = int.from_bytes(inet_pton(AF_INET, address))
        except OSError:
            return False
        return number & self.mask == self.address


class Settings(NamedTuple):
    """`clients` are answered; no server in `own` is asked; `address` is the node's."""

    domain: str
    upstreams: tuple[str, ...]
    clients: Network
    own: tuple[Network, ...]
    address: str


def read_settings(path: Path) -> Settings:
    """Read the file. Raises SettingsError."""
    try:
        found = json.loads(path.read_bytes())
        return _settings(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise SettingsError(f"{path}: {err!r}") from err


def _settings(found: dict[str, object]) -> Settings:
    domain, upstreams = found["domain"], found["upstreams"]
    if found["format"] != 1 or not isinstance(domain, str) or not isinstance(upstreams, list):
        raise ValueError("its format is not known")
    if _DOMAIN.fullmatch(domain) is None:
        raise ValueError(f"{domain[:80]!r} is no domain")
    own = tuple(_networks(found))
    address = str(found["address"]).partition("/")[0]
    return Settings(domain, tuple(map(str, upstreams)), own[0], own, address)


def _networks(found: dict[str, object]) -> Iterator[Network]:
    """Yield the instances' network, the services', and the node's own address."""
    for key in ("clusterCIDR", "serviceCIDR", "address"):
        address, _, bits = str(found[key]).partition("/")
        mask = -1 << (_BITS - int(bits or _BITS)) & 2**_BITS - 1
        yield Network(int.from_bytes(inet_pton(AF_INET, address)) & mask, mask)
