"""Whether each instance on this node is healthy (spec §6.3), told as soon as it changes.

Ready is an instance whose unit runs and whose readiness check, if it has one, says so. Runs of Jobs
are never ready: nothing sends them traffic.
"""

import asyncio
from collections.abc import Callable, Mapping

from agent.ports import NodePorts, UnitState
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey


class Health:
    """The own instances. Give it units' states; it makes the checks, and restarts what is dead."""

    def __init__(self, node: NodePorts, changed: Callable[[InstanceKey, bool], None]) -> None:
        self._node, self._changed = node, changed
        self._ready: frozenset[InstanceKey] = frozenset()

    def follow(self, instances: Mapping[InstanceKey, InstanceEntry]) -> None:
        """Take over what this node runs: after every apply, and at the start."""

    def unit(self, state: UnitState) -> None:
        """Take in a unit's state, whenever it is known anew. Units that are not followed are fine.

        Before the first state of its unit an instance is not ready.
        """

    def ready(self) -> frozenset[InstanceKey]:
        """Return the instances that are ready now."""
        return self._ready

    async def run(self) -> None:
        """Make checks until cancelled."""
        await asyncio.Event().wait()
