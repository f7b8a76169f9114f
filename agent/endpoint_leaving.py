"""What packet rules must still let through while an instance drains.

The rules of a plan know its own instances alone: from their load on, no frame of one that leaves
would pass the bridge, and requests that it still answers would be lost. So the load includes a file
of the agent's own with the pins of those that leave; it goes once they have stopped.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from agent.ports import Files
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey, link_of

FOLDER: Final = "/var/lib/kat/endpoints"
PATH: Final = f"{FOLDER}/_leaving.nft"
"""No namespace has such a name."""
_HEADER: Final = "# Managed by KAT's agent: instances on their way out, until they have stopped.\n"
_ISOLATED: Final = "isolated/"


def leaving_text(
    entries: Iterable[InstanceEntry], before: Collection[str], after: Collection[str]
) -> bytes | None:
    """Return the file, None if nobody leaves; `before` and `after` are the node's shared sets.

    One of an isolated namespace stays behind its wall; if that is gone too, only those reach it who
    reach any instance: nodes, and who came by a host port.
    """
    lines = [line for one in entries if one.address for line in _lines(one, before, after)]
    return "".join((_HEADER, *lines)).encode() if lines else None


def _lines(entry: InstanceEntry, before: Collection[str], after: Collection[str]) -> Iterator[str]:
    at = entry.address
    mac, port = link_of(at)
    yield f'add element bridge kat instances {{ "{port}" . {mac} . {at} }}\n'
    yield f"add element inet kat itself {{ {at} . {at} }}\n"
    namespace = _namespace_of(entry.instance)
    if f"{_ISOLATED}{namespace}" not in before:
        return
    if f"{_ISOLATED}{namespace}" in after:
        yield f"add element inet kat ns-{namespace} {{ {at} }}\n"
        yield f"add element inet kat isolated {{ {at} : goto ns-{namespace} }}\n"
    else:
        yield f"add element inet kat isolated {{ {at} : goto closed }}\n"


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
