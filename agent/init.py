"""`kat-agent init`: make this machine the first node of a new cluster.

What was done is known by what is on disk, so that a run that was cut goes on where it was:

| on disk | means |
|---|---|
| no `leader/cluster.json` | nothing counts yet; `kat-leader init` makes everything anew |
| it, and `agent/made.json` | the cluster is made, its secrets are not shown yet: go on |
| it, and no `agent/made.json` | done; a second `init` is refused |

docs/howto/one-node.md is its user's page.
"""

import asyncio
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from agent import contexts, state
from agent.exits import Exit
from agent.install_units import WRITABLE, exec_path, install_units, install_users
from agent.machine_ports import opened
from agent.ports import Files, NodePorts, UnfitError
from agent.preflight import Wanted, check, is_free
from agent.settings import Settings
from agent.wireguard_key import make_key
from katgen.errors import Problem, RefusedError, Source

LEADER: Final = f"{state.ROOT}/leader"
MARK: Final = f"{LEADER}/cluster.json"
MADE: Final = f"{state.AGENT}/made.json"
CONFIG_BYTES: Final = 1 << 20
READY_S: Final = 60
_POLL_S: Final = 0.1
_TOOL_S: Final = 60
_GOES_ON: Final = "mend it, then `kat-agent init` goes on from here; `kat-agent reset` starts over"
_UNITS: Final = ("kat-leader.service", "kat-agent.service")
_RULES: Final = ("kat-nft.service", "kat-nft-again.service")


class Made(msgspec.Struct, frozen=True, rename="camel"):
    """What `kat-leader init` prints."""

    cluster_uid: str
    cluster_name: str
    leader: str
    recovery_kit: str


class StartError(UnfitError):
    """KAT's own services do not come up."""


@click.command("init", short_help="Make this machine the first node of a new cluster.")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), help="A cluster.kat with settings."
)
@click.option("--advertise-address", default="", metavar="A", help="Where others reach this node.")
@click.option("--node-name", default="", metavar="N", help="This node's name; its host name else.")
def init(config: str | None, advertise_address: str, node_name: str) -> int:
    """Make this machine the first node of a new cluster, and start KAT.

    Looks first whether the machine is fit, and changes nothing if it is not.
    """
    asked = Asked(
        config=str(Path(config).absolute()) if config else "",
        advertise=advertise_address,
        node=node_name or _host_label(),
    )
    asyncio.run(_init(asked))
    return Exit.FINE


class Asked(msgspec.Struct, frozen=True):
    """The command line. `config` is an absolute path or ''."""

    config: str
    advertise: str
    node: str

    def settings(self) -> Settings:
        """Return the settings of the file, unjudged."""
        if not self.config:
            return Settings()
        with Path(self.config).open("rb") as file:
            return Settings(file.read(CONFIG_BYTES).decode(errors="replace"))


async def _init(asked: Asked) -> None:
    programs = directory_of_programs()
    async with opened() as node:
        made = finished_part(node.files)
        if made is None:
            await _make(asked, node, programs)
            made = _decode(node.files.read(MADE) or b"")
        else:
            _say(f"going on with the cluster {made.cluster_name}, whose init was cut")
        await _start(node, programs)
        context = contexts.take_over(node.files)
        _tell(made, context)
        node.files.delete(MADE)
        node.files.flush([state.AGENT])


def finished_part(files: Files) -> Made | None:
    """Return what an init that was cut has made, None if nothing. Raises RefusedError if done."""
    if files.stat(MARK) is None:
        return None
    content = files.read(MADE)
    if content:
        return _decode(content)
    config = state.load(files, state.NODE, state.NodeConfig)
    what = f"this machine is node {config.node} of a cluster already" if config else (
        "there is a cluster's state, but no node's: it is not of an init that could go on"
    )  # fmt: skip
    raise RefusedError(
        [Problem(Source(), what, "`kat-agent status` shows it, `kat-agent reset` removes it")]
    )


def _decode(content: bytes) -> Made:
    try:
        return msgspec.json.decode(content, type=Made)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        hint = "`kat-agent reset` removes what there is; then run init again"
        raise RefusedError([Problem(Source(MADE), f"it is damaged: {err}", hint)]) from err


async def _make(asked: Asked, node: NodePorts, programs: str) -> None:
    settings = asked.settings()
    advertise = await _preflight(asked, settings, node)
    interface = await node.network.interface_of(advertise)
    install_users(node.files)
    await _run(node, "systemd-sysusers")
    if settings.overlay == "wireguard":
        make_key(node.files)
    argv = [f"{programs}/kat-leader", "init", "--state-dir", LEADER, "--node-out", state.AGENT]
    argv += ["--owner", "kat-leader", "--node", asked.node, "--advertise-address", advertise]
    argv += ["--interface", interface] if interface else []
    argv += ["--config", asked.config] if asked.config else []
    async with _alone(node) as lock:
        if finished_part(node.files) is None:  # else one that was cut has come to its end meanwhile
            _make_cluster(argv, lock)
    _say(f"made the cluster's keys and the leader's state in {LEADER}")


