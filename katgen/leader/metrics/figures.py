"""The cluster in numbers, as `/metrics` tells them."""

from collections.abc import Callable, Iterator

from katgen.leader.cluster import Cluster
from katgen.leader.metrics.prometheus import Figures, counted
from katgen.names import NodeName


def looking(
    cluster: Cluster, events: Callable[[], int], revision: Callable[[], int]
) -> Callable[[], Figures]:
    """Return what looks at a cluster; the number of events and the store's revision come along."""

    def look() -> Figures:
        epoch, generation = cluster.mark
        return Figures(
            generation=generation,
            epoch=epoch,
            sessions=len(cluster.connected),
            events=events(),
            store_revision=revision(),
            nodes=counted(_nodes(cluster)),
            instances=counted((one.state, one.endpoint) for one in cluster.instances()),
            holds=counted((hold.reason.value,) for hold in cluster.holds.values()),
        )

    return look


def _nodes(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for node in _names(cluster):
        status = cluster.node_status(node)
        yield str(status["condition"]), str(status["sync"])


def _names(cluster: Cluster) -> frozenset[NodeName]:
    planned = cluster.plan.inventory.nodes if cluster.plan else ()
    return frozenset({*planned, *cluster.reports, *cluster.connected})
