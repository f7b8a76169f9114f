"""`kat-agent reset`: this machine as if KAT had never been on it, but for volumes and backups.

It goes by names and places, all of which are KAT's alone, and not by what the agent remembers: that
may be damaged, or half made. Every step may find its work done. What runs is stopped before its
files go, or nothing goes.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import click

from agent import contexts, state
from agent.exits import Exit
from agent.install_units import SYSUSERS, UNITS
from agent.machine_ports import opened
from agent.ports import Files, NodePorts, UnfitError, UnitError
from agent.reap import is_own
from katgen.errors import Problem, RefusedError, Source

VOLUMES: Final = f"{state.ROOT}/volumes"
STATE: Final = (
    state.AGENT,
    f"{state.ROOT}/leader",
    *(state.CONTENT, state.GENERATIONS),
    *(
        f"{state.ROOT}/{name}"
        for name in ("config", "dns", "endpoints", "ingress", "runs", "services", "wireguard")
    ),
)
"""What KAT keeps. Nothing else goes: volumes and backups may be anywhere, below here too."""
LINKS: Final = ("kat-dns0", "kat0", "kat-br0")
TABLES: Final = (("inet", "kat"), ("inet", "kat_state"), ("bridge", "kat"))
UNIT_FOLDERS: Final = ("/etc/systemd/system", "/run/systemd/system")
STOP_S: Final = 300
_TOOL_S: Final = 60
_FILES: Final = (
    "/etc/containers/networks/kat.json",
    "/etc/systemd/system/multi-user.target.d/kat.conf",
    "/etc/systemd/system/sockets.target.d/kat-dns.conf",
    "/etc/kat/dns.json",
    "/etc/kat/kat.nft",
    "/etc/kat/cluster.nft",
    "/etc/tmpfiles.d/kat.conf",
    "/etc/sysusers.d/kat.conf",
    "/etc/sysctl.d/50-kat.conf",
    SYSUSERS,
)
_FOLDERS: Final = ("/etc/containers/systemd/kat", "/etc/kat/services", "/run/kat")
_SERVICES: Final = "|".join(re.escape(unit) for unit in UNITS)
_UNIT: Final = re.compile(rf"(kat\..+|kat-.+\.slice|kat-dns\.socket|{_SERVICES})(\.d)?")
_NETWORK: Final = re.compile(
    r"50-(kat0|kat-br0|kat-port|kat-dns[01]|kat-uplink)\.(netdev|network)(\.d)?"
)
_ABSENT: Final = "No such file or directory"
_MOUNT_POINT: Final = 4

Step = Callable[[NodePorts], Awaitable[None]]


@click.command("reset", short_help="Remove all of KAT from this node, except volumes.")
@click.option("--volumes", is_flag=True, help="Delete the data of volumes too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(*, volumes: bool, yes: bool) -> int:
    """Stop and remove everything of KAT on this node, its cluster's state included.

    Volumes and backups stay, unless --volumes is given; then volumes go.
    """
    if os.geteuid() != 0:
        raise RefusedError([Problem(Source(), "only root can reset a node", "run it with sudo")])
    if not yes:
        what = "everything of KAT, and all data in volumes" if volumes else "everything of KAT"
        click.confirm(f"Stop and remove {what} on this machine?", abort=True, err=True)
    problems, stays = asyncio.run(_reset(volumes=volumes))
    for problem in problems:
        click.echo(f"kat-agent: {problem}", err=True)
    if not problems:
        said = [f" {folder} stays." for folder in stays]
        click.echo("".join(["KAT is gone from this machine.", *said]))
    return Exit.PROBLEMS if problems else Exit.FINE


async def _reset(*, volumes: bool) -> tuple[list[str], Sequence[str]]:
    """Return what could not be done, and the folders that stay."""
    async with opened() as node:
        problems = await remove_all(node, volumes=volumes)
        return problems, node.files.folders(state.ROOT)


async def remove_all(node: NodePorts, *, volumes: bool) -> list[str]:
    """Remove KAT; return what could not be done.

    Raises UnfitError or UnitError if units do not stop; then nothing is removed.
    """
    await _stop(node)
    problems: list[str] = []
    for step in (_containers, _packet_rules, _files, _links, _forget_units):
        try:
            await step(node)
        except (UnfitError, UnitError) as err:
            problems.append(str(err))
    try:
        _delete_state(node.files, volumes=volumes, keep_marks=bool(problems))
    except UnfitError as err:
        problems.append(str(err))
    return problems


async def _stop(node: NodePorts) -> None:
    """Stop KAT's own services, then everything else; then nothing starts anything again."""
    own = [name for name in UNITS if name != "kat-nft.service"]  # that one refuses; it holds rules
    loaded = [unit.unit for unit in await node.systemd.loaded("kat*")]
    await _try(node, "systemctl", "disable", "--quiet", *UNITS)
    for unit in own:
        if unit in loaded:
            await node.systemd.stop(unit, STOP_S)
    rest = [u for u in loaded if _UNIT.fullmatch(u) and u not in UNITS]
    for unit in sorted(rest, key=_stop_order):
        await node.systemd.stop(unit, STOP_S)


