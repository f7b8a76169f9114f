"""The data that planner, checker and renderer share. No logic lives here.

Everything is immutable and keyed so that a new plan can share what did not change with its parent.
"""

from collections.abc import Mapping

import msgspec

from katgen.model.objects import Config
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import InstanceKey, NodeName, Ordinal, WorkloadKey


class Taint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Keeps instances away that do not tolerate it. `effect` is one of the model's three."""

    key: str
    effect: str
    value: str = ""


class Node(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A node as the planner and the renderers see it.

    `allocatable` maps `cpu` (thousandths), `memory` (bytes) and custom resources (counts) to
    amounts; a missing `cpu` or `memory` has no limit, a missing custom resource is absent.
    `gateway` is the node's address in the underlay, `interface` its link there.
    """

    name: NodeName
    labels: Mapping[str, str] = {}
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    allocatable: Mapping[str, int] = {}
    gateway: str = ""
    interface: str = ""
    endpoint: str = ""
    behind_nat: bool = False
    public_key: str = ""
    podman_version: str = ""
    systemd_version: str = ""


class Inventory(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Slow facts about the machines, as planner input.

    `volumes` says where data is that no plan knows of: `<ns>/<workload>/<volume>/<ordinal>` → node.
    `rested` are those of the parent's `resting` that may be used again; the time that this takes is
    the leader's affair.
    `finished` maps a Job to the run numbers that are complete.
    `available` has an entry for each workload whose new revision replaces the earlier one step by
    step: which of its instances are ready now. Without an entry all are replaced at once.
    `lost` are nodes that have not answered for too long. They take nothing that can be elsewhere;
    a rollout goes on without them, and what it would replace there waits.
    """

    nodes: Mapping[NodeName, Node]
    volumes: Mapping[str, NodeName] = {}
    rested: frozenset[str] = frozenset()
    finished: Mapping[WorkloadKey, frozenset[int]] = {}
    available: Mapping[WorkloadKey, frozenset[InstanceKey]] = {}
    lost: frozenset[NodeName] = frozenset()


class Placement(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """One instance on its node. `address` is dotted; `gpus` are device numbers on the node.

    `stop_first`: the instance is exclusive (spec §4) and starts only after its predecessor is gone.
    """

    ordinal: Ordinal
    incarnation: int
    revision: str
    node: NodeName
    address: str
    gpus: tuple[int, ...] = ()
    stop_first: bool = False


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why `count` nodes cannot take an instance. `node` comes closest; its numbers are shown.

    Without a node ('' and 0) the reason is about no node: a quota, say.
    """

    reason: str
    count: int = 1
    node: NodeName = NodeName("")


class Unplaced(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance that no node can take now, with every reason and how many nodes gave it.

    What already runs under this ordinal goes on running meanwhile: then there is a placement too.
    """

    ordinal: Ordinal
    refusals: tuple[Refusal, ...]


class WorkloadPlan(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """All decisions for one workload.

    `revision` is a hash of whatever rolls its instances. `uid_base` is the first of 65,536 host
    uids, 0 for host-root.
    `virtual_address` is '' without a VirtualLoadBalancer. Placements are sorted by `sort_ordinal`,
    then by incarnation; an ordinal has two while one revision replaces another step by step.
    `homes` are the nodes that hold data of ordinals which do not run now.
    """

    revision: str
    next_incarnation: int
    uid_base: int = 0
    virtual_address: str = ""
    placements: tuple[Placement, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    homes: Mapping[Ordinal, NodeName] = {}


class Resting(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An address (dotted) or subnet (CIDR) that had an owner and may not have another yet."""

    resource: str
    owner: str
    released_generation: int


class Retired(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What outlives a deleted workload: incarnations are never used again, data keeps its uids.

    A workload that became host-root has one too, for the uids that its data still has.
    """

    next_incarnation: int
    uid_base: int = 0
    homes: Mapping[Ordinal, NodeName] = {}


class Earlier(msgspec.Struct, frozen=True, omit_defaults=True):
    """What instances of an earlier revision were made of: its objects, and what these name.

    `secrets` are the keys of each Secret. Kept as long as an instance of it is placed, so that its
    files are rendered as ever.
    """

    objects: WorkloadObjects
    configs: Mapping[WorkloadKey, Config] = {}
    secrets: Mapping[WorkloadKey, tuple[str, ...]] = {}


class Plan(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Every decision. `parent` is the generation before; the first has generation 1, parent 0.

    `subnets` gives each node's part of clusterCIDR, also for nodes that are gone until it has
    rested. `earlier` has, by workload and revision, what placements of other revisions than the
    workload's own were made of.
    """

    format: int
    generation: int
    parent: int
    specs: Specs
    inventory: Inventory
    subnets: Mapping[NodeName, str]
    workloads: Mapping[WorkloadKey, WorkloadPlan]
    resting: Mapping[str, Resting] = {}
    retired: Mapping[WorkloadKey, Retired] = {}
    earlier: Mapping[WorkloadKey, Mapping[str, Earlier]] = {}


def sort_ordinal(ordinal: str) -> tuple[int, str]:
    """Order ordinals: numbers by value, then node names by text."""
    return (int(ordinal), "") if ordinal.isdecimal() else (2**63, ordinal)
