"""What instances of earlier revisions were made of, kept as long as one of them is placed."""

from collections.abc import Collection, Mapping

from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.planned import Earlier, Plan, WorkloadPlan
from katgen.revision import named_by


class Past:
    """Collects what a new plan must keep of its parent's objects."""

    def __init__(self, parent: Plan) -> None:
        self._parent = parent
        self._changed: dict[WorkloadKey, Mapping[str, Earlier]] = {}
        """By workload with other decisions than before; empty if there is nothing to keep."""

    def remember(self, key: WorkloadKey, planned: WorkloadPlan) -> Collection[str]:
        """Note a workload's new decisions; return the earlier revisions that are placed."""
        revisions = sorted({p.revision for p in planned.placements} - {planned.revision})
        known = self._parent.earlier.get(key, {})
        if revisions or known:
            self._changed[key] = {
                one: known[one] if one in known else earlier(self._parent.specs, key)
                for one in revisions
            }
        return revisions

    def after(self, specs: Specs) -> Mapping[WorkloadKey, Mapping[str, Earlier]]:
        """Return what the new plan, which carries out `specs`, keeps."""
        before = self._parent.earlier
        if not self._changed and before.keys() <= specs.workloads.keys():
            return before
        kept = {**before, **self._changed}
        return {key: kept[key] for key in sorted(kept) if kept[key] and key in specs.workloads}


def earlier(specs: Specs, key: WorkloadKey) -> Earlier:
    """Return what a workload's instances are made of."""
    objects = specs.workloads[key]
    configs, secrets = named_by(objects)
    return Earlier(
        objects,
        {one: specs.configs[one] for one in configs if one in specs.configs},
        {one: specs.secrets[one] for one in secrets if one in specs.secrets},
    )