def _stop_order(unit: str) -> tuple[int, str]:
    """Timers first, lest they start something; slices last."""
    order = {"timer": 0, "target": 1, "automount": 3, "mount": 4, "slice": 5}
    return order.get(unit.rpartition(".")[2], 2), unit


async def _containers(node: NodePorts) -> None:
    for container in await node.podman.containers():
        if is_own(container):
            await node.podman.remove(container.id)


async def _packet_rules(node: NodePorts) -> None:
    problems = []
    for family, table in TABLES:
        argv = ("nft", "delete", "table", family, table)
        ran = await node.tools.run(argv, timeout_s=_TOOL_S, env={})
        if ran.code and _ABSENT not in ran.stderr:
            problems.append(f"{' '.join(argv)}: {ran.stderr.strip() or f'exit {ran.code}'}")
    if problems:
        raise UnfitError("; ".join(problems))


async def _links(node: NodePorts) -> None:
    """Delete the links after their files: networkd would make them again."""
    await node.systemd.reload_networkd()
    links = await node.network.addresses()
    for link in LINKS:
        if link in links or await _has_link(node, link):
            await _run(node, "ip", "link", "delete", "dev", link)


async def _has_link(node: NodePorts, link: str) -> bool:
    return (await _try(node, "ip", "link", "show", "dev", link)) == 0


async def _files(node: NodePorts) -> None:
    files = node.files
    for path in (*_FILES, *_unit_files(files), *_network_files(files)):
        files.delete(path)
    for folder in (*_FOLDERS, *_drop_ins(files)):
        files.delete_tree(folder)
    if not files.list("/etc/kat") and not files.folders("/etc/kat"):  # a policy is its owner's
        files.delete_tree("/etc/kat")
    files.flush(["/etc/systemd/system", "/etc/systemd/network"])


def _unit_files(files: Files) -> Iterator[str]:
    for folder in UNIT_FOLDERS:
        yield from (p for p in files.list(folder) if _UNIT.fullmatch(p.rpartition("/")[2]))


def _network_files(files: Files) -> Iterator[str]:
    own = files.list("/etc/systemd/network")
    yield from (path for path in own if _NETWORK.fullmatch(path.rpartition("/")[2]))


def _drop_ins(files: Files) -> Iterator[str]:
    for folder, pattern in (
        *((f, _UNIT) for f in UNIT_FOLDERS),
        ("/etc/systemd/network", _NETWORK),
    ):
        for path in files.folders(folder):
            name = path.rpartition("/")[2]
            if name.endswith(".d") and pattern.fullmatch(name):
                yield path


async def _forget_units(node: NodePorts) -> None:
    await node.systemd.daemon_reload()
    await node.systemd.stop("kat-nft.service", STOP_S)  # without its file it refuses no more
    for unit in await node.systemd.loaded("kat*"):
        if _UNIT.fullmatch(unit.unit):
            await node.systemd.reset_failed(unit.unit)


def _delete_state(files: Files, *, volumes: bool, keep_marks: bool) -> None:
    """Delete what KAT knows; if something of it is left, not what says that this is a node."""
    contexts.drop(files)
    marks = {state.AGENT, f"{state.ROOT}/leader"} if keep_marks else set()
    if volumes:
        _refuse_mounts(files)
        files.delete_tree(VOLUMES)
    for folder in STATE:
        if folder not in marks:
            files.delete_tree(folder)
    if not files.folders(state.ROOT) and not files.list(state.ROOT):
        files.delete_tree(state.ROOT)


def _refuse_mounts(files: Files) -> None:
    """Refuse to delete through a mount: what is in there is not only this machine's."""
    table = (files.read("/proc/self/mountinfo") or b"").decode(errors="replace")
    points = [line.split()[_MOUNT_POINT] for line in table.splitlines()]
    below = [point for point in points if f"{point}/".startswith(f"{VOLUMES}/")]
    if below:
        raise UnfitError(f"{below[0]} is a mount; unmount it and run reset again")


async def _try(node: NodePorts, *argv: str) -> int:
    """Run a program that may find nothing to do."""
    return (await node.tools.run(argv, timeout_s=_TOOL_S, env={})).code


async def _run(node: NodePorts, *argv: str) -> None:
    ran = await node.tools.run(argv, timeout_s=_TOOL_S, env={})
    if ran.code:
        raise UnfitError(f"{' '.join(argv)}: {ran.stderr.strip() or f'exit {ran.code}'}")
