"""Where instances may run, and where they should (spec §3.2)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from katgen.model.spec import Spec, later
from katgen.model.text import LabelKey, LabelValue, Text
from katgen.model.types import BOTH, Effect, Operator, Seconds, Weight


class Expression(Spec):
    """A test of one label of a node."""

    key: LabelKey = Field(description="The label.")
    operator: Operator = Field(description="How it is compared.")
    values: tuple[Text, ...] = Field(
        default=(), description="One or more for In and NotIn; one whole number for Gt and Lt."
    )

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
    """A kind of node: all of `match` must hold."""

    match: Annotated[tuple[Expression, ...], Field(min_length=1)] = Field(
        description="Tests of the node's labels."
    )
    weight: Weight = Field(default=1, description="Among preferred terms.")


class NodeAffinity(Spec):
    """Nodes by their labels."""

    preferred: tuple[NodeTerm, ...] = Field(
        default=(), description="Each that holds adds its weight."
    )
    required: tuple[NodeTerm, ...] = Field(default=(), description="One of them must hold.")


class WorkloadTerm(Spec):
    """Workloads of the same namespace by label, and how near is near."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(min_length=1)] = Field(
        description="All of them must be the workload's."
    )
    topology_key: LabelKey = Field(
        default="node",
        description="Near is where this node label has the same value; `node` is the node itself.",
    )
    weight: Weight = Field(default=1, description="Among preferred terms.")


class WorkloadAffinity(Spec):
    """Instances by the labels of their workloads."""

    preferred: tuple[WorkloadTerm, ...] = Field(
        default=(), description="Each that holds adds its weight."
    )
    required: tuple[WorkloadTerm, ...] = Field(default=(), description="All of them must hold.")


class Affinity(Spec):
    """Which nodes and neighbours an instance wants."""

    node: NodeAffinity = Field(default=NodeAffinity(), description="Nodes by label.")
    workload: WorkloadAffinity = Field(
        default=WorkloadAffinity(), description="Neighbours it wants."
    )
    anti_workload: WorkloadAffinity = Field(
        default=WorkloadAffinity(), description="Neighbours it does not want."
    )


class Toleration(Spec):
    """A taint that does not keep the instances away."""

    key: LabelKey | None = Field(
        default=None, description="The taint's; every taint if not given, with `Exists`."
    )
    operator: Annotated[Literal["Equal", "Exists"], BOTH] = Field(
        default="Equal", description="`Exists` takes every value."
    )
    value: LabelValue = Field(default="", description="The taint's.")
    effect: Effect | None = Field(
        default=None, description="The taint's; every effect if not given."
    )
    toleration_seconds: Seconds | None = Field(
        default=None,
        description="How long an instance stays on a node with NoExecute.",
        **later("timed tolerations"),
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("operator Equal needs a key; give one, or use operator Exists")
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value; leave it out")
        return self


class Spread(Spec):
    """Even numbers over parts of the cluster."""

    topology_key: LabelKey = Field(description="Parts are nodes with one value of this label.")
    max_skew: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        default=1, description="Most that one part may have more than another."
    )
