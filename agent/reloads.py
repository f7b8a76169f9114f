"""Have the rest of the machine take up changed files: users, directories, links, rules, names."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from agent.ports import NodePorts, UnfitError, UnitError
from agent.start_units import last_words
from katgen.diff import Action
from katgen.protocol import Complaint

NFT_FILE: Final = "/etc/kat/kat.nft"
NFT_UNIT: Final = "kat-nft.service"
_TIMEOUT_S: Final = 60
_OUTSIDE: Final = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--")
"""Runs a program as a unit of its own: it needs to write where kat-agent.service must not."""
_SYSCTL: Final = "/usr/lib/systemd/systemd-sysctl"

Paths = frozenset[str]
Reload = Callable[[NodePorts, str, Paths], Awaitable[str]]


async def reload(node: NodePorts, action: Action, paths: Paths) -> tuple[Complaint, ...]:
    """Carry out one reload; `paths` are the target's. A fault is reported, the rest goes on.

    Rules that cannot be loaded leave those that held before, and instances require them.
    """
    step = _STEPS.get(action.unit)
    if step is None:  # live by other ways: peers by netlink, a proxy watches its file
        return ()
    try:
        problem = await step(node, action.unit, paths)
    except UnitError as err:
        problem = "\n".join((str(err), *await last_words(node, err.unit, 10)))
    return (Complaint("", problem, tool=action.unit),) if problem else ()


async def _sysusers(node: NodePorts, _: str, paths: Paths) -> str:
    return await _run(node, "/etc/sysusers.d/", ("systemd-sysusers",), paths)


async def _tmpfiles(node: NodePorts, _: str, paths: Paths) -> str:
    return await _run(node, "/etc/tmpfiles.d/", ("systemd-tmpfiles", "--create"), paths)


async def _sysctl(node: NodePorts, _: str, paths: Paths) -> str:
    return await _run(node, "/etc/sysctl.d/", (_SYSCTL,), paths)


async def _run(node: NodePorts, folder: str, argv: tuple[str, ...], paths: Paths) -> str:
    files = sorted(path for path in paths if path.startswith(folder))
    if not files:
        return ""
    try:
        ran = await node.tools.run([*_OUTSIDE, *argv, *files], timeout_s=_TIMEOUT_S, env={})
    except UnfitError as err:  # missing, or over its deadline: it is told, the rest goes on
        return str(err)
    return (ran.stderr.strip() or f"it ended with code {ran.code}") if ran.code else ""


async def _networkd(node: NodePorts, _unit: str, _paths: Paths) -> str:
    await node.systemd.reload_networkd()
    return ""


async def _nft(node: NodePorts, unit: str, paths: Paths) -> str:
    if NFT_FILE in paths:  # without it there is nothing to load: the node is being emptied
        await node.systemd.reload(unit, _TIMEOUT_S)
    return ""


async def _dns(node: NodePorts, unit: str, _: Paths) -> str:
    state = (await node.systemd.states([unit]))[unit]
    if state.load_state == "loaded" and state.active_state == "active":  # else it reads all
        await node.systemd.reload(unit, _TIMEOUT_S)
    return ""


_STEPS: Final[Mapping[str, Reload]] = {
    "systemd-sysusers.service": _sysusers,
    "systemd-tmpfiles-setup.service": _tmpfiles,
    "systemd-sysctl.service": _sysctl,
    "systemd-networkd.service": _networkd,
    NFT_UNIT: _nft,
    "kat-dns.service": _dns,
}
