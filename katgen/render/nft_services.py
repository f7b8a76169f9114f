"""A namespace's elements of the data plane: its virtual addresses, and its wall if it is isolated.

The file is the boot snapshot: every candidate counts as ready. While KAT runs, endpoint state
changes elements of the same maps:

| what | how |
|---|---|
| one of n instances is not ready | its slot in `endpoints` gets another instance's address |
| the same, evenly | `services` goes to `random-<n-1>`, slots 0 to n-2 hold the ready ones |
| none is ready | the address leaves `services`: connections are refused |

With affinity the number of slots stays, so that the clients of the others keep their pins.
"""

from collections.abc import Iterator

from katgen.bundle import Activation, Artifact, artifact
from katgen.names import split_key
from katgen.render.ipv4 import address, addresses
from katgen.render.nft_words import comment, element_lines, name
from katgen.render.view import NamespaceView, PlannedWorkload

RANDOM_SLOT = 0x4B000000
"""The mark of slot 0 of a service without affinity, units/data-plane.nft."""
STICKY_SLOT = 0x4B800000
"""The mark of slot 0 of a service with affinity."""

_RANDOM = """add chain inet kat random-{n}
flush chain inet kat random-{n}
add rule inet kat random-{n} meta mark set numgen random mod {n} offset 0x4b000000 goto balance
"""
_STICKY = """add chain inet kat sticky-{n}
flush chain inet kat sticky-{n}
add rule inet kat sticky-{n} jump balance
add rule inet kat sticky-{n} meta mark set numgen random mod {n} offset 0x4b800000 goto balance
"""
_WALL = """add set inet kat {wall} {{ type ipv4_addr; }}
add chain inet kat {wall}
add rule inet kat {wall} ip saddr @{wall} accept
add rule inet kat {wall} goto closed
"""


def path(namespace: str) -> str:
    """Return where a namespace's file stands on a node."""
    return f"/etc/kat/services/{namespace}.nft"


def services(view: NamespaceView) -> tuple[Artifact, ...]:
    """Return the namespace's file, or nothing if it has neither a virtual address nor a wall."""
    served = [w for w in view.workloads if w.plan.virtual_address and w.objects.load_balancer]
    text = "".join((*_balancing(served), *(_wall(view) if view.isolated else ())))
    if not text:
        return ()
    where = path(name(f"ns-{view.name}").removeprefix("ns-"))
    header = f"# Managed by KAT: services of the namespace {view.name}.\n"
    return (artifact(where, header + text, activation=Activation.NFT, pair_key=where),)


def _balancing(served: list[PlannedWorkload]) -> Iterator[str]:
    ready = [w for w in served if w.plan.placements]
    sticky = {len(w.plan.placements) for w in ready if _is_sticky(w)}
    random = {len(w.plan.placements) for w in ready if not _is_sticky(w)}
    yield from (_RANDOM.format(n=n) for n in sorted(random))
    yield from (_STICKY.format(n=n) for n in sorted(sticky))
    yield element_lines("inet kat services", [_service(w) for w in ready])
    yield element_lines("inet kat tcp-ports", [e for w in ready for e in _ports(w, "TCP")])
    yield element_lines("inet kat udp-ports", [e for w in ready for e in _ports(w, "UDP")])
    yield element_lines("inet kat endpoints", [e for w in ready for e in _endpoints(w)])


def _is_sticky(workload: PlannedWorkload) -> bool:
    balancer = workload.objects.load_balancer
    return balancer is not None and balancer.spec.affinity == "ClientIP"


def _service(workload: PlannedWorkload) -> str:
    """Return one element of `services` below a comment that names the workload."""
    kind = "sticky" if _is_sticky(workload) else "random"
    at = address(workload.plan.virtual_address)
    title = comment(split_key(workload.key)[1])
    return f"{title}\n\t{at} : goto {kind}-{len(workload.plan.placements)}"


def _ports(workload: PlannedWorkload, protocol: str) -> Iterator[str]:
    balancer = workload.objects.load_balancer
    at = workload.plan.virtual_address
    for port in balancer.spec.ports if balancer else ():
        if port.protocol == protocol:
            yield f"{at} . {port.port} : {port.target_port or port.port}"


def _endpoints(workload: PlannedWorkload) -> Iterator[str]:
    first = STICKY_SLOT if _is_sticky(workload) else RANDOM_SLOT
    at = workload.plan.virtual_address
    ready = addresses([p.address for p in workload.plan.placements])
    return (f"{at} . {slot:#x} : {one}" for slot, one in enumerate(ready, first))


def _wall(view: NamespaceView) -> Iterator[str]:
    wall = name(f"ns-{view.name}")
    inside = addresses([p.address for w in view.workloads for p in w.plan.placements])
    yield _WALL.format(wall=wall)
    yield element_lines(f"inet kat {wall}", inside)
    yield element_lines("inet kat isolated", [f"{a} : goto {wall}" for a in inside])
