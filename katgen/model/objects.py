"""The smaller kinds (spec §3.3 to §3.7)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from katgen.model.probe import Probe
from katgen.model.spec import ClusterWideMetadata, Document, Spec, later
from katgen.model.text import (
    AbsolutePath,
    ContextPath,
    DnsLabel,
    DockerfilePath,
    EnvName,
    EnvValue,
    FileContent,
    FileName,
    LabelKey,
    LabelValue,
    NamespaceName,
    PortLabel,
    Text,
)
from katgen.model.types import (
    BOTH,
    BuildStage,
    Capability,
    Count,
    Cpu,
    Flag,
    HostPattern,
    Memory,
    Percent,
    Platform,
    Port,
    PositiveSeconds,
    Protocol,
    Registry,
    Seconds,
    TimeZone,
    UrlPath,
)

Runs = Annotated[int, Field(strict=True, ge=1, le=10_000)]


class ServicePort(Spec):
    """A port of the virtual address."""

    name: PortLabel | None = Field(default=None, description="Gets an SRV record.")
    port: Port = Field(description="On the virtual address.")
    target_port: Port | None = Field(
        default=None, description="On the instances; `port` if not given."
    )
    protocol: Protocol = Field(default="TCP", description="Of the port.")


class Tls(Spec):
    """Where a certificate comes from: exactly one of `secretName` and `acme: true`."""

    secret_name: DnsLabel | None = Field(
        default=None, description="A Secret with `tls.crt` and `tls.key`, PEM."
    )
    acme: Flag = Field(default=False, description="Ask an ACME server.", **later("ACME"))

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.acme == (self.secret_name is not None):
            got = "both" if self.acme else "none"
            raise ValueError(f"{got} given; give exactly one of secretName, acme: true")
        return self


class Ingress(Spec):
    """A name under which a proxy makes the service reachable from outside."""

    host: HostPattern = Field(description="As shop.example.org; `*.` at most at the beginning.")
    path: UrlPath = Field(default="/", description="The beginning of the paths that are meant.")
    service_port: Port = Field(description="Which of `ports`, by its `port`.")
    provider: Annotated[Literal["traefik", "caddy"], BOTH] = Field(
        default="traefik",
        description="The proxy, whose configuration is written.",
        **later("", "caddy"),
    )
    tls: Tls | None = Field(default=None, description="HTTPS; plain HTTP if not given.")


class VirtualLoadBalancerSpec(Spec):
    """What the virtual address offers."""

    ports: Annotated[tuple[ServicePort, ...], Field(min_length=1)] = Field(
        description="At least one."
    )
    health_check: Probe | None = Field(
        default=None, description="Another place for the Workload's readiness; not both."
    )
    affinity: Annotated[Literal["None", "ClientIP"], BOTH] = Field(
        default="None", description="`ClientIP`: a client stays with the instance it had."
    )
    panic_threshold: Percent = Field(
        default=50,
        description="If less than this percentage of the instances that have been ready is so, "
        "these all get traffic; as long as none has been, all do, unless it is 0.",
    )
    external: Flag = Field(
        default=False,
        description="Also an address from externalCIDR.",
        **later("external addresses"),
    )
    ingress: tuple[Ingress, ...] = Field(default=(), description="Names for the outside.")


class VirtualLoadBalancer(Document):
    """A stable virtual address and name for the instances of the Workload of the same name."""

    kind: Literal["VirtualLoadBalancer"] = Field(description="This kind.")
    spec: VirtualLoadBalancerSpec = Field(description="What the virtual address offers.")


class JobSpec(Spec):
    """When and how often. Each run happens at least once."""

    schedule: Text | None = Field(
        default=None,
        description="Five-field cron, `@daily` and the like, or a calendar expression of systemd; "
        "if not given, at once.",
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Of the schedule, as Europe/Berlin; if not given, the node's."
    )
    completions: Runs = Field(default=1, description="Runs that must succeed.")
    parallelism: Runs = Field(default=1, description="Runs at the same time.")
    active_deadline_seconds: PositiveSeconds | None = Field(
        default=None, description="A run that takes longer is stopped and has failed."
    )
    backoff_limit: Count = Field(default=6, description="Attempts after the first.")
    backoff_seconds: Seconds = Field(default=10, description="Before another attempt.")
    concurrency_policy: Annotated[Literal["Allow", "Forbid", "Replace"], BOTH] = Field(
        default="Forbid",
        description="When it is time and the last run goes on: `Allow` both, `Forbid` the new "
        "one, `Replace` the old one.",
        **later("", "Allow", "Replace"),
    )
    history_limit: Count = Field(
        default=3, description="Finished runs that are remembered.", **later("job history")
    )

    @model_validator(mode="after")
    def _one_run_at_a_time(self) -> Self:
        if self.schedule is not None and (self.completions, self.parallelism) != (1, 1):
            raise ValueError(
                "completions and parallelism go without schedule: a timer starts one run; leave "
                "them out, or write several jobs"
            )
        return self


class JobDefinition(Document):
    """When and how often the Workload of the same name, of type Job, runs."""

    kind: Literal["JobDefinition"] = Field(description="This kind.")
    spec: JobSpec = Field(description="When and how often.")


class BuildSpec(Spec):
    """How an image is made of a repository."""

    build_context: ContextPath = Field(
        default=".", description="Folder of the repository that the build sees."
    )
    dockerfile_path: DockerfilePath = Field(
        default="Dockerfile", description="From the build context."
    )
    build_args: dict[EnvName, EnvValue] = Field(default={}, description="For `ARG` lines.")
    target_stage: BuildStage | None = Field(
        default=None, description="Stage to stop after; the last if not given."
    )
    platform: Platform | None = Field(
        default=None, description="As linux/amd64; the node's if not given."
    )
    registry: Registry | None = Field(default=None, description="Where the image is pushed.")


class BuildDefinition(Document):
    """How the image of the Workload of the same name is built from its git source."""

    kind: Literal["BuildDefinition"] = Field(description="This kind.")
    spec: BuildSpec = Field(description="How the image is made.")


class Quota(Spec):
    """An upper limit of all of a namespace's instances together."""

    cpu: Cpu | None = Field(default=None, description="Sum of requests, in CPUs.")
    memory: Memory | None = Field(default=None, description="Sum of requests, in bytes.")
    instances: Count | None = Field(default=None, description="How many.")


