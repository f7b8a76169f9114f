"""The container of a Workload, and its volumes (spec §3.2)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from katgen.model.base import Cpu, Flag, Memory, Port, Seconds, Spec, later, spelled
from katgen.model.text import (
    MAX_CONTAINER,
    AbsolutePath,
    Command,
    DevicePath,
    DnsLabel,
    EnvName,
    EnvValue,
    ExecWord,
    FileName,
    HealthCommand,
    RelativePath,
    check_total,
)

Protocol = Annotated[Literal["TCP", "UDP"], spelled("TCP", "UDP")]
OctalMode = Annotated[str, Field(pattern=r"^0?[0-7]{3}$")]
UserId = Annotated[int, Field(strict=True, ge=0, le=65535)]
Capability = Annotated[str, Field(pattern=r"^(CAP_)?[A-Z][A-Z0-9_]{1,40}$")]


def exactly_one(model: Spec, *names: str) -> None:
    """Raise ValueError unless exactly one of the fields is given."""
    given = [n for n in names if getattr(model, n) is not None]
    if len(given) != 1:
        fields = type(model).model_fields
        shown = ", ".join(str(fields[n].alias) for n in names)
        raise ValueError(f"give exactly one of {shown}; {len(given) or 'none'} given")


class SecretKeyRef(Spec):
    """One value of a Secret in the same namespace."""

    name: DnsLabel
    key: FileName


class ValueFrom(Spec):
    secret: SecretKeyRef


class EnvVar(Spec):
    """One variable: a `value`, or a reference that is resolved on the node."""

    name: EnvName
    value: EnvValue | None = None
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        exactly_one(self, "value", "value_from")
        return self


class ContainerPort(Spec):
    name: DnsLabel | None = None
    container_port: Port
    protocol: Protocol = "TCP"
    host_port: Port | None = Field(
        default=None,
        description="Also reachable on the node's own addresses; makes instances exclusive.",
    )


class Amounts(Spec):
    """CPU in CPUs, memory in bytes; none means no request or no limit."""

    cpu: Cpu | None = None
    memory: Memory | None = None


class Gpu(Spec):
    count: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    vendor: Literal["nvidia", "amd", "intel"] = "nvidia"


class Resources(Spec):
    requests: Amounts = Amounts()
    limits: Amounts = Amounts()
    gpu: Gpu | None = None


class VolumeMount(Spec):
    name: DnsLabel = Field(description="Which of spec.volumes.")
    mount_path: AbsolutePath
    sub_path: RelativePath = ""
    read_only: Flag = False


class Capabilities(Spec):
    """NET_RAW and NET_ADMIN are dropped unless added."""

    add: tuple[Capability, ...] = ()
    drop: tuple[Capability, ...] = ()


class SecurityContext(Spec):
    user: UserId | None = Field(default=None, description="User id inside the container.")
    read_only_root_filesystem: Flag = False
    capabilities: Capabilities = Capabilities()
    devices: tuple[DevicePath, ...] = ()


class HttpCheck(Spec):
    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$", max_length=2048)] = "/"
    port: Port


class TcpCheck(Spec):
    port: Port


class ExecCheck(Spec):
    command: Annotated[HealthCommand, Field(min_length=1)]


class Probe(Spec):
    """Exactly one of http, tcp, exec."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Annotated[int, Field(strict=True, ge=1, le=86400)] = 10
    timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=86400)] = 3
    success_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    failure_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] = 3

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        exactly_one(self, "http", "tcp", "exec")
        return self


class Container(Spec):
    command: Command = Field(default=(), description="Replaces the image's entrypoint.")
    args: tuple[ExecWord, ...] = ()
    working_dir: AbsolutePath | None = None
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], spelled("Always", "IfNotPresent", "Never")
    ] = "IfNotPresent"
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext = SecurityContext()
    readiness: Probe | None = None
    liveness: Probe | None = None
    init: Flag = Field(default=False, description="Run a tiny init as PID 1.")
    stop_signal: Annotated[str, Field(pattern=r"^SIG[A-Z0-9+-]{2,12}$")] = "SIGTERM"
    stop_timeout_seconds: Seconds = 30
    drain_seconds: Seconds = 5

    @model_validator(mode="after")
    def _fits_one_line(self) -> Self:
        probes = [p.exec.command for p in (self.readiness, self.liveness) if p and p.exec]
        words = [*self.command, *self.args, *(word for command in probes for word in command)]
        env = [f"{one.name}={one.value}" for one in self.env]
        check_total([*words, *env], MAX_CONTAINER, "command, args, env and exec checks")
        return self


class SimpleClusterStorage(Spec):
    """A directory below volumeBasePath; the instance stays where its data is."""

    shared: Flag = Field(default=False, description="One directory for all instances on a node.")


class HostMount(Spec):
    host_path: AbsolutePath
    ensure_type: Annotated[
        Literal["Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"],
        spelled("Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
    ] = "Directory"


class ConfigVolume(Spec):
    name: DnsLabel


class SecretVolume(Spec):
    name: DnsLabel
    mode: OctalMode = "0400"
    user: UserId = Field(default=0, description="Owner inside the container.")


class Nfs(Spec):
    server: str
    path: AbsolutePath
    options: str = ""


class Cifs(Spec):
    share: str
    options: str = ""


class Tmpfs(Spec):
    size: Memory | None = None


class Volume(Spec):
    """Exactly one source."""

    name: DnsLabel
    simple_cluster_storage: SimpleClusterStorage | None = None
    host_mount: HostMount | None = None
    config: ConfigVolume | None = None
    secret: SecretVolume | None = None
    tmpfs: Tmpfs | None = None
    nfs: Nfs | None = Field(default=None, **later("NFS volumes"))
    cifs: Cifs | None = Field(default=None, **later("CIFS volumes"))

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        exactly_one(
            self, "simple_cluster_storage", "host_mount", "config", "secret", "tmpfs", "nfs", "cifs"
        )
        return self
