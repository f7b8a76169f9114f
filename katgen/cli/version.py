"""`katcall version`."""

from importlib import metadata

import click

from katgen.cli import options
from katgen.cli.online import chosen, context
from katgen.cli.output import Form, print_json, say
from katgen.wire import PLAN_FORMAT


@click.command("version", short_help="Print the versions of katcall and of the leader.")
@click.option("--client", is_flag=True, help="Only that of katcall; ask no leader.")
@context
@options.form
@options.ending
def command(*, client: bool, context_name: str, form: Form) -> None:
    """Print the version of KAT, the format of plans that it reads and writes, and the leader's.

    No leader is asked if no context says where one is.
    """
    version = _installed()
    if form is Form.TABLE:
        say(f"katcall {version}, plan format {PLAN_FORMAT}")
    server = {} if client or not (context_name or _has_context()) else _server(context_name)
    if form is Form.JSON:
        told = {"server": server} if server else {}
        print_json({"version": version, "planFormat": PLAN_FORMAT, **told})
    elif server:
        say(
            f"leader {server.get('version')}, cluster {server.get('cluster')}, "
            f"plan {server.get('generation')}"
        )


def _has_context() -> bool:
    import os  # noqa: PLC0415 -- beside its only use

    from katgen.cli.contexts import load  # noqa: PLC0415 -- 20 ms that --client saves

    return bool(os.environ.get("KATCALL_SERVER") or load().contexts)


def _server(context_name: str) -> dict[str, object]:
    from katgen.cli.connection import Request, path  # noqa: PLC0415 -- 50 ms that --client saves

    return chosen(context_name).ask(Request(path("version")), dict[str, object])


def _installed() -> str:
    try:
        return metadata.version("kat")
    except metadata.PackageNotFoundError:
        return "unreleased"
