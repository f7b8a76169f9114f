"""`-w`: what is there, then what becomes of it, in any form, until Ctrl-C."""

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
import msgspec

from katgen.cli.connection import Leader
from katgen.cli.documents import Document
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError, failure
from katgen.cli.fetching import collection, no_instance
from katgen.cli.follow import Follower, News
from katgen.cli.nouns import Target
from katgen.cli.output import Form, has_colour, print_yaml, remark
from katgen.cli.sheet import Sheet
from katgen.cli.tables import Scene, columns, label

_NO_NEWS: Final = frozenset({"Event", "Generation"})
"""Kinds of which the oldest make room for others; that they go is not told."""
_NAME_FIELDS: Final = {"Event": "name", "Generation": "generation"}
Instances = Callable[[], Mapping[str, Sequence[Document]]]


@dataclass(frozen=True, slots=True)
class Watched:
    """What to watch, and how to print it.

    `has_types`: with what became of each. `is_later`: without what is there at first.
    """

    target: Target
    namespace: str
    query: Mapping[str, str]
    form: Form
    has_types: bool = False
    is_later: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether all columns are shown."""
        return self.form is Form.WIDE

    @property
    def has_namespace(self) -> bool:
        """Whether objects of several namespaces are told apart."""
        return not self.namespace and self.target.noun.is_namespaced


def watch(leader: Leader, watched: Watched, instances: Instances) -> int:
    """Print until Ctrl-C, which is the only good end. Raises LeaderError.

    `instances` gives those that wide rows of workloads speak of.
    """
    follower = Follower(leader, collection(watched.target.noun, watched.namespace, _query(watched)))
    show = _printer(watched, instances)
    _end_with_reader()
    try:
        for number, news in enumerate(follower.news()):
            told = [one for one in news if _is_told(one, watched)]
            if not number:
                _first(watched, told)
            if told and (number or not watched.is_later):
                show(told)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            remark()  # past the terminal's ^C
        return Exit.INTERRUPTED
    raise AssertionError("news never end")


def _end_with_reader() -> None:
    """End when nobody reads a pipe any more, as `tail -f` does: news may be long in coming."""
    try:
        number = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:  # it is none of the system's
        return
    if is_pipe:
        threading.Thread(target=_wait_for_end, args=(number,), daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    waiting = select.poll()
    waiting.register(pipe, 0)  # POLLERR comes unasked
    waiting.poll()
    os._exit(Exit.PIPE_CLOSED)


def _query(watched: Watched) -> Mapping[str, str]:
    """Return the query; a name is selected by its field."""
    if not watched.target.names:
        return watched.query
    kind, (name,) = watched.target.noun.kind, watched.target.names
    path = _NAME_FIELDS.get(kind, "metadata.name")
    if kind == "Instance" and "/" not in name:
        path = "workload"
    return {**watched.query, "fieldSelector": f"{path}={name}"}


def _is_told(one: News, watched: Watched) -> bool:
    return one.type != "DELETED" or watched.target.noun.kind not in _NO_NEWS


def _first(watched: Watched, news: Sequence[News]) -> None:
    """Say that nothing is there yet. Raises LeaderError if it was named."""
    if news:
        return
    noun, names = watched.target.noun, watched.target.names
    if names:
        raise _missing(watched)
    where = f" in the namespace {watched.namespace!r}" if watched.namespace else ""
    remark(f"there are no {noun.plural}{where if noun.is_namespaced else ''} yet")


def _missing(watched: Watched) -> LeaderError:
    noun, (name,) = watched.target.noun, watched.target.names
    if noun.kind == "Instance":
        return no_instance(name, watched.namespace)
    where = f"{watched.namespace}/" if noun.is_namespaced else ""
    return failure(f"there is no {noun.kind} {where}{name}", "katcall get shows what there is")


Printer = Callable[[Sequence[News]], None]


def _printer(watched: Watched, instances: Instances) -> Printer:
    match watched.form:
        case Form.TABLE | Form.WIDE:
            return _table(watched, instances)
        case Form.JSON:
            return lambda news: _each(watched, news, _json)
        case Form.YAML:
            return lambda news: _each(watched, news, _yaml)
        case Form.NAME:
            return lambda news: _names(watched, news)


def _table(watched: Watched, instances: Instances) -> Printer:
    noun = watched.target.noun
    chosen = columns(noun.kind, is_wide=watched.is_wide, has_namespace=watched.has_namespace)
    sheet = Sheet(chosen, has_types=watched.has_types)
    coloured = has_colour(sys.stdout)
    has_instances = noun.kind == "Workload" and watched.is_wide

    def show(news: Sequence[News]) -> None:
        scene = Scene(time.time(), instances() if has_instances else {})
        for line in sheet.lines(news, scene):
            click.echo(line, color=coloured)

    return show


def _each(watched: Watched, news: Sequence[News], write: Callable[[object], None]) -> None:
    for one in news:
        write({"type": one.type, "object": one.document} if watched.has_types else one.document)


def _json(value: object) -> None:
    """Print one line, for programs that read lines."""
    click.echo(msgspec.json.encode(value).decode())


def _yaml(value: object) -> None:
    click.echo("---")
    print_yaml(value)


def _names(watched: Watched, news: Sequence[News]) -> None:
    for one in news:
        named = f"{watched.target.noun.singular}/{label(one.document)}"
        click.echo(f"{one.type:<8}  {named}" if watched.has_types else named)
