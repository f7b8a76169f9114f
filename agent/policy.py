"""What the owner of a node lets KAT do with it: `/etc/kat/policy`, root's own, never KAT's.

docs/howto/node-policy.md describes the file. A key that is absent bounds nothing.
"""

import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final

import msgspec

from agent.ports import Files, UnfitError
from agent.quadlet import values
from agent.state import POLICY
from katgen.protocol import Complaint

TOOL: Final = "node policy"
_OWN_STORAGE: Final = ("/var/lib/kat", "/run/kat/secrets")
_HOST_PORTS: Final = re.compile(
    r"add element inet kat host-ports \{(?P<elements>[^}]*)\}", re.MULTILINE
)
_HOST_PORT: Final = re.compile(r"(?:tcp|udp|sctp) \. (\d+) :")
_RANGE: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")

Texts = Mapping[str, tuple[str, str]]
"""By path on the node: a file's digest and its text."""


class Policy(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Bounds; None allows all. `host_ports` are numbers or ranges (`8000-8999`).

    `drift` is `report` or `revert`; None leaves it to the cluster's settings.
    """

    allow_host_root: bool = True
    host_paths: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    host_ports: tuple[str | Annotated[int, msgspec.Meta(ge=1, le=65535)], ...] | None = None
    namespaces: tuple[str, ...] | None = None
    drift: str | None = None


def load_policy(files: Files) -> Policy:
    """Return the node's policy. Raises UnfitError if it cannot be understood: nothing is applied.

    A bound that was misspelt would bound nothing.
    """
    content = files.read(POLICY)
    if content is None:
        return Policy()
    try:
        policy = msgspec.convert(tomllib.loads(content.decode()), Policy)
        for one in policy.host_ports or ():
            _range_of(str(one))
    except (ValueError, msgspec.ValidationError) as err:
        raise UnfitError(f"{POLICY}: {err}; see docs/howto/node-policy.md") from err
    if policy.drift not in (None, "report", "revert"):
        raise UnfitError(f"{POLICY}: drift is {policy.drift!r}, not report or revert")
    return policy


def complaints(policy: Policy, texts: Texts) -> tuple[Complaint, ...]:
    """Return what goes beyond the policy, of Quadlet files and packet rules."""
    found = []
    for path, (digest, text) in sorted(texts.items()):
        if path.endswith(".container"):
            found += [Complaint(path, w, digest, TOOL) for w in _beyond(policy, path, text)]
        elif path.endswith(".nft"):
            found += [Complaint(path, w, digest, TOOL) for w in _host_ports(policy, text)]
    return tuple(found)


def _beyond(policy: Policy, path: str, text: str) -> Iterator[str]:
    namespace = path.rpartition("/")[2].split(".")[1]
    if policy.namespaces is not None and namespace not in policy.namespaces:
        yield f"namespace {namespace} may not run here"
    if not policy.allow_host_root and not any(values(text, "Container", "UIDMap")):
        yield "host-root is not allowed here: root inside would be root of this machine"
    yield from _paths(policy.host_paths, text)
    for key, allowed in (("AddDevice", policy.devices), ("AddCapability", policy.capabilities)):
        yield from _listed(key, allowed, text)


def _paths(allowed: Iterable[str] | None, text: str) -> Iterator[str]:
    if allowed is None:
        return
    roots = (*allowed, *_OWN_STORAGE)
    for source in _sources(text):
        if source.startswith("/") and not _is_below(posixpath.normpath(source), roots):
            yield f"the host path {source} is not allowed here"


def _sources(text: str) -> Iterator[str]:
    """Yield the host's side of every mount, as it stands in the file."""
    for volume in values(text, "Container", "Volume"):
        yield _plain(volume.partition(":")[0])
    for mount in values(text, "Container", "Mount"):
        for option in _plain(mount).split(","):
            name, _, value = option.partition("=")
            if name in ("source", "src"):
                yield value


def _plain(text: str) -> str:
    """Return a word without the quotes around it."""
    return text.strip().strip('"')


def _listed(key: str, allowed: Iterable[str] | None, text: str) -> Iterator[str]:
    if allowed is None:
        return
    what = {"AddDevice": "the device", "AddCapability": "the capability"}[key]
    known = {one.removeprefix("CAP_") for one in allowed}
    for line in values(text, "Container", key):
        for word in line.split():
            name = _plain(word)
            if name.startswith("/"):
                name = posixpath.normpath(name.partition(":")[0])
            # Of a device by a vendor's name, `nvidia.com/gpu=0`, the kind may be listed.
            names = {name, name.removeprefix("CAP_"), name.partition("=")[0]}
            if not (names & known or _is_below(name, known)):
                yield f"{what} {name} is not allowed here"


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _host_ports(policy: Policy, text: str) -> Iterator[str]:
    if policy.host_ports is None:
        return
    ranges = [_range_of(str(one)) for one in policy.host_ports]
    for block in _HOST_PORTS.finditer(text):
        for port in map(int, _HOST_PORT.findall(block["elements"])):
            if not any(low <= port <= high for low, high in ranges):
                yield f"the host port {port} is not allowed here"


def _range_of(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"hostPorts: {text!r} is no port and no range of ports")
    return int(found[1]), int(found[2] or found[1])