class NamespaceSpec(Spec):
    """What a namespace may do. Everything dangerous is off, or empty, by default."""

    isolated: Flag = Field(
        default=False, description="Reachable only from the same namespace and through ingress."
    )
    quota: Quota = Field(default=Quota(), description="An upper limit of all its instances.")
    defaults: dict[LabelKey, LabelValue] = Field(
        default={}, description="For its workloads.", **later("namespace defaults")
    )
    allow_host_root: Flag = Field(
        default=False, description="Whether `isolation: host-root` is allowed."
    )
    allowed_host_paths: tuple[AbsolutePath, ...] = Field(
        default=(), description="Paths, with all below them, that hostMount may name."
    )
    allowed_devices: tuple[AbsolutePath, ...] = Field(
        default=(), description="Devices, or folders of them, that containers may have."
    )
    allowed_capabilities: tuple[Capability, ...] = Field(
        default=(), description="Capabilities that containers may add, as NET_BIND_SERVICE."
    )


class NamespaceMetadata(ClusterWideMetadata):
    """Names a namespace."""

    name: NamespaceName = Field(description="A DNS label; `node` is reserved.")


class Namespace(Document):
    """A group of objects with its own isolation, quota and permissions.

    A namespace that is only named by objects has the defaults.
    """

    kind: Literal["Namespace"] = Field(description="This kind.")
    metadata: NamespaceMetadata = Field(description="Its names.")
    spec: NamespaceSpec = Field(default=NamespaceSpec(), description="What its objects may do.")


class Config(Document):
    """Files for the workloads of a namespace; a change rolls the workloads that use it."""

    kind: Literal["Config"] = Field(description="This kind.")
    data: dict[FileName, FileContent] = Field(default={}, description="Content by file name.")


class Secret(Document):
    """Values that never reach a unit, plan, bundle, log or error. Offline only their keys count."""

    kind: Literal["Secret"] = Field(description="This kind.")
    data: dict[FileName, FileContent] = Field(default={}, description="Value by key.", repr=False)
