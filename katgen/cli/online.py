"""What commands that ask a leader share: their options, their leader, and names for the shell."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from katgen.cli.nouns import BY_NAME, NOUNS, Noun
from katgen.cli.options import Command

if TYPE_CHECKING:
    from katgen.cli.connection import Leader

DEFAULT: Final = "default"
_COMPLETION_S: Final = 0.5


def _namespaces(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    return [name for name in _names(ctx, BY_NAME["namespaces"]) if name.startswith(begun)]


context = click.option(
    "--context", "context_name", default="", metavar="NAME", help="Which leader; see login."
)
namespace = click.option(
    "-n",
    "--namespace",
    default=DEFAULT,
    metavar="NAME",
    help="The namespace.",
    show_default=True,
    shell_complete=_namespaces,
)
everywhere = click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="All of them.")
no_wait = click.option("--no-wait", is_flag=True, help="Do not wait until it runs.")
timeout = click.option(
    "--timeout",
    "timeout",
    default="300s",
    metavar="TIME",
    show_default=True,
    help="How long to wait. What the leader has accepted goes on all the same.",
)


def leader(command: Command) -> Command:
    """Add `--context`, and give the command the `leader` that it names."""

    @functools.wraps(command)
    def run(*, context_name: str, **rest: object) -> int | None:
        return command(leader=chosen(context_name), **rest)

    return context(run)


def chosen(name: str) -> "Leader":
    """Return the leader of a context. Raises SpecError, LeaderError."""
    from katgen.cli.connection import Leader  # noqa: PLC0415 -- 50 ms that offline commands save
    from katgen.cli.contexts import choose  # noqa: PLC0415 -- the same

    return Leader(choose(name))


def waiting(command: Command) -> Command:
    """Add `--no-wait` and `--timeout`."""
    return no_wait(timeout(command))


Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def kinds(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Offer the kinds that begin so."""
    return [one.plural for one in NOUNS if one.plural.startswith(begun)]


def names_of(plural: str) -> Completer:
    """Return what offers the names of a kind's objects."""

    def offer(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
        return [name for name in _names(ctx, BY_NAME[plural]) if name.startswith(begun)]

    return offer


def kinds_and_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Offer kinds for the first word, names for the rest."""
    words: Sequence[str] = ctx.params.get(parameter.name or "") or ()
    if not words:
        return kinds(ctx, parameter, begun)
    found = BY_NAME.get(words[0])
    return [name for name in _names(ctx, found) if name.startswith(begun)] if found else []


def names_of_kind(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Offer the names of the kind that the argument before says."""
    found = BY_NAME.get(str(ctx.params.get("kind")))
    return [name for name in _names(ctx, found) if name.startswith(begun)] if found else []


def _names(ctx: click.Context, noun: Noun) -> Iterator[str]:
    """Yield names as the leader has them; none if it does not say so at once."""
    from katgen.cli.connection import Leader  # noqa: PLC0415 -- 50 ms that offline commands save
    from katgen.cli.contexts import choose  # noqa: PLC0415 -- the same
    from katgen.cli.documents import name  # noqa: PLC0415 -- the same
    from katgen.cli.fetching import listed  # noqa: PLC0415 -- the same
    from katgen.errors import KatError  # noqa: PLC0415 -- the same

    try:
        asked = Leader(choose(ctx.params.get("context_name") or ""), _COMPLETION_S)
        scope = str(ctx.params.get("namespace") or DEFAULT)
        yield from map(name, listed(asked, noun, scope))
    except KatError:
        return


def duration_s(text: str) -> int:
    """Return the seconds of `90`, `90s`, `10m`, `1h30m` or `2d`. Raises UsageError."""
    import re  # noqa: PLC0415 -- few commands read durations

    sizes = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    if not re.fullmatch(r"\d+|(\d+[smhd])+", text):
        raise click.UsageError(f"{text!r} is no length of time; write 90s, 10m or 1h30m")
    return sum(int(count) * sizes[unit] for count, unit in re.findall(r"(\d+)([smhd]?)", text))
