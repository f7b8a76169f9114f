"""Commands that need no leader: what is here, whether files are right, back and forth again."""

import asyncio
import os
from importlib import metadata
from pathlib import Path
from typing import Final

import click
import msgspec

from agent import state
from agent.alone import alone
from agent.apply import Outcome
from agent.drift import file_drift, unit_drift
from agent.exits import Exit
from agent.machine_ports import opened
from agent.ports import NodePorts
from agent.rollback import lift_hold, roll_back
from agent.status import Now, Status
from agent.verify import verify_folder
from katgen.bundle import FORMAT
from katgen.errors import Problem, RefusedError, Source, SpecError
from katgen.protocol import Drift, Report, UnitReport

AGENT_UNIT: Final = "kat-agent.service"
STOP_S: Final = 120

_form = click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json"]), default="table",
    help="A table for people, or exact JSON.",
)  # fmt: skip


@click.command("status", short_help="Show what runs here and whether it is as planned.")
@_form
def status(form: str) -> int:
    """Show this node as its agent would report it. Exits with 1 unless it is in sync."""
    _need_root()
    report = asyncio.run(_report())
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        click.echo("\n".join(table(report)))
    return Exit.FINE if report.sync == "in sync" and not report.drift else Exit.PROBLEMS


async def _report() -> Report:
    async with opened() as node:
        config = _config(node)
        applied = state.load(node.files, state.APPLIED, state.Applied)
        is_applying = node.files.stat(state.JOURNAL) is not None
        own = Status(node, config.node)
        now = Now(applying=is_applying)
        report = await own.report(now)
        if await own.look_at_containers():
            report = await own.report(now, ())
        drift: tuple[Drift, ...] = ()
        if applied is not None and not is_applying:
            drift = (*file_drift(node.files, applied), *unit_drift(applied, own.states, own.over()))
        return msgspec.structs.replace(report, drift=drift)


def table(report: Report) -> list[str]:
    """Return lines for people."""
    held = ", held by a rollback (`kat-agent resume` ends it)" if report.held else ""
    head = f"node {report.node}: {report.sync}, generation {report.generation}{held}"
    rows = [("UNIT", "STATE", "RESTARTS"), *map(_row, report.units)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{unit:<{widths[0]}}  {is_:<{widths[1]}}  {restarts}" for unit, is_, restarts in rows]
    drift = [f"{one.kind}: {one.unit or one.path}" for one in report.drift]
    diffs = [one.diff.rstrip("\n") for one in report.drift if one.diff]
    said = [line for unit in report.units for line in unit.lines]
    return [head, *(lines if report.units else []), *drift, *diffs, *said]


def _row(unit: UnitReport) -> tuple[str, str, str]:
    result = f", {unit.result}" if unit.active_state == "failed" and unit.result else ""
    return unit.unit, f"{unit.active_state} ({unit.sub_state}{result})", str(unit.restarts)


@click.command("verify", short_help="Check rendered files with this node's own tools.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
def verify(folder: str) -> int:
    """Check a node's rendered files (DIR/<node> of `katcall render -o DIR`) and change nothing."""
    _need_root()
    where = Path(folder).resolve()
    if not any(path.is_file() for path in where.rglob("*")):
        what = "there are no files in this directory"
        raise SpecError([Problem(Source(folder), what, "name DIR/<node> of `katcall render`")])
    complaints = asyncio.run(_verify(where))
    for one in complaints:
        click.echo(f"kat-agent: {one}", err=True)
    if not complaints:
        click.echo("this node takes these files")
    return Exit.PROBLEMS if complaints else Exit.FINE


async def _verify(folder: Path) -> tuple[str, ...]:
    async with opened() as node:
        found = await verify_folder(node, str(folder))
    return tuple(f"{one.path}: {one.tool}: {one.text}" for one in found)


@click.command("rollback", short_help="Go back to an earlier generation, and stay.")
def rollback() -> int:
    """Put the generation before in place and hold it there, whatever a leader says.

    `kat-agent resume` follows the leader again.
    """
    _need_root()
    return _told(asyncio.run(_roll_back()))


async def _roll_back() -> Outcome:
    """Roll back while the agent is stopped: there is one applier at a time. Workloads run on."""
    async with opened() as node:
        _config(node)
        unit = (await node.systemd.states([AGENT_UNIT]))[AGENT_UNIT]
        is_running = unit.active_state in ("active", "activating", "reloading")
        if is_running:
            await node.systemd.stop(AGENT_UNIT, STOP_S)
        try:
            with alone():
                return await roll_back(node)
        finally:
            if is_running:
                await node.systemd.start(AGENT_UNIT, STOP_S)


def _told(outcome: Outcome) -> int:
    for action in outcome.actions:
        click.echo(f"{action.verb:<14} {action.unit or action.path}")
    for failed in outcome.failed:
        click.echo(f"kat-agent: {failed.unit} did not start: {failed.result}", err=True)
    click.echo("held at the generation before; `kat-agent resume` follows the leader again")
    return Exit.PROBLEMS if outcome.failed else Exit.FINE


@click.command("resume", short_help="Follow the leader again after a rollback.")
def resume() -> int:
    """Lift the hold of a rollback; the agent then puts in place what the leader has committed."""
    _need_root()
    click.echo("the leader is followed again" if asyncio.run(_resume()) else "there was no hold")
    return Exit.FINE


async def _resume() -> bool:
    async with opened() as node:
        _config(node)
        was_held = lift_hold(node)
        if was_held:
            await node.systemd.restart(AGENT_UNIT, STOP_S)
        return was_held


@click.command("version", short_help="Print the version.")
@_form
def version(form: str) -> int:
    """Print the version of KAT and the format of manifests that this agent takes."""
    try:
        own = metadata.version("kat")
    except metadata.PackageNotFoundError:
        own = "unreleased"
    if form == "json":
        click.echo(msgspec.json.encode({"version": own, "manifestFormat": FORMAT}).decode())
    else:
        click.echo(f"kat-agent {own}, manifest format {FORMAT}")
    return Exit.FINE


def _config(node: NodePorts) -> state.NodeConfig:
    config = state.load(node.files, state.NODE, state.NodeConfig)
    if config is None:
        what = "this machine is no node of KAT"
        raise RefusedError([Problem(Source(), what, "`kat-agent init` makes it one")])
    return config


def _need_root() -> None:
    if os.geteuid() != 0:
        what = "only root can read a node's state"
        raise RefusedError([Problem(Source(), what, "run it with sudo")])
