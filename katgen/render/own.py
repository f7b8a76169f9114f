"""What one node gets for itself: its instances' units, and the files that depend on its address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from katgen import names
from katgen.bundle import Artifact, Entry, InstanceEntry, Manifest, Probe, SecretSlot
from katgen.model import probe as model
from katgen.names import InstanceKey, NodeName
from katgen.render import networkd, nft, podmannet, tmpfiles
from katgen.render.quadlet import UnitTemplate, unit_template
from katgen.render.view import ClusterView, NodeView, PlacedInstance, PlannedWorkload


@dataclass(frozen=True, slots=True)
class WorkloadTemplate:
    """What all instances of a workload's revision have in common, worked out once."""

    unit: UnitTemplate
    probes: tuple[Probe, ...]
    drain_seconds: int


@dataclass(frozen=True, slots=True)
class InstanceFiles:
    """One instance, rendered and digested, its contents dropped."""

    entries: tuple[Entry, ...]
    instance: InstanceEntry
    slots: tuple[SecretSlot, ...]


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """One node, rendered and digested, its contents dropped."""

    instances: Mapping[InstanceKey, InstanceFiles]
    own: tuple[Entry, ...]
    manifest: Manifest


def workload_template(workload: PlannedWorkload, cluster: ClusterView) -> WorkloadTemplate:
    """Return a workload's template."""
    container = workload.objects.workload.spec.container
    balancer = workload.objects.load_balancer
    readiness = container.readiness or (balancer.spec.health_check if balancer else None)
    probes = (_probe("readiness", readiness), _probe("liveness", container.liveness))
    return WorkloadTemplate(
        unit_template(workload, cluster),
        tuple(p for p in probes if p is not None),
        container.drain_seconds,
    )


def _probe(purpose: str, probe: model.Probe | None) -> Probe | None:
    if probe is None:
        return None
    http, tcp = probe.http, probe.tcp
    kind = "http" if http else "tcp" if tcp else "exec"
    port = http.port if http else tcp.port if tcp else 0
    return Probe(
        purpose,
        kind,
        port,
        http.path if http else "",
        probe.initial_delay_seconds,
        probe.period_seconds,
        probe.timeout_seconds,
        probe.success_threshold,
        probe.failure_threshold,
    )


def instance_key(instance: PlacedInstance) -> InstanceKey:
    """Return `<ns>/<workload>/<id>` of a placed instance."""
    placement = instance.placement
    return names.instance(instance.of.key, placement.ordinal, placement.incarnation)


def instance_artifacts(
    instance: PlacedInstance, template: WorkloadTemplate
) -> tuple[Artifact, ...]:
    """Return the files that exist because of one instance."""
    return template.unit.artifacts(instance.placement)


def instance_files(instance: PlacedInstance, template: WorkloadTemplate) -> InstanceFiles:
    """Render one instance and keep its digests."""
    entries = template.unit.entries(instance.placement)
    address = instance.placement.address
    summary = InstanceEntry(
        instance_key(instance), entries[0].unit, address, template.probes, template.drain_seconds
    )
    return InstanceFiles(entries, summary, template.unit.secret_slots(instance.placement))


def node_artifacts(view: NodeView) -> tuple[Artifact, ...]:
    """Return the files that depend on the node's address or on all that runs there."""
    return (
        *networkd.own(view),
        *podmannet.own(view),
        *nft.node(view),
        *tmpfiles.own(view),
    )


def manifest(
    node: NodeName,
    own: Sequence[Entry],
    instances: Mapping[InstanceKey, InstanceFiles],
    uses: tuple[tuple[str, ...], tuple[str, ...]],
) -> Manifest:
    """Return a node's manifest, entries sorted by path; `uses`: shared sets, excluded paths."""
    files = instances.values()
    entries = sorted((*own, *(e for f in files for e in f.entries)), key=_path)
    shared, excludes = uses
    return Manifest(
        format=1,
        node=node,
        entries=tuple(entries),
        shared_sets=shared,
        excludes=excludes,
        instances=tuple(f.instance for f in files),
        secret_slots=tuple(s for f in files for s in f.slots),
    )


def _path(line: Entry) -> str:
    return line.path
