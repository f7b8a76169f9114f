"""What the settings of kat-dns may hold: whom it asks is where this node's questions go."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.shapes.lines import CIDR, DOMAIN, IP

PATH: Final = "/etc/kat/dns.json"
_WORDS: Final = {"domain": DOMAIN, "address": IP, "clusterCIDR": CIDR, "serviceCIDR": CIDR}


def name_faults(text: str) -> Iterator[str]:
    """Yield why the text is none that KAT renders as the settings of kat-dns."""
    try:
        found = json.loads(text)
    except ValueError as err:
        yield f"it is no JSON: {err}"
        return
    if not isinstance(found, dict) or set(found) != {"format", "upstreams", *_WORDS}:
        yield "it has not the fields that KAT writes"
        return
    known: Mapping[str, Callable[[object], bool]] = {
        "format": lambda value: value == 1,
        "upstreams": lambda value: isinstance(value, list) and all(_is(IP, one) for one in value),
    }
    for key, value in found.items():
        if not (known[key](value) if key in known else _is(_WORDS[key], value)):
            yield f"{key} has no value that KAT writes"


def _is(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None
