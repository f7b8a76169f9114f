"""The [Container] section of an instance, without its volumes."""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from katgen import names
from katgen.model.container import Container, SecurityContext
from katgen.model.probe import Probe
from katgen.model.workload import Git
from katgen.render import unitfile
from katgen.render.lines import Slots
from katgen.render.mounts import SECRETS
from katgen.render.unitfile import Variables
from katgen.render.view import ClusterView, PlannedWorkload

UID_RANGE: Final = 65536
PULL: Final = {"Always": "newer", "IfNotPresent": "missing", "Never": "never"}
"""`newer` and not `always`: an image that is there starts without its registry (fail static)."""
GPU_DEVICES: Final = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "intel.com/gpu"}
"""Kinds of the vendors' CDI files."""
SHOWN: Final = 64
"""Characters of a commit, tag or branch in an image's tag, which has at most 128."""
_DROPPED: Final = ("NET_ADMIN", "NET_RAW")
"""With these a container could take another's address."""


def built_image(workload: PlannedWorkload, git: Git) -> str:
    """Return the name of the image that a build unit makes.

    By commit, and by whatever else decides what is built, so that another build is another image.
    """
    build = workload.objects.build
    registry = build.spec.registry if build else None
    inputs = [x.model_dump_json(exclude_defaults=True) for x in (git, build and build.spec) if x]
    digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:8]
    shown = git.commit or re.sub(r"[^A-Za-z0-9]+", "-", git.tag or git.branch or "").strip("-")
    return f"{registry or 'localhost/kat'}/{workload.key}:{shown[:SHOWN]}-{digest}"


def lines(
    workload: PlannedWorkload, cluster: ClusterView, slots: Slots, variables: Variables
) -> Iterator[str]:
    """Return the lines of a workload's instances."""
    container = workload.objects.workload.spec.container
    yield f"ContainerName={slots.stem}"
    yield from _image(workload, variables)
    yield from _command(container, variables)
    yield from _environment(container, slots, variables)
    yield from _labels(workload, slots, variables)
    yield from _network(workload, cluster, slots)
    yield from _security(container.security_context, variables)
    if workload.plan.uid_base:
        yield f"UIDMap=0:{workload.plan.uid_base}:{UID_RANGE}"
        yield f"GIDMap=0:{workload.plan.uid_base}:{UID_RANGE}"
    yield from _lifecycle(container, is_job=workload.objects.workload.spec.type == "Job")
    yield from _health(workload, variables)


def _image(workload: PlannedWorkload, variables: Variables) -> Iterator[str]:
    spec = workload.objects.workload.spec
    git = spec.source.git
    if git is None:
        image = spec.source.image or ""
        yield unitfile.image(image, variables)
        # The leader resolves images to digests, and the agent fetches those before the start.
        yield f"Pull={'never' if '@' in image else PULL[spec.container.image_pull_policy]}"
    else:
        yield unitfile.image(built_image(workload, git), variables)
        yield "Pull=never"


def _command(container: Container, variables: Variables) -> Iterator[str]:
    """Return the lines of command, args and folder.

    Podman, as Kubernetes, leaves out the image's own arguments if the entrypoint is replaced.
    """
    if container.command:
        yield unitfile.entrypoint(container.command[0], variables)
    yield from unitfile.arguments([*container.command[1:], *container.args], variables)
    if container.working_dir is not None:
        yield f"WorkingDir={unitfile.raw(container.working_dir, variables)}"


def _environment(container: Container, slots: Slots, variables: Variables) -> Iterator[str]:
    """Return the lines of variables.

    Secrets come from files: what stands in a unit can be read by every user of the node.
    """
    for one in container.env:
        if one.value is not None:
            yield unitfile.environment(one.name, one.value, variables)
    for one in container.env:
        if one.value_from is not None:
            yield f"EnvironmentFile={SECRETS}/{slots.stem}/env/{one.name}"


def _labels(workload: PlannedWorkload, slots: Slots, variables: Variables) -> Iterator[str]:
    """Return the user's labels, then KAT's own: the last of two with one key counts."""
    metadata = workload.objects.workload.metadata
    for key, value in sorted(metadata.labels.items()):
        yield unitfile.label(key, value, variables)
    own = {
        "kat.namespace": metadata.namespace,
        "kat.workload": metadata.name,
        "kat.revision": workload.plan.revision,
        "kat.instance": slots.instance,
    }
    for key, value in own.items():
        yield unitfile.label(key, value, variables)


def _network(workload: PlannedWorkload, cluster: ClusterView, slots: Slots) -> Iterator[str]:
    namespace, name = names.split_key(workload.key)
    yield (
        f"Network=kat:ip={slots.address},mac={slots.mac},host_interface_name={slots.bridge_port}"
    )
    yield f"HostName={names.hostname(name, slots.ordinal)}"
    yield f"DNS={slots.gateway}"
    yield f"DNSSearch={names.zone(namespace, cluster.spec.cluster_domain)}"


def _security(context: SecurityContext, variables: Variables) -> Iterator[str]:
    if context.user is not None:
        yield f"User={context.user}"
    yield "NoNewPrivileges=true"
    added = {name.removeprefix("CAP_") for name in context.capabilities.add}
    dropped = {name.removeprefix("CAP_") for name in context.capabilities.drop}
    # Podman refuses a capability that is both added and dropped; ALL goes with any.
    gone = {"ALL"} if "ALL" in dropped else {*_DROPPED, *dropped} - added
    for key, which in (("DropCapability", gone), ("AddCapability", added)):
        if which:
            yield f"{key}={' '.join(sorted(which))}"
    if context.read_only_root_filesystem:
        yield "ReadOnly=true"
    for path in context.devices:
        yield unitfile.device(path, variables)


def _lifecycle(container: Container, *, is_job: bool) -> Iterator[str]:
    # A job's podman stays, and would say again what its monitor writes to the journal.
    yield f"LogDriver={'passthrough' if is_job else 'journald'}"
    if container.init:
        yield "RunInit=true"
    yield f"StopSignal={container.stop_signal}"
    yield f"StopTimeout={container.stop_timeout_seconds}"


def readiness(workload: PlannedWorkload) -> Probe | None:
    """Return the readiness check, from either of its two places."""
    balancer = workload.objects.load_balancer
    own = workload.objects.workload.spec.container.readiness
    return own or (balancer.spec.health_check if balancer else None)


def _health(workload: PlannedWorkload, variables: Variables) -> Iterator[str]:
    """Return the lines of liveness by command, which holds with no agent; the rest is the agent's.

    Podman has one check, its own interval, and no thresholds of success: docs/adr/0021-health.md.
    """
    live = workload.objects.workload.spec.container.liveness
    if live is None or live.exec is None:
        return
    yield f"HealthCmd={unitfile.health_command(live.exec.command, variables)}"
    yield f"HealthInterval={live.period_seconds}s"
    yield f"HealthTimeout={live.timeout_seconds}s"
    yield f"HealthRetries={live.failure_threshold}"
    yield f"HealthStartPeriod={live.initial_delay_seconds}s"
    yield "HealthOnFailure=kill"
