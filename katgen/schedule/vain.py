"""What was looked for in vain, so that nobody looks again while nothing has changed.

In a full cluster many workloads wait with few different requests; one look answers for all.
"""

from katgen.planned import Refusal
from katgen.schedule.needs import Needs, Requirement
from katgen.schedule.nodes import NodeTable

Shape = tuple[Requirement, int, int]
"""All that counts for an instance without ports, devices and rules."""


def shape_of(needs: Needs) -> Shape:
    """Return what an instance asks of nodes, if it asks for nothing particular."""
    return needs.requirement, needs.cpu, needs.memory


class Vain:
    """Answers that hold as long as the table stays as it is, or frees nothing."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._hopeless: dict[Shape, int] = {}
        self._told: dict[Shape, tuple[int, tuple[Refusal, ...]]] = {}

    def is_hopeless(self, shape: Shape) -> bool:
        """Whether no node had room, and none has freed anything since."""
        return self._hopeless.get(shape) == self._table.releases

    def give_up(self, shape: Shape) -> None:
        """Remember that no node has room now."""
        self._hopeless[shape] = self._table.releases

    def told(self, shape: Shape) -> tuple[Refusal, ...] | None:
        """Return why, if that was told and nothing at all has changed since."""
        changes, refusals = self._told.get(shape, (-1, ()))
        return refusals if changes == self._table.changes else None

    def tell(self, shape: Shape, refusals: tuple[Refusal, ...]) -> None:
        """Remember why no node has room now."""
        self._told[shape] = (self._table.changes, refusals)
