"""What a plan implies, indexed for the next plan: free resources, free numbers, workloads by label.

An index is a cache. It changes while a plan is being made and then belongs to that plan; `plan` is
None in between, so
that nobody takes a half-changed one for true. It can always be made again from its plan.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from katgen.errors import Problem, RefusedError, Source
from katgen.ipam import (
    UID_RANGES,
    Layout,
    NodeAddresses,
    Numbers,
    address_number,
    owner_of_subnet,
    rested,
    used_uid_ranges,
    used_virtuals,
)
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Earlier, Inventory, Plan, Resting, WorkloadPlan
from katgen.schedule.catalog import Catalog, Quotas
from katgen.schedule.match import NO_EXECUTE
from katgen.schedule.needs import Needs, needs_of
from katgen.schedule.nodes import NodeTable, Slots
from katgen.schedule.pool import Pools
from katgen.schedule.waiting import Waiting


@dataclass(slots=True)
class Index:
    """See the module. `waiting` are workloads with instances that have no place."""

    plan: Plan | None
    table: NodeTable
    pools: Pools
    catalog: Catalog
    quotas: Quotas
    layout: Layout
    subnets: Mapping[NodeName, str]
    addresses: list[NodeAddresses]
    virtuals: Numbers
    uids: Numbers
    resting: dict[str, Resting]
    evicting: frozenset[NodeName]
    """Nodes with a taint that may drive running instances away."""
    waiting: Waiting
    earlier: dict[WorkloadKey, Mapping[str, Needs]] = field(default_factory=dict)
    """What instances of earlier revisions need, by workload and revision."""
    revisions: dict[WorkloadKey, tuple[WorkloadObjects, Mapping[str, object], str]] = field(
        default_factory=dict
    )
    """The objects and references that a revision was made of, so that it is made once."""


def index_of(parent: Plan, specs: Specs, inventory: Inventory) -> Index:
    """Index `parent` over the machines of `inventory`, for a plan that carries out `specs`.

    Raises RefusedError if the networks of `specs` have no room for the nodes.
    """
    layout = Layout(specs.cluster.spec)
    _refuse_renumbering(parent, layout)
    left = rested(parent.resting, inventory.rested)
    subnets, left = _node_subnets(parent, layout, inventory, left)
    addresses = {n: NodeAddresses(subnets[n], layout.bits) for n in sorted(inventory.nodes)}
    _claim_placed(parent.workloads.values(), addresses)
    used = {n: layout.hosts - a.free for n, a in addresses.items()}
    _claim_resting(left, addresses, layout.bits)
    slots = {
        n: Slots(layout.hosts, a.free, layout.hosts - a.free - used[n])
        for n, a in addresses.items()
    }
    bin_pack = specs.cluster.spec.scheduling == "BinPack"
    table = NodeTable(inventory.nodes, slots, bin_pack=bin_pack, lost=inventory.lost)
    catalog, quotas = Catalog(), Quotas(specs.namespaces)
    earlier = {key: _needs_by_revision(key, known) for key, known in parent.earlier.items()}
    _account(parent, table, catalog, quotas, earlier)
    return Index(
        plan=parent,
        table=table,
        pools=Pools(table),
        catalog=catalog,
        quotas=quotas,
        layout=layout,
        subnets=subnets,
        addresses=[addresses[name] for name in table.names],
        virtuals=Numbers(layout.virtuals, used_virtuals(parent, layout, left)),
        uids=Numbers(UID_RANGES, used_uid_ranges(parent)),
        resting=left,
        evicting=frozenset(
            n.name for n in table.nodes if any(t.effect == NO_EXECUTE for t in n.taints)
        ),
        waiting=_waiting(parent, table, catalog),
        earlier=earlier,
    )


def _refuse_renumbering(parent: Plan, layout: Layout) -> None:
    """Raise RefusedError if addresses that are in use would not be of the cluster's networks."""
    at = Source(path="ClusterConfiguration")
    problems = [
        Problem(
            at,
            f"the subnet {subnet} of node {node} would no longer be one of clusterCIDR's",
            "clusterCIDR may grow around what is in use; nodeSubnetBits cannot change",
        )
        for node, subnet in parent.subnets.items()
        if layout.subnet_number(subnet) is None
    ]
    problems += [
        Problem(
            at,
            f"the virtual address {planned.virtual_address} of {key} would be outside serviceCIDR",
            "serviceCIDR may grow around what is in use",
        )
        for key, planned in parent.workloads.items()
        if planned.virtual_address and layout.virtual_number(planned.virtual_address) is None
    ]
    if problems:
        raise RefusedError(problems)


