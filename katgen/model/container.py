"""The container of a Workload (spec §3.2)."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from katgen.model.probe import Probe
from katgen.model.spec import OneOf, Spec
from katgen.model.text import (
    MAX_CONTAINER,
    Command,
    DevicePath,
    DnsLabel,
    EnvName,
    EnvValue,
    ExecWord,
    FileName,
    MountPath,
    PortLabel,
    SubPath,
    WorkingDir,
    check_total,
)
from katgen.model.types import (
    BOTH,
    Capability,
    Cpu,
    Flag,
    Memory,
    Port,
    PositiveCpu,
    PositiveMemory,
    Protocol,
    Seconds,
    Signal,
    UserId,
)

MAX_LISTED: Final = 64
"""Mounts, devices or capabilities of one container."""
MAX_SOURCE: Final = 512
"""Bytes of the path of a volume: volumeBasePath, or a host path, and names."""
_TOGETHER: Final = "command, args, env, exec checks, mounts, devices and capabilities"


class SecretKeyRef(Spec):
    """One value of a Secret in the same namespace."""

    name: DnsLabel = Field(description="The Secret's name.")
    key: FileName = Field(description="Which of its data.")


class ValueFrom(Spec):
    """Where a value comes from, on the node."""

    secret: SecretKeyRef = Field(description="A value of a Secret in the same namespace.")


class EnvVar(OneOf):
    """One variable: a `value`, or a reference that is resolved on the node."""

    one_of: ClassVar = ("value", "value_from")

    name: EnvName = Field(description="Letters, digits, `_`, `.` and `-`.")
    value: EnvValue | None = Field(
        default=None, description="Passed on as it is: nothing in it is replaced."
    )
    value_from: ValueFrom | None = Field(default=None, description="In place of `value`.")


class ContainerPort(Spec):
    """A port that the container listens on."""

    name: PortLabel | None = Field(default=None, description="Gets an SRV record.")
    container_port: Port = Field(description="On the instance's own address.")
    protocol: Protocol = Field(default="TCP", description="Of the port.")
    host_port: Port | None = Field(
        default=None,
        description="Also reachable on the node's own addresses; makes instances exclusive.",
    )


class Amounts(Spec):
    """Amounts of a machine's resources."""

    cpu: Cpu | None = Field(default=None, description="CPUs, as 1, 0.5 or 250m.")
    memory: Memory | None = Field(default=None, description="Bytes, as 128Mi.")


class Limits(Spec):
    """Amounts that are not exceeded."""

    cpu: PositiveCpu | None = Field(default=None, description="CPUs, as 1, 0.5 or 250m.")
    memory: PositiveMemory | None = Field(default=None, description="Bytes, as 128Mi.")


class Gpu(Spec):
    """Whole GPUs of a node."""

    count: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        default=1, description="How many."
    )
    vendor: Annotated[Literal["nvidia", "amd", "intel"], BOTH] = Field(
        default="nvidia", description="Counted on nodes as the custom resource `<vendor>.com/gpu`."
    )


class Resources(Spec):
    """What an instance needs, and what it may use."""

    requests: Amounts = Field(
        default=Amounts(), description="Kept free for it on its node; nothing if not given."
    )
    limits: Limits = Field(default=Limits(), description="Not exceeded; no limit if not given.")
    gpu: Gpu | None = Field(default=None, description="GPUs of its own.")


class VolumeMount(Spec):
    """A volume's place in the container."""

    name: DnsLabel = Field(description="Which of spec.volumes.")
    mount_path: MountPath = Field(description="Where it is seen in the container.")
    sub_path: SubPath = Field(default="", description="A part of the volume, not all of it.")
    read_only: Flag = Field(default=False, description="Whether it cannot be written.")


class Capabilities(Spec):
    """Changes to Podman's default set, of which KAT drops NET_RAW and NET_ADMIN."""

    add: tuple[Capability, ...] = Field(
        default=(),
        max_length=MAX_LISTED,
        description="As NET_BIND_SERVICE; only what the Namespace allows.",
    )
    drop: tuple[Capability, ...] = Field(default=(), max_length=MAX_LISTED, description="As ALL.")


class SecurityContext(Spec):
    """What the container may do."""

    user: UserId | None = Field(
        default=None, description="User id inside the container; the image's if not given."
    )
    read_only_root_filesystem: Flag = Field(
        default=False, description="Whether only volumes can be written."
    )
    capabilities: Capabilities = Field(
        default=Capabilities(), description="Changes to the default set."
    )
    devices: tuple[DevicePath, ...] = Field(
        default=(),
        max_length=MAX_LISTED,
        description="Of the node, as /dev/fuse; only what the Namespace allows.",
    )


class Container(Spec):
    """What runs in each instance."""

    command: Command = Field(default=(), description="Replaces the image's entrypoint.")
    args: tuple[ExecWord, ...] = Field(default=(), description="Replaces the image's command.")
    working_dir: WorkingDir | None = Field(
        default=None, description="Where it starts; the image's if not given."
    )
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], BOTH] = Field(
        default="IfNotPresent", description="When the image is fetched."
    )
    env: tuple[EnvVar, ...] = Field(default=(), description="Variables.")
    ports: tuple[ContainerPort, ...] = Field(default=(), description="What it listens on.")
    resources: Resources = Field(default=Resources(), description="Needs and limits.")
    volume_mounts: tuple[VolumeMount, ...] = Field(
        default=(), max_length=MAX_LISTED, description="Places of volumes."
    )
    security_context: SecurityContext = Field(
        default=SecurityContext(), description="What it may do."
    )
    readiness: Probe | None = Field(
        default=None, description="Whether it gets traffic; without one, while it runs."
    )
    liveness: Probe | None = Field(
        default=None, description="Whether it goes on running; it is restarted if not."
    )
    init: Flag = Field(default=False, description="Run a tiny init as PID 1.")
    stop_signal: Signal = Field(default="SIGTERM", description="Asks it to stop.")
    stop_timeout_seconds: Seconds = Field(default=30, description="Between that and being killed.")
    drain_seconds: Seconds = Field(
        default=5, description="Without new traffic before it is asked to stop."
    )

    @model_validator(mode="after")
    def _fits_one_line(self) -> Self:
        probes = [p.exec.command for p in (self.readiness, self.liveness) if p and p.exec]
        words = [*self.command, *self.args, *(word for command in probes for word in command)]
        env = [f"{one.name}={one.value}" for one in self.env]
        check_total([*words, *env, *self._places()], MAX_CONTAINER, _TOGETHER)
        return self

    def _places(self) -> Iterator[str]:
        """Return paths and capabilities; of a mount's source at least what KAT writes itself."""
        security = self.security_context
        yield from (self.working_dir or "", *security.devices)
        yield from (*security.capabilities.add, *security.capabilities.drop)
        for mount in self.volume_mounts:
            yield mount.mount_path + mount.sub_path
            yield "/" * MAX_SOURCE
