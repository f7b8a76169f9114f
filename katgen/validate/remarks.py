"""What is worth knowing and hinders nothing."""

from collections.abc import Iterator

from katgen.errors import Problem
from katgen.model.cluster import ClusterSpec
from katgen.model.workload import Workload
from katgen.validate.objects import Objects
from katgen.validate.references import named


def exclusive(objects: Objects) -> Iterator[Problem]:
    """Tell where instances are replaced stop-first (spec §4, exclusive instances)."""
    for one in objects.workloads.values():
        if one.object.spec.type == "Job":
            continue
        for path, why in _reasons(one.object):
            what = f"instances are replaced stop-first, whatever maxSurge says: {why}"
            yield Problem(one.at(*path), what)


def _reasons(workload: Workload) -> Iterator[tuple[tuple[str | int, ...], str]]:
    spec = workload.spec
    written = {mount.name for mount in spec.container.volume_mounts if not mount.read_only}
    for index, volume in enumerate(spec.volumes):
        if volume.simple_cluster_storage is not None and volume.name in written:
            where: tuple[str | int, ...] = ("spec", "volumes", index, "simpleClusterStorage")
            yield where, f"the volume {volume.name!r} has one writer at a time"
    for index, port in enumerate(spec.container.ports):
        if port.host_port is not None:
            where = ("spec", "container", "ports", index, "hostPort")
            yield where, f"host port {port.host_port} has one owner at a time"


def unused(objects: Objects) -> Iterator[Problem]:
    """Tell of Configs and Secrets that no workload names."""
    used = {(reference.kind, reference.to) for reference in named(objects)}
    for kind, written in (("Config", objects.configs), ("Secret", objects.secrets)):
        for key, one in written.items():
            if (kind, key) not in used:
                yield Problem(one.at("metadata", "name"), f"no workload uses {kind} {key}")


def unreachable(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    """Tell of nodes that the others' overlays will not find."""
    if len(objects.nodes) < 2 or spec.overlay != "wireguard":  # noqa: PLR2004 -- a lone node needs no overlay
        return
    for one in objects.nodes.values():
        if one.object.status.overlay_network.public_key is None:
            name = one.object.metadata.name
            what = f"node {name!r} has no public key, so no other node's overlay reaches it"
            yield Problem(one.at("status", "overlayNetwork", "publicKey"), what)
