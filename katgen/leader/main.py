"""`kat-leader`: makes a cluster, and runs its leader."""

import asyncio
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from katgen.errors import KatError, Problem, ProblemsError, Source, SpecError
from katgen.parse.decode import FILE_MAX

_FINE, _PROBLEMS, _USAGE, _REFUSED, _INTERRUPTED = 0, 1, 2, 3, 130
_UMASK: Final = 0o077
"""Everything that a leader writes is its own."""
STATE: Final = "/var/lib/kat/leader"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def kat_leader() -> None:
    """Plan and publish for the nodes of a cluster."""


@kat_leader.command("init")
@click.option("--config", metavar="FILE", help="A cluster.kat; the defaults if not given.")
@click.option("--advertise-address", required=True, metavar="A", help="Of this node, for others.")
@click.option("--node", required=True, metavar="N", help="The first node's name.")
@click.option("--interface", default="", metavar="I", help="The link that carries the address.")
@click.option("--state-dir", default=STATE, show_default=True, help="Of the leader.")
@click.option("--node-out", required=True, metavar="DIR", help="Gets the node's files.")
@click.option("--owner", default="", metavar="USER", help="Gets the leader's files.")
def init_command(**given: str) -> int:
    """Make a cluster: keys, certificates, store. `kat-agent init` calls this.

    Prints JSON with the admin's token and the recovery kit, which exist nowhere else.
    """
    import msgspec  # noqa: PLC0415 -- help and version are there at once

    from katgen.leader.init import Made, Options, init  # noqa: PLC0415 -- the same

    def tell(made: Made) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(made) + b"\n")
        sys.stdout.flush()

    options = Options(
        node=given["node"],
        advertise_address=given["advertise_address"],
        state_dir=Path(given["state_dir"]),
        node_out=Path(given["node_out"]),
        config=_read(given["config"]) if given["config"] else None,
        interface=given["interface"],
        owner=_ids(given["owner"]) if given["owner"] else None,
    )
    init(options, tell)
    return _FINE


@kat_leader.command("run")
@click.option("--state-dir", default=STATE, show_default=True, help="What `init` has made.")
@click.option("--listen", default="", metavar="A", help="An address; all if not given.")
def run_command(state_dir: str, listen: str) -> int:
    """Run the leader, as a service of systemd, never as root."""
    if os.geteuid() == 0:
        click.echo("kat-leader: does not run as root; its user is kat-leader", err=True)
        return _REFUSED
    from katgen.leader.serve import serve  # noqa: PLC0415 -- half a second that others need not wait

    asyncio.run(serve(Path(state_dir), listen))
    return _FINE


@kat_leader.command("version")
def version_command() -> int:
    """Print the version."""
    from importlib.metadata import version  # noqa: PLC0415 -- as above

    click.echo(f"kat-leader {version('kat')}")
    return _FINE


def _read(name: str) -> tuple[str, bytes]:
    try:
        with Path(name).open("rb") as file:
            return name, file.read(FILE_MAX + 1)
    except OSError as err:
        what = (err.strerror or str(err)).lower()
        raise SpecError([Problem(Source(name), what, "check the path")]) from err


def _ids(user: str) -> tuple[int, int]:
    try:
        found = pwd.getpwnam(user)
    except KeyError as err:
        raise SpecError([Problem(Source("--owner"), f"there is no user {user!r}")]) from err
    return found.pw_uid, found.pw_gid


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `kat-leader` and exit."""
    os.umask(_UMASK)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `kat-leader` and return its exit code."""
    try:
        outcome = kat_leader.main(arguments, prog_name="kat-leader", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except click.ClickException as err:
        err.show()
        return _USAGE
    except ProblemsError as err:
        for problem in err.problems:
            click.echo(str(problem), err=True)
        return _PROBLEMS if isinstance(err, SpecError) else _REFUSED
    except KatError as err:
        click.echo(f"kat-leader: {err}", err=True)
        return _PROBLEMS
    except OSError as err:
        where = f"{err.filename}: " if err.filename else ""
        click.echo(f"kat-leader: {where}{err.strerror or err}", err=True)
        return _PROBLEMS
    return outcome if isinstance(outcome, int) else _FINE
