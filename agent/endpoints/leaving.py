"""What packet rules must still let through while an instance drains.

The rules of a plan know its own instances alone: from their load on, no frame of one that leaves
would pass the bridge, and requests that it still answers would be lost. So the load includes a file
of the agent's own with the pins of those that leave; it goes once they have stopped, and what it
added with it.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.ports import Files
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey, link_of

FOLDER: Final = "/var/lib/kat/endpoints"
PATH: Final = f"{FOLDER}/_leaving.nft"
"""No namespace has such a name."""
_HEADER: Final = "# Managed by KAT's agent: instances on their way out, until they have stopped.\n"
_ISOLATED: Final = "isolated/"


@dataclass(frozen=True, slots=True)
class Leaving:
    """What a load includes while somebody leaves; what removes it from the kernel after."""

    text: bytes | None = None
    removal: str = ""


NOBODY: Final = Leaving()


def leaving(
    entries: Iterable[InstanceEntry],
    staying: Collection[str],
    before: Collection[str],
    after: Collection[str],
) -> Leaving:
    """Return what to do for instances that leave; `before` and `after` are the node's shared sets.

    One of an isolated namespace stays behind its wall; if that is gone too, only those reach it who
    reach any instance: nodes, and who came by a host port. Addresses in `staying` have a successor.
    """
    gone = [one for one in entries if one.address]
    lines = [_command("add", *e) for one in gone for e in _elements(one, before, after)]
    over = [e for one in gone if one.address not in staying for e in _elements(one, before, after)]
    return Leaving("".join((_HEADER, *lines)).encode() if lines else None, _removal(over))


def _removal(elements: Iterable["_Element"]) -> str:
    """Return commands that also do where somebody has removed them: nft may not know `destroy`."""
    return "".join(
        _command("add", where, key, value) + _command("delete", where, key, "")
        for where, key, value in elements
    )


def _command(verb: str, where: str, key: str, value: str) -> str:
    return (
        f"{verb} element {where} {{ {key} : {value} }}\n"
        if value
        else (f"{verb} element {where} {{ {key} }}\n")
    )


_Element = tuple[str, str, str]
"""Table and object, key, value or ''."""


def _elements(
    entry: InstanceEntry, before: Collection[str], after: Collection[str]
) -> Iterator[_Element]:
    at = entry.address
    mac, port = link_of(at)
    yield "bridge kat instances", f'"{port}" . {mac} . {at}', ""
    yield "inet kat itself", f"{at} . {at}", ""
    namespace = _namespace_of(entry.instance)
    if f"{_ISOLATED}{namespace}" not in before:
        return
    if f"{_ISOLATED}{namespace}" in after:
        yield f"inet kat ns-{namespace}", at, ""
        yield "inet kat isolated", at, f"goto ns-{namespace}"
    else:
        yield "inet kat isolated", at, "goto closed"


def _namespace_of(instance: InstanceKey) -> str:
    return instance.partition("/")[0]


def put_leaving(files: Files, text: bytes | None) -> None:
    """Write the file, or see that there is none. Raises UnfitError."""
    if files.read(PATH) == text:
        return
    if text is None:
        files.delete(PATH)
        files.flush([FOLDER])
    else:
        files.write(PATH, text)
