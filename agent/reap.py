"""What a cut apply or a hand may have left behind: containers without a unit, scratch files."""

from typing import Final

from agent.ports import Container, NodePorts
from agent.stage import SCRATCH

_RUNS: Final = frozenset({"active", "activating", "deactivating", "reloading", "refreshing"})


async def reap(node: NodePorts) -> tuple[str, ...]:
    """Remove KAT's containers that no unit runs; return their names."""
    if node.files.folders(SCRATCH):
        node.files.delete_tree(SCRATCH)
    containers = {one.name: unit_of(one) for one in await node.podman.containers()}
    if not containers:
        return ()
    states = await node.systemd.states(sorted(set(containers.values())))
    orphans = tuple(
        name for name, unit in containers.items() if states[unit].active_state not in _RUNS
    )
    for name in orphans:
        await node.podman.remove(name)
    return orphans


async def remove_left(node: NodePorts, units: frozenset[str]) -> None:
    """Remove the containers of stopped units that are still there."""
    for one in await node.podman.containers():
        if unit_of(one) in units:
            await node.podman.remove(one.name)


def unit_of(container: Container) -> str:
    """Return the unit that runs a container: by its label, else by its name."""
    return container.unit or f"{container.name}.service"