async def _preflight(asked: Asked, settings: Settings, node: NodePorts) -> str:
    """Return the address to advertise. Raises RefusedError with all problems."""
    udp = (settings.port("wireguardPort"),) if settings.overlay == "wireguard" else ()
    wanted = Wanted(
        asked.advertise,
        settings.overlay,
        settings.network("clusterCIDR"),
        settings.network("serviceCIDR"),
        (settings.port("apiPort"), settings.port("agentPort")),
        udp,
    )
    found = await check(wanted, node, is_root=os.geteuid() == 0, is_free=is_free)
    if found.problems:
        raise RefusedError(found.problems)
    _say(f"this machine is fit to be node {asked.node} at {found.advertise}")
    return found.advertise


@asynccontextmanager
async def _alone(node: NodePorts) -> AsyncIterator[int]:
    """Hold a lock that `kat-leader init` inherits: it may outlive an init that is killed."""
    number = _opened_root()
    try:
        async with asyncio.timeout(_TOOL_S):
            while not _has_locked(number):
                await node.clock.sleep(_POLL_S)
        yield number
    except TimeoutError as err:
        raise UnfitError("another `kat-agent init` is at work; wait for its end") from err
    finally:
        os.close(number)


def _opened_root() -> int:
    root = Path(state.ROOT)
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY)


def _has_locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_cluster(argv: list[str], lock: int) -> None:
    """Run `kat-leader init`. Its secrets go straight to a file of root's: a cut loses none."""
    folder = Path(state.AGENT)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.parent.chmod(0o755)  # the leader's user passes through it
    number = os.open(MADE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        ran = subprocess.run(  # noqa: S603 -- our own program, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=number,
            stderr=subprocess.PIPE,
            pass_fds=(lock,),
            check=False,
        )
        os.fsync(number)
    finally:
        os.close(number)
    if ran.returncode:
        text = ran.stderr.decode(errors="replace").strip() or f"kat-leader: exit {ran.returncode}"
        problems = [Problem(Source(), line) for line in text.splitlines()]
        raise RefusedError(problems)


async def _start(node: NodePorts, programs: str) -> None:
    """Have systemd run KAT, and wait until the first plan is in place."""
    changed = install_units(node.files, programs)
    if changed:
        _say(f"installed {', '.join(changed)}")
    await _run(node, "mkdir", "-p", *WRITABLE)
    await _run(node, "systemctl", "daemon-reload")
    await _run(node, "systemctl", "enable", "--quiet", *_RULES, *_UNITS)
    for unit in _UNITS:
        _say(f"starting {unit}")
        ran = await node.tools.run(["systemctl", "start", unit], timeout_s=_TOOL_S, env={})
        if ran.code:
            why = await _why(node, unit, "it does not start; its last words are")
            raise StartError(f"{why}\n{_GOES_ON}")
    await _wait_for_plan(node)


async def _wait_for_plan(node: NodePorts) -> None:
    _say("waiting for the first plan")
    end = node.clock.boottime() + READY_S
    while node.clock.boottime() < end:
        applied = state.load(node.files, state.APPLIED, state.Applied)
        if applied is not None and node.files.stat(state.JOURNAL) is None:
            _say(f"generation {applied.generation} is in place")
            return
        await node.clock.sleep(_POLL_S)
    lines = [await _why(node, unit, "its last words are") for unit in _UNITS]
    what = f"the first plan is not in place after {READY_S} s"
    raise StartError("\n".join([what, *lines, _GOES_ON]))


async def _why(node: NodePorts, unit: str, what: str) -> str:
    lines = await node.journal.tail(unit, 10)
    return "\n".join([f"{unit}: {what}", *(f"    {line}" for line in lines)])


async def _run(node: NodePorts, *argv: str) -> None:
    ran = await node.tools.run(argv, timeout_s=_TOOL_S, env={})
    if ran.code:
        raise UnfitError(f"{' '.join(argv)}: {ran.stderr.strip() or f'exit {ran.code}'}")


def directory_of_programs() -> str:
    """Return where `kat-agent` and `kat-leader` are; a link is as good as what it leads to."""
    own = Path(sys.argv[0]).absolute()
    for folder in (own.parent, own.resolve().parent):
        if os.access(folder / "kat-leader", os.X_OK) and os.access(folder / "kat-agent", os.X_OK):
            return exec_path(str(folder))
    raise UnfitError(f"there is no kat-leader beside {own}; install KAT as a whole")


def _host_label() -> str:
    """Return the host's name as a node's: its first label, in lower case."""
    return re.sub(r"[^a-z0-9-]", "-", socket.gethostname().partition(".")[0].lower()).strip("-")


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _tell(made: Made, context: str) -> None:
    click.echo(f"""
{made.recovery_kit}
The cluster {made.cluster_name} runs, its API is {made.leader}.
katcall finds it through {context}.

Next:
  katcall get nodes
  katcall init-example > web.kat; katcall apply -f web.kat""")
