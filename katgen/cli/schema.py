"""`katcall schema`."""

import click

from katgen.cli.output import print_json
from katgen.model.kinds import KINDS
from katgen.schema import schema


def _completed(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    return [kind for kind in KINDS if kind.casefold().startswith(begun.casefold())]


@click.command("schema", short_help="Print the JSON Schema of a kind.")
@click.argument(
    "kind", type=click.Choice(list(KINDS), case_sensitive=False), shell_complete=_completed
)
def command(kind: str) -> None:
    """Print the JSON Schema of KIND, for editors and checks in CI.

    It is made from the model that `validate` uses.
    """
    print_json(schema(kind))
