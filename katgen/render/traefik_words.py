"""Encoders: text → Traefik's rules (docs, "Rules") and YAML 1.2 double-quoted scalars (§7.3.1)."""

import re

from katgen.errors import EncodeError

_PLAIN = re.compile(r"[ !#-\[\]-~\u00a1-\ud7ff]*")
"""Stands in a double-quoted scalar as it is: printable, without quote and backslash."""
_RULE_TEXT = re.compile(r"[!-_a-z|~]+")
"""ASCII that shows, without the backtick, which ends a value, and version 2's regex braces."""


def quoted(text: str) -> str:
    """Return a YAML scalar that reads as `text`. EncodeError for lone surrogates: no text."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if _PLAIN.fullmatch(char):
        return char
    if char in '"\\':
        return f"\\{char}"
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 -- surrogates
        raise EncodeError("a lone surrogate is not text; YAML cannot carry it")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 -- the BMP


def rule(host: str, path: str) -> str:
    """Return the matcher of an ingress: `path` covers itself and what lies below it.

    A host `*.example.org` stands for every name with one label more, as in a certificate.
    """
    if host.startswith("*."):
        hosts = f"HostRegexp(`^[^.]+{re.escape(_value(host[1:]))}$`)"
    else:
        hosts = f"Host(`{_value(host)}`)"
    if path == "/":
        return hosts
    whole = _value(path.rstrip("/"))
    below = f"PathPrefix(`{whole}/`)"
    return (
        f"{hosts} && {below}" if path.endswith("/") else f"{hosts} && (Path(`{whole}`) || {below})"
    )


def _value(text: str) -> str:
    """Return what may stand between backticks; nothing can be escaped there."""
    if _RULE_TEXT.fullmatch(text) is None:
        raise EncodeError(f"{text[:80]!r} cannot stand in a rule of Traefik")
    return text


def url(address: str, port: int) -> str:
    """Return a backend's URL."""
    return f"http://{_value(address)}:{port}"
