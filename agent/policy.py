"""What the owner of a node lets KAT do with it: `/etc/kat/policy`, root's own, never KAT's.

docs/howto/node-policy.md describes the file. A key that is absent bounds nothing.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final

import msgspec

from agent.ports import Files, UnfitError
from agent.quadlet import is_quadlet
from agent.shapes.container import Asked, asked
from agent.shapes.lines import is_below, parts
from agent.shapes.nft import host_ports, rule_faults
from agent.shapes.services import FOLDER as CANDIDATES
from agent.shapes.services import service_faults
from agent.shapes.system import TMPFILES, made_paths, system_faults
from agent.state import POLICY
from katgen.protocol import Complaint

TOOL: Final = "node policy"
SHAPE: Final = "node"
_KATS: Final = (
    *(
        f"/var/lib/kat/{name}"
        for name in (
            "agent",
            "content",
            "dns",
            "endpoints",
            "etcd",
            "generations",
            "leader",
            "runs",
            "services",
            "wireguard",
        )
    ),
    "/run/kat",
    "/etc/kat",
)
"""What KAT itself lives on. Volumes may lie anywhere else below /var/lib/kat."""
_FIRST_MAPPED: Final = 65536
"""Below it are the machine's own users, root first."""
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
    """Return which files are none that KAT renders, and what goes beyond the policy."""
    found = []
    for path, (digest, text) in sorted(texts.items()):
        if is_quadlet(path):
            asks = asked(path, text)
            strange, beyond = (*asks.faults, *_secrets_of_kat(asks)), _beyond(policy, asks)
        elif path.endswith(".nft"):
            strange, beyond = tuple(rule_faults(path, text)), _host_ports(policy, text)
        elif path.startswith(CANDIDATES):
            strange, beyond = tuple(service_faults(path, text)), iter(())
        else:
            strange, beyond = tuple(system_faults(path, text)), _made(policy, path, text)
        found += [Complaint(path, what, digest, SHAPE) for what in strange]
        # Of a file that is none of KAT's, nobody knows what it asks for.
        found += [Complaint(path, w, digest, TOOL) for w in (() if strange else beyond)]
    return tuple(found)


def _secrets_of_kat(asks: Asked) -> Iterator[str]:
    """Yield mounts of what KAT itself lives on, its keys too: no policy allows them."""
    own = ("/run/kat/ingress", f"/run/kat/secrets/{asks.own.get('stem', '-')}")
    for source in asks.sources:
        real = _real(source)
        if real == "/var/lib/kat" or (is_below(real, _KATS) and not is_below(real, own)):
            yield f"{source} is KAT's own, and no container sees it"
        if _leads_elsewhere(source):
            yield f"{source} leads anywhere on this machine"


def _real(path: str) -> str:
    inside = parts(path)
    return "/" + "/".join(inside[1:] if inside[:2] == ("var", "run") else inside)


def _leads_elsewhere(path: str) -> bool:
    """Whether it is below a process of /proc, whose `root` and `cwd` are links to all there is."""
    inside = parts(path)
    return inside[:1] == ("proc",) and bool({"root", "cwd", "fd"} & set(inside))


def _beyond(policy: Policy, asks: Asked) -> Iterator[str]:
    if policy.namespaces is not None and asks.namespace not in policy.namespaces:
        yield f"namespace {asks.namespace} may not run here"
    if not policy.allow_host_root and asks.is_host_root:
        yield "host-root is not allowed here: root inside would be root of this machine"
    for source in asks.sources:
        if not _is_allowed(policy, source, asks):
            yield f"the host path {source} is not allowed here"
    yield from _listed("the device", policy.devices, asks.devices)
    yield from _listed("the capability", policy.capabilities, asks.capabilities)


def _is_allowed(policy: Policy, source: str, asks: Asked) -> bool:
    """Whether a mount may be: what KAT itself made for this workload always may."""
    if policy.host_paths is None:
        return True
    workload = f"{asks.namespace}/{asks.own['workload']}"
    own = (
        f"/var/lib/kat/volumes/{workload}",
        f"/var/lib/kat/config/{asks.namespace}",
        f"/run/kat/secrets/{asks.own['stem']}",
    )
    return is_below(source, (*policy.host_paths, *own))


def _listed(what: str, allowed: Iterable[str] | None, names: Iterable[str]) -> Iterator[str]:
    if allowed is None:
        return
    known = {one.removeprefix("CAP_") for one in allowed}
    folders = tuple(one for one in known if one.startswith("/"))
    for name in names:
        # Of a device by a vendor's name, `nvidia.com/gpu=0`, the kind may be listed.
        forms = {name, name.removeprefix("CAP_"), name.partition("=")[0]}
        if not (forms & known or (name.startswith("/") and is_below(name, folders))):
            yield f"{what} {name} is not allowed here"


def _made(policy: Policy, path: str, text: str) -> Iterator[str]:
    """Yield what tmpfiles would make where the policy lets KAT make nothing."""
    for made, uid in made_paths(text) if path == TMPFILES else ():
        roots = ("/var/lib/kat/volumes", *(policy.host_paths or ()))
        if policy.host_paths is not None and not is_below(made, roots):
            yield f"the host path {made} is not allowed here"
        if not policy.allow_host_root and 0 <= uid < _FIRST_MAPPED:
            yield f"host-root is not allowed here, but {made} would belong to user {uid}"


def _host_ports(policy: Policy, text: str) -> Iterator[str]:
    if policy.host_ports is None:
        return
    ranges = [_range_of(str(one)) for one in policy.host_ports]
    for port in host_ports(text):
        if not any(low <= port <= high for low, high in ranges):
            yield f"the host port {port} is not allowed here"


def _range_of(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"hostPorts: {text!r} is no port and no range of ports")
    return int(found[1]), int(found[2] or found[1])
