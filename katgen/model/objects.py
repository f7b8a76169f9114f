"""The smaller kinds (spec §3.3 to §3.7)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from katgen.model.base import (
    Count,
    Cpu,
    Document,
    Flag,
    Memory,
    Metadata,
    Port,
    Seconds,
    Spec,
    later,
    spelled,
)
from katgen.model.calendar import on_calendar
from katgen.model.container import Capability, Probe, Protocol
from katgen.model.text import (
    AbsolutePath,
    ContextPath,
    DnsLabel,
    EnvName,
    EnvValue,
    FileContent,
    FileName,
    LabelKey,
    LabelValue,
    NamespaceName,
    RelativePath,
    Text,
)

HostPattern = Annotated[
    str,
    Field(
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        max_length=253,
    ),
]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$", max_length=2048)]


class ServicePort(Spec):
    name: DnsLabel | None = None
    port: Port
    target_port: Port | None = Field(default=None, description="`port` if not given.")
    protocol: Protocol = "TCP"


class Tls(Spec):
    secret_name: DnsLabel | None = None
    acme: Flag = Field(default=False, **later("ACME"))


class Ingress(Spec):
    host: HostPattern
    path: UrlPath = "/"
    service_port: Port
    provider: Annotated[Literal["traefik", "caddy"], spelled("traefik", "caddy")] = Field(
        default="traefik", json_schema_extra={"x-kat-later-values": ["caddy"]}
    )
    tls: Tls | None = None


class VirtualLoadBalancerSpec(Spec):
    ports: Annotated[tuple[ServicePort, ...], Field(min_length=1)]
    health_check: Probe | None = Field(
        default=None, description="Another place for the Workload's readiness."
    )
    affinity: Annotated[Literal["None", "ClientIP"], spelled("None", "ClientIP")] = "None"
    panic_threshold: Annotated[int, Field(strict=True, ge=0, le=100)] = 50
    external: Flag = Field(default=False, **later("external addresses"))
    ingress: tuple[Ingress, ...] = ()


class VirtualLoadBalancer(Document):
    """A stable virtual address and name for the instances of the Workload of the same name."""

    kind: Literal["VirtualLoadBalancer"]
    spec: VirtualLoadBalancerSpec


class JobSpec(Spec):
    """Without `schedule`, the job runs to completion once."""

    schedule: Text | None = Field(
        default=None,
        description="Five-field cron, @daily and friends, or a systemd calendar expression.",
    )
    time_zone: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", max_length=64)] | None
    ) = None
    completions: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    parallelism: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    active_deadline_seconds: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None
    backoff_limit: Count = 6
    backoff_seconds: Seconds = 10
    concurrency_policy: Annotated[
        Literal["Allow", "Forbid", "Replace"], spelled("Allow", "Forbid", "Replace")
    ] = "Forbid"
    history_limit: Count = Field(default=3, **later("job history"))

    @model_validator(mode="after")
    def _schedule_is_one(self) -> Self:
        if self.schedule is not None:
            on_calendar(self.schedule, self.time_zone)
        return self


class JobDefinition(Document):
    """When and how often the Workload of the same name, of type Job, runs."""

    kind: Literal["JobDefinition"]
    spec: JobSpec


class BuildSpec(Spec):
    build_context: ContextPath = "."
    dockerfile_path: RelativePath = "Dockerfile"
    build_args: dict[EnvName, EnvValue] = Field(default={})
    target_stage: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)] | None
    ) = None
    platform: Annotated[str, Field(pattern=r"^linux/[a-z0-9]+(/v[0-9]+)?$")] | None = None
    registry: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$", max_length=512)] | None
    ) = None


class BuildDefinition(Document):
    """How the image of the Workload of the same name is built from its git source."""

    kind: Literal["BuildDefinition"]
    spec: BuildSpec


class Quota(Spec):
    cpu: Cpu | None = None
    memory: Memory | None = None
    instances: Count | None = None


class NamespaceSpec(Spec):
    """What a namespace may do. Everything dangerous is off, or empty, by default."""

    isolated: Flag = Field(
        default=False, description="Reachable only from the same namespace and through ingress."
    )
    quota: Quota = Quota()
    defaults: dict[LabelKey, LabelValue] = Field(default={}, **later("namespace defaults"))
    allow_host_root: Flag = False
    allowed_host_paths: tuple[AbsolutePath, ...] = ()
    allowed_devices: tuple[AbsolutePath, ...] = ()
    allowed_capabilities: tuple[Capability, ...] = ()


class NamespaceMetadata(Metadata):
    """A Namespace is cluster-wide: it has no namespace of its own."""

    name: NamespaceName

    @model_validator(mode="after")
    def _cluster_wide(self) -> Self:
        if "namespace" in self.model_fields_set:
            raise ValueError("this kind belongs to no namespace; remove metadata.namespace")
        return self


class Namespace(Document):
    """A group of objects with its own isolation, quota and permissions."""

    kind: Literal["Namespace"]
    metadata: NamespaceMetadata
    spec: NamespaceSpec = NamespaceSpec()


class Config(Document):
    """Files for the workloads of a namespace; a change rolls the workloads that use it."""

    kind: Literal["Config"]
    data: dict[FileName, FileContent] = Field(default={})


class Secret(Document):
    """Values that never reach a unit, plan, bundle, log or error; offline, only their keys count."""

    kind: Literal["Secret"]
    data: dict[FileName, FileContent] = Field(default={}, repr=False)
