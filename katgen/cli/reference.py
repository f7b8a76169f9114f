"""The reference page of `katcall`, made from the commands themselves."""

import click

from katgen.cli.exits import Exit
from katgen.cli.main import COMMANDS, katcall

_WIDTH = 88
_INTRODUCTION = """\
<!-- Made by `make generate`; edit katgen/cli/ instead. -->

# katcall

`katcall` brings `.kat` files to a cluster: it asks the leader of the current context, which
`kat-agent init` or `katcall login` writes to `~/.config/kat/config.json`. `validate`, `render`,
`schema`, and `plan` and `explain` with `--offline`, need no cluster, no daemon and no root. Results
go to standard output, problems and remarks to standard error.
Colours appear on a terminal only, and never with `NO_COLOR` set.

`-o json`, or `--json` for short, prints results and problems as JSON on standard output. With
`render`, `-o` names the directory, so there it is `--json` only.

## Exit codes

| code | meaning |
|---|---|
"""


def markdown() -> str:
    """Return the page."""
    codes = "".join(f"| {one.value} | {one.description} |\n" for one in Exit)
    return f"{_INTRODUCTION}{codes}" + "".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    context = click.Context(katcall, info_name="katcall", **katcall.context_settings)
    command = katcall.get_command(context, name)
    if command is None:
        return ""
    inner = click.Context(command, info_name=name, parent=context, max_content_width=_WIDTH)
    inner.terminal_width = _WIDTH
    return f"\n## katcall {name}\n\n```text\n{command.get_help(inner)}\n```\n"
