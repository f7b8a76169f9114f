"""Encoders: values → the lines of systemd.netdev(5) and systemd.network(5) files.

None of the values that KAT writes there needs quotes, and networkd has none for them: whatever is
not of a key's own plain form is refused.
"""

import re

from katgen.errors import EncodeError
from katgen.model.network import is_endpoint, is_link
from katgen.names import is_label

_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_LINE = re.compile(r"[!-~]([ -~]*[!-~])?")


def section(name: str, *settings: tuple[str, str], **more: str) -> str:
    """Return a section. EncodeError if a value is empty, or is not one line of ASCII."""
    lines = [f"[{name}]"]
    for key_name, value in (*settings, *more.items()):
        if _LINE.fullmatch(value) is None:
            raise EncodeError(
                f"{value[:80]!r} cannot be the value of {key_name}= in a network file"
            )
        lines.append(f"{key_name}={value}")
    return "\n".join(lines) + "\n"


def key(text: str) -> str:
    """Return a WireGuard public key as it is. EncodeError if it is not 32 bytes in base64."""
    if _KEY.fullmatch(text) is None:
        raise EncodeError(f"{text[:80]!r} is not a WireGuard public key")
    return text


def endpoint(text: str) -> str:
    """Return `address:port` or `name:port` as it is. EncodeError if networkd would not read it."""
    if not is_endpoint(text):
        raise EncodeError(f"{text[:80]!r} is not an endpoint; write it as 192.0.2.1:51820")
    return text


def interface(text: str) -> str:
    """Return the name of a link as it is. EncodeError if it is none."""
    if not is_link(text):
        raise EncodeError(f"{text[:80]!r} is not the name of a network link")
    return text


def domain(text: str) -> str:
    """Return a domain as it is. EncodeError if a label of it is none."""
    if not all(map(is_label, text.split("."))):
        raise EncodeError(f"{text[:80]!r} is not a domain")
    return text