def _node_subnets(
    parent: Plan, layout: Layout, inventory: Inventory, resting: dict[str, Resting]
) -> tuple[dict[NodeName, str], dict[str, Resting]]:
    """Return every node's subnet, and what rests: also a gone node's, until it returns."""
    resting = dict(resting)
    subnets: dict[NodeName, str] = {}
    for node, subnet in parent.subnets.items():
        if node in inventory.nodes:
            resting.pop(subnet, None)
        elif subnet in inventory.rested:
            continue
        elif subnet not in resting:
            resting[subnet] = Resting(subnet, owner_of_subnet(node), parent.generation + 1)
        subnets[node] = subnet
    numbers = Numbers(layout.subnets, (layout.subnet_number(s) or 0 for s in subnets.values()))
    for node in sorted(inventory.nodes.keys() - subnets.keys()):
        number = numbers.take()
        if number is None:
            raise _no_subnet(layout, inventory, len(subnets))
        subnets[node] = layout.subnet_text(number)
    return dict(sorted(subnets.items())), resting


def _no_subnet(layout: Layout, inventory: Inventory, given: int) -> RefusedError:
    what = (
        f"clusterCIDR has {layout.subnets} node subnets of /{layout.prefix} "
        f"({layout.hosts} instances each); {len(inventory.nodes)} nodes do not fit: "
        f"{given} in use or resting"
    )
    hint = "widen clusterCIDR, remove nodes, or wait until the subnets of removed nodes have rested"
    return RefusedError([Problem(Source(path="ClusterConfiguration"), what, hint)])


def _claim_placed(
    workloads: Iterable[WorkloadPlan], addresses: Mapping[NodeName, NodeAddresses]
) -> None:
    for planned in workloads:
        for placement in planned.placements:
            node = addresses.get(placement.node)
            if node is not None:
                node.claim(placement.address)


def _claim_resting(
    resting: Iterable[str], addresses: Mapping[NodeName, NodeAddresses], bits: int
) -> None:
    by_subnet = {a.base >> bits: a for a in addresses.values()}
    for resource in resting:
        node = None if "/" in resource else by_subnet.get(address_number(resource) >> bits)
        if node is not None:
            node.claim(resource)


def _waiting(plan: Plan, table: NodeTable, catalog: Catalog) -> Waiting:
    waiting = Waiting()
    for key, planned in plan.workloads.items():
        if planned.unplaced:
            waiting.put(catalog.needs[key], table.waiting_at(planned))
    return waiting


def _needs_by_revision(key: WorkloadKey, known: Mapping[str, Earlier]) -> Mapping[str, Needs]:
    return {revision: needs_of(key, one.objects) for revision, one in known.items()}


def _account(
    plan: Plan,
    table: NodeTable,
    catalog: Catalog,
    quotas: Quotas,
    earlier: Mapping[WorkloadKey, Mapping[str, Needs]],
) -> None:
    for key, planned in plan.workloads.items():
        needs = needs_of(key, plan.specs.workloads[key])
        catalog.put(needs)
        quotas.count(needs, len(planned.placements))
        known = earlier.get(key)
        for placement in planned.placements:
            own = known.get(placement.revision, needs) if known else needs
            if own is not needs:
                quotas.count(needs, -1)
                quotas.count(own, 1)
            i = table.index.get(placement.node)
            if i is not None:
                table.account(i, own, placement.gpus)
    table.rank_all()
