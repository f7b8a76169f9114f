"""Numbers that change hands while a plan is made: uids, virtual addresses, and what rests."""

from katgen.errors import Problem, Source
from katgen.index import Index
from katgen.ipam import UID_RANGES, owner_of_instance, uid_base
from katgen.model.specs import WorkloadObjects
from katgen.names import WorkloadKey
from katgen.planned import Placement, Plan, Resting, Retired, WorkloadPlan


class Ledger:
    """`problems` collects what the cluster has no numbers for; then the plan must be refused."""

    def __init__(self, index: Index, parent: Plan) -> None:
        self._index = index
        self._generation = parent.generation + 1
        self.resting = dict(index.resting)
        self.retired = dict(parent.retired)
        self.problems: list[Problem] = []

    def uids(self, key: WorkloadKey, objects: WorkloadObjects, old: WorkloadPlan | None) -> int:
        """Return the first uid of a workload's range, 0 for host-root; one it had comes back."""
        retired = self.retired.pop(key, None)
        held = (old.uid_base if old else 0) or (retired.uid_base if retired else 0)
        if objects.workload.spec.isolation == "host-root":
            if held:
                following = old or retired
                self.retired[key] = Retired(following.next_incarnation if following else 1, held)
            return 0
        if held:
            return held
        number = self._index.uids.take()
        if number is not None:
            return uid_base(number)
        kept = sum(1 for one in self.retired.values() if one.uid_base)
        self._lack(
            key,
            f"no range of user ids is left: {UID_RANGES} ranges, {UID_RANGES - kept} in use, "
            f"{kept} kept for the data of deleted workloads",
            "run fewer workloads in this cluster",
        )
        return 0

    def virtual(self, key: WorkloadKey, objects: WorkloadObjects, old: WorkloadPlan | None) -> str:
        """Return a workload's virtual address, '' without a load balancer."""
        held = old.virtual_address if old else ""
        if objects.load_balancer is None:
            if held:
                self.rest(held, key)
            return ""
        if held:
            return held
        number = self._index.virtuals.take()
        if number is not None:
            return self._index.layout.virtual_text(number)
        total = self._index.layout.virtuals
        resting = sum(map(self._is_virtual, self.resting))
        self._lack(
            key,
            f"no virtual address is left: serviceCIDR has {total}, {total - resting} in use, "
            f"{resting} resting",
            "widen serviceCIDR",
        )
        return ""

    def _is_virtual(self, resource: str) -> bool:
        return "/" not in resource and self._index.layout.virtual_number(resource) is not None

    def _lack(self, key: WorkloadKey, what: str, hint: str) -> None:
        self.problems.append(Problem(Source(path=key), what, hint))

    def rest(self, resource: str, owner: str) -> None:
        """Let a number that lost its owner rest."""
        self.resting[resource] = Resting(resource, owner, self._generation)

    def rest_address(self, key: WorkloadKey, placement: Placement) -> None:
        """Let the address of an instance that goes rest."""
        owner = owner_of_instance(key, placement.ordinal, placement.incarnation)
        self.rest(placement.address, owner)

    def retire(self, key: WorkloadKey, old: WorkloadPlan, *, has_data: bool) -> None:
        """Keep what outlives a deleted workload."""
        if old.virtual_address:
            self.rest(old.virtual_address, key)
        held = self.retired.get(key)
        homes = dict(old.homes)
        if has_data:
            homes |= {p.ordinal: p.node for p in old.placements}
        uids = old.uid_base or (held.uid_base if held else 0)
        self.retired[key] = Retired(old.next_incarnation, uids, homes)
