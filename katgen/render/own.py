"""What one node gets for itself: its instances' units, and the files that depend on its address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from katgen import names
from katgen.bundle import Artifact, Entry, InstanceEntry, Manifest, Probe, SecretSlot
from katgen.model import probe as model
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.render import dns, networkd, nft, podmannet, tmpfiles
from katgen.render.container import readiness
from katgen.render.quadlet import UnitTemplate, unit_template
from katgen.render.shared import used_by
from katgen.render.view import ClusterView, NodeView, PlacedInstance, PlannedWorkload

_path = attrgetter("path")


@dataclass(frozen=True, slots=True)
class WorkloadTemplate:
    """What all instances of a workload's revision have in common, worked out once.

    `uses` are the shared sets that a node needs because of the workload. `earlier` has, by
    revision, the templates of instances that are of another one.
    """

    unit: UnitTemplate
    probes: tuple[Probe, ...]
    drain_seconds: int
    restart_policy: str
    is_run: bool
    uses: tuple[str, ...]
    has_secrets: bool
    earlier: Mapping[str, "WorkloadTemplate"] = field(default_factory=dict)

    def of_revision(self, revision: str) -> "WorkloadTemplate":
        """Return the template of an instance of a revision."""
        return self.earlier.get(revision, self) if self.earlier else self


class InstanceFiles(msgspec.Struct, frozen=True, gc=False):
    """One instance, rendered and digested, its contents dropped; `of` is what it came from."""

    of: WorkloadTemplate
    entries: tuple[Entry, ...]
    instance: InstanceEntry
    slots: tuple[SecretSlot, ...]


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """One node, rendered and digested, its contents dropped; `fixed` depends on its address."""

    instances: Mapping[InstanceKey, InstanceFiles]
    fixed: tuple[Entry, ...]
    manifest: Manifest


def workload_template(workload: PlannedWorkload, cluster: ClusterView) -> WorkloadTemplate:
    """Return a workload's template, and those of its earlier revisions within it."""
    spec = workload.objects.workload.spec
    container = spec.container
    probes = (_probe("readiness", readiness(workload)), _probe("liveness", container.liveness))
    by_reference = any(variable.value_from for variable in container.env)
    return WorkloadTemplate(
        unit_template(workload, cluster),
        tuple(p for p in probes if p is not None),
        container.drain_seconds,
        spec.restart_policy.condition,
        spec.type == "Job",
        used_by(workload),
        has_secrets=by_reference or bool(workload.secret_keys),
        earlier={r: workload_template(one, cluster) for r, one in workload.earlier.items()},
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
        probe.exec.command if probe.exec else (),
    )


def instance_key(instance: PlacedInstance) -> InstanceKey:
    """Return `<ns>/<workload>/<id>` of a placed instance."""
    placement = instance.placement
    return names.instance(instance.of.key, placement.ordinal, placement.incarnation)


def template_of(
    instance: PlacedInstance, templates: Mapping[WorkloadKey, WorkloadTemplate]
) -> WorkloadTemplate:
    """Return the template of a placed instance: its workload's, or an earlier one."""
    return templates[instance.of.key].of_revision(instance.placement.revision)


def instance_artifacts(
    instance: PlacedInstance, template: WorkloadTemplate
) -> tuple[Artifact, ...]:
    """Return the files that exist because of one instance."""
    return template.unit.artifacts(instance.placement)


def instance_files(instance: PlacedInstance, template: WorkloadTemplate) -> InstanceFiles:
    """Render one instance and keep its digests."""
    placement = instance.placement
    entries = template.unit.entries(placement)
    summary = InstanceEntry(
        names.instance(instance.of.key, placement.ordinal, placement.incarnation),
        entries[0].unit,
        placement.address,
        template.probes,
        template.drain_seconds,
        template.restart_policy,
        template.is_run,
    )
    slots = template.unit.secret_slots(placement) if template.has_secrets else ()
    return InstanceFiles(template, entries, summary, slots)


def fixed_artifacts(view: NodeView) -> tuple[Artifact, ...]:
    """Return the files that depend on the node's address, and not on what runs there."""
    return (*networkd.own(view), *podmannet.own(view), *dns.own(view))


def moving_artifacts(view: NodeView) -> tuple[Artifact, ...]:
    """Return the files that depend on all that runs on the node."""
    return (*nft.node(view), *tmpfiles.own(view))


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
