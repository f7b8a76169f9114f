"""`katcall version`."""

from importlib import metadata

import click

from katgen.cli import options
from katgen.cli.output import Form, print_json, say
from katgen.wire import PLAN_FORMAT


@click.command("version", short_help="Print the version.")
@options.form
@options.ending
def command(form: Form) -> None:
    """Print the version of KAT and the format of the plans that it reads and writes."""
    version = _installed()
    if form is Form.JSON:
        print_json({"version": version, "planFormat": PLAN_FORMAT})
    else:
        say(f"katcall {version}, plan format {PLAN_FORMAT}")


def _installed() -> str:
    try:
        return metadata.version("kat")
    except metadata.PackageNotFoundError:
        return "unreleased"
