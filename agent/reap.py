"""What a cut apply or a hand may have left behind: containers without a unit, scratch files."""

from typing import Final

from agent.ports import Container, NodePorts
from agent.stage import SCRATCH

_INSTANCE: Final = "kat.instance"
_RUNS: Final = frozenset({"active", "activating", "deactivating", "reloading", "refreshing"})


async def reap(node: NodePorts) -> tuple[str, ...]:
    """Remove KAT's containers that no unit runs; return their names."""
    if node.files.folders(SCRATCH):
        node.files.delete_tree(SCRATCH)
    containers = [one for one in await node.podman.containers() if is_own(one)]
    if not containers:
        return ()
    states = await node.systemd.states(sorted({one.unit for one in containers}))
    orphans = [one for one in containers if states[one.unit].active_state not in _RUNS]
    for one in orphans:
        await node.podman.remove(one.id)
    return tuple(one.name for one in orphans)


async def remove_left(node: NodePorts, units: frozenset[str]) -> None:
    """Remove the containers of stopped units that are still there."""
    for one in await node.podman.containers():
        if is_own(one) and one.unit in units:
            await node.podman.remove(one.id)


def is_own(container: Container) -> bool:
    """Whether KAT made a container, which is more than its name.

    Anybody may call one `kat.…`. KAT's carry the instance and are of the unit of their name. They
    are removed by id: a name may be another's by then.
    """
    return _INSTANCE in container.labels and container.unit == f"{container.name}.service"
