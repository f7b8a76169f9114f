"""Workload (spec §3.2)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from katgen.model.base import Count, Document, Flag, Int, Seconds, Spec, later, spelled
from katgen.model.container import Container, Volume, exactly_one
from katgen.model.text import DnsLabel, GitUrl, LabelKey, LabelValue, Text

WorkloadType = Annotated[
    Literal["Service", "Job", "DaemonService"], spelled("Service", "Job", "DaemonService")
]
Effect = Annotated[
    Literal["NoSchedule", "PreferNoSchedule", "NoExecute"],
    spelled("NoSchedule", "PreferNoSchedule", "NoExecute"),
]
MatchOperator = Annotated[
    Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
    spelled("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
]
Weight = Annotated[int, Field(strict=True, ge=1, le=100)]
ImageRef = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$",
        max_length=1024,
        examples=["docker.io/library/nginx:1.27"],
    ),
]


class Git(Spec):
    url: GitUrl
    branch: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255)] | None
    ) = None
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255)] | None = (
        None
    )
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        exactly_one(self, "branch", "tag", "commit")
        return self


class SourceSpec(Spec):
    """Exactly one of image and git; `cacheImage` only with git."""

    image: ImageRef | None = None
    git: Git | None = None
    cache_image: ImageRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        exactly_one(self, "image", "git")
        if self.cache_image is not None and self.git is None:
            raise ValueError("cacheImage goes with git; with image, leave it out")
        return self


class Rolling(Spec):
    max_surge: Count = 1
    max_unavailable: Count = 0
    pause_after: Count = 0


class UpdateStrategy(Spec):
    type: Annotated[Literal["Rolling", "Simultaneous"], spelled("Rolling", "Simultaneous")] = (
        "Rolling"
    )
    rolling: Rolling = Rolling()
    auto_rollback: Flag = True
    progress_deadline_seconds: Seconds = 300


class RestartPolicy(Spec):
    """`maxRestarts` within `resetSeconds` before systemd gives up; 0 means no limit."""

    condition: Annotated[
        Literal["Always", "OnFailure", "Never"], spelled("Always", "OnFailure", "Never")
    ] = "Always"
    max_restarts: Count = 10
    reset_seconds: Seconds = 300
    backoff_seconds: Seconds = 1


class Expression(Spec):
    """A test of one label. `values` belong to In and NotIn (one or more) and Gt and Lt (one whole number)."""

    key: LabelKey
    operator: MatchOperator
    values: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        count = len(self.values)
        if self.operator in {"In", "NotIn"} and not count:
            raise ValueError(f"operator {self.operator} needs at least one of values")
        if self.operator in {"Exists", "DoesNotExist"} and count:
            raise ValueError(f"operator {self.operator} takes no values; leave them out")
        if self.operator in {"Gt", "Lt"} and (count != 1 or not _is_whole(self.values[0])):
            raise ValueError(f"operator {self.operator} takes one whole number in values")
        return self


def _is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


class NodeTerm(Spec):
    """All of `match` must hold. `weight` counts in preferred terms only."""

    match: Annotated[tuple[Expression, ...], Field(min_length=1)]
    weight: Weight = 1


class NodeAffinity(Spec):
    """Any of `required` must hold; each of `preferred` that holds adds its weight."""

    preferred: tuple[NodeTerm, ...] = ()
    required: tuple[NodeTerm, ...] = ()


class WorkloadTerm(Spec):
    """Workloads by label, compared over the value of the node label `topologyKey` (`node`: the node itself)."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(min_length=1)]
    topology_key: LabelKey = "node"
    weight: Weight = 1


class WorkloadAffinity(Spec):
    preferred: tuple[WorkloadTerm, ...] = ()
    required: tuple[WorkloadTerm, ...] = ()


class Affinity(Spec):
    node: NodeAffinity = NodeAffinity()
    workload: WorkloadAffinity = WorkloadAffinity()
    anti_workload: WorkloadAffinity = WorkloadAffinity()


class Toleration(Spec):
    """Without `key`, every taint (operator Exists). Without `effect`, every effect."""

    key: LabelKey | None = None
    operator: Annotated[Literal["Equal", "Exists"], spelled("Equal", "Exists")] = "Equal"
    value: LabelValue = ""
    effect: Effect | None = None
    toleration_seconds: Seconds | None = Field(default=None, **later("timed tolerations"))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("without key, operator must be Exists")
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value; leave it out")
        return self


class Spread(Spec):
    """Instances per value of `topologyKey` differ by at most `maxSkew`."""

    topology_key: LabelKey
    max_skew: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1


class DependsOn(Spec):
    workload: DnsLabel
    condition: Annotated[
        Literal["Started", "Ready", "Completed"], spelled("Started", "Ready", "Completed")
    ] = "Ready"


class WorkloadSpec(Spec):
    type: WorkloadType
    source: SourceSpec
    replicas: Annotated[int, Field(strict=True, ge=0, le=100_000)] | None = Field(
        default=None, description="Service only; 1 if not given."
    )
    singleton: Flag = Field(default=False, **later("singleton"))
    update_strategy: UpdateStrategy = Field(default=UpdateStrategy(), **later("rollouts"))
    revision_history_limit: Count = Field(default=10, **later("revision history"))
    restart_policy: RestartPolicy = RestartPolicy()
    node_selector: dict[LabelKey, LabelValue] = Field(default={})
    affinity: Affinity = Affinity()
    tolerations: tuple[Toleration, ...] = ()
    spread: tuple[Spread, ...] = ()
    priority: Annotated[Int, Field(ge=-(10**9), le=10**9)] = Field(
        default=0, description="Higher ones are placed first."
    )
    depends_on: tuple[DependsOn, ...] = Field(default=(), **later("dependsOn"))
    isolation: Annotated[
        Literal["userns", "rootless", "host-root"], spelled("userns", "rootless", "host-root")
    ] = Field(
        default="userns",
        description="userns: own fixed uid range; host-root: root of the node, if the namespace allows it.",
        json_schema_extra={"x-kat-later-values": ["rootless"]},
    )
    container: Container = Container()
    volumes: tuple[Volume, ...] = ()
    sidecars: tuple[Container, ...] = Field(default=(), **later("sidecars"))


class Workload(Document):
    """Something to run: its containers, where they may run, and what they need."""

    kind: Literal["Workload"]
    spec: WorkloadSpec
