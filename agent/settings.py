"""What preflight must know of a cluster.kat before `kat-leader init` has judged it.

This reads and does not judge: whatever is odd here is a problem that `kat-leader init` names, with
line and column. Until then the defaults stand in.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Final

import yaml

_KIND: Final = "ClusterConfiguration"
_DEFAULTS: Final = {
    "overlay": "wireguard",
    "clusterCIDR": "10.100.0.0/16",
    "serviceCIDR": "10.101.0.0/16",
    "apiPort": "9115",
    "agentPort": "9116",
    "wireguardPort": "51820",
}


class Settings:
    """A cluster's settings, as text."""

    def __init__(self, text: str = "") -> None:
        self._said = {**_DEFAULTS, **_spec_of(text)}

    @property
    def overlay(self) -> str:
        """`wireguard` or `host-gateway`."""
        return self._said["overlay"]

    def network(self, name: str) -> IPv4Network:
        """Return a CIDR."""
        try:
            return IPv4Network(self._said[name])
        except ValueError:
            return IPv4Network(_DEFAULTS[name])

    def port(self, name: str) -> tuple[str, int]:
        """Return a port with its setting's name."""
        said = self._said[name]
        highest = 65535
        is_port = said.isascii() and said.isdecimal() and 0 < int(said[:6]) <= highest
        return name, int(said if is_port else _DEFAULTS[name])


def _spec_of(text: str) -> Mapping[str, str]:
    """Return the scalars of the ClusterConfiguration's spec; BaseLoader makes no other types."""
    try:
        documents = list(yaml.load_all(text, Loader=yaml.BaseLoader))
    except (yaml.YAMLError, RecursionError):
        return {}
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == _KIND:
            spec = document.get("spec")
            if isinstance(spec, dict):
                return {k: v for k, v in spec.items() if isinstance(v, str)}
    return {}
