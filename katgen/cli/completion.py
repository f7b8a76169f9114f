"""`katcall completion`."""

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_KATCALL_COMPLETE"
"""Where click looks for the shell's question."""
_WHERE: Final = """\b
Where shells look for it:
  katcall completion bash > /etc/bash_completion.d/katcall
  katcall completion zsh > /usr/local/share/zsh/site-functions/_katcall
  katcall completion fish > ~/.config/fish/completions/katcall.fish
"""


@click.command("completion", epilog=_WHERE)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(script(ctx.find_root().command, {}, "katcall", VARIABLE).source())
