r"""What nft(8) lists, as what a load of the rules made, and what endpoint state did to it since.

`nft -s list table` prints an object of a table as a block, `\tmap services {` to `\t}`.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.endpoints.elements import ENDPOINTS, SERVICES, UNREADY, Elements

TABLE: Final = "table inet kat {"
_LINES: Final = re.MULTILINE | re.DOTALL
_BLOCK: Final = re.compile(r"^\t(?:map|set|chain) (?P<name>\S+) \{\n.*?^\t\}\n", _LINES)
_ELEMENTS: Final = re.compile(r"^\t\telements = \{(.*?)\}\n", _LINES)
_DYNAMIC: Final = frozenset({SERVICES, ENDPOINTS, UNREADY})
_SLOTS: Final = re.compile(
    r"""(?x)
    \tchain\ (?P<name>(?P<kind>random|sticky)-(?P<count>\d+))\ \{\n
    (?P<jump>\t\tjump\ balance\n)?
    \t\tmeta\ mark\ set\ numgen\ random\ mod\ (?P<mod>\d+)\ offset\ (?P<first>\d+|0x[0-9a-f]+)
    \ goto\ balance\n
    \t\}\n
    """
)
_FIRST: Final = {"random": 0x4B000000, "sticky": 0x4B800000}


@dataclass(frozen=True, slots=True)
class SeenRules:
    """`digest` is that of all but `elements` and `chains`, the chains of slots; '' if missing."""

    digest: str = ""
    elements: Elements = field(default_factory=Elements)
    chains: frozenset[str] = frozenset()


def seen(tables: Iterable[str]) -> SeenRules:
    """Return what the listings of KAT's tables say."""
    whole = hashlib.sha256()
    elements = Elements()
    chains: set[str] = set()
    for text in tables:
        if text.startswith(TABLE):
            kept, found = _without_dynamic(text, chains)
            elements = Elements(found[SERVICES], found[ENDPOINTS], found[UNREADY])
            text = kept  # noqa: PLW2901 -- what is left of it
        whole.update(text.encode())
    return SeenRules(whole.hexdigest(), elements, frozenset(chains))


def _without_dynamic(text: str, chains: set[str]) -> tuple[str, dict[str, dict[str, str]]]:
    """Return a table's text without elements of endpoint state, and those.

    A chain of slots that is not as it should be stays in the text.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in _DYNAMIC}

    def rest(block: re.Match[str]) -> str:
        name = block["name"]
        if name in _DYNAMIC:
            listed = _ELEMENTS.search(block[0])
            found[name] = _elements(listed[1]) if listed else {}
            return _ELEMENTS.sub("", block[0])
        if _is_chain_of_slots(block[0]):
            chains.add(name)
            return ""
        return block[0]

    # Blocks are parted by empty lines, of which one more or less says nothing.
    return re.sub(r"\n\n+", "\n", _BLOCK.sub(rest, text)), found


def _elements(text: str) -> dict[str, str]:
    """Return `key : value` pairs by key."""
    parts = (one.strip().partition(" : ") for one in text.split(","))
    return {key: value for key, _, value in parts}


def _is_chain_of_slots(block: str) -> bool:
    found = _SLOTS.fullmatch(block)
    return (
        found is not None
        and found["count"] == found["mod"]
        and int(found["first"], 0) == _FIRST[found["kind"]]
        and (found["jump"] is not None) == (found["kind"] == "sticky")
    )
