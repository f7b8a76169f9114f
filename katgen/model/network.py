"""How a node is reached below the overlay: what networkd reads, without quotes or escapes."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator

_ENDPOINT = re.compile(r"(\[([0-9A-Fa-f:.]{2,45})\]|[A-Za-z0-9.-]{1,253}):([1-9][0-9]{0,4})")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")
_PORT_MAX = 65535
_SHOWN = 60


def is_endpoint(text: str) -> bool:
    """Whether `text` is `host:port`: an IPv4 address, an IPv6 address in brackets, or a name."""
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found[3]) > _PORT_MAX:
        return False
    return _is_ipv6(found[2]) if found[2] else _is_host(found[1])


def is_link(text: str) -> bool:
    """Whether `text` can be a link's name, or its alternative name, which has up to 127 bytes.

    A number would be the link's index instead.
    """
    return _LINK.fullmatch(text) is not None and not text.isdigit()


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    """Whether it is an IPv4 address or a name; a last label of digits makes it an address."""
    labels = text.split(".")
    if not labels[-1].isdigit():
        return all(map(_HOST_LABEL.fullmatch, labels))
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _endpoint(text: str) -> str:
    if not is_endpoint(text):
        shown = repr(text[:_SHOWN])
        raise ValueError(
            f"{shown} is not an address or name with a port; write it as 192.0.2.1:51820"
        )
    return text


def _link(text: str) -> str:
    if not is_link(text):
        raise ValueError(f"{text[:_SHOWN]!r} is not the name of a link; write it as eth0")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
LinkName = Annotated[str, AfterValidator(_link)]
