"""`katcall delete`."""

import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import click
import msgspec

from katgen.cli import inputs, online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.cli.nouns import BY_KIND, Noun, targets
from katgen.cli.output import Form, print_json, remark
from katgen.cli.waiting import say_done, wait
from katgen.cli.written import Wait, say_changed, wait_from
from katgen.leader.answers import Changed, Progress, Written

_EPILOG = """\b
  katcall delete workload web
  katcall delete config/web-conf secret/web-tls -n shop
  katcall delete -f shop/"""
_COMPANIONS: Final = frozenset({"VirtualLoadBalancer", "JobDefinition", "BuildDefinition"})
"""What goes with its workload."""
_LATER: Final = {"Config": 1, "Secret": 1, "Namespace": 2, "ClusterConfiguration": 3, "Node": 3}
"""What others may still use is deleted after them."""
_NOT_FOUND: Final = 404


class Thing(NamedTuple):
    """An object to delete; the namespace is '' for kinds that have none."""

    noun: Noun
    namespace: str
    name: str


@click.command("delete", short_help="Take things out of the cluster.", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="[KIND NAME...]", shell_complete=online.kinds_and_names)
@options.files_if_any
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no problem.")
@online.namespace
@online.waiting
@options.form
@options.ending
@online.leader
def command(
    *,
    leader: Leader,
    words: Sequence[str],
    files: Sequence[str],
    namespace: str,
    form: Form,
    **given: str | bool,
) -> int:
    """Delete the objects that are named, or that the files hold, and wait until they are gone.

    With a workload go its VirtualLoadBalancer, JobDefinition and BuildDefinition. Nobody is asked
    whether that is meant. The data of volumes stays on the nodes.
    """
    if bool(words) == bool(files):
        raise click.UsageError("either KIND and NAME, or -f")
    waiting = wait_from(no_wait=bool(given["no_wait"]), timeout=str(given["timeout"]))
    things = [*(_in_files(files, namespace) if files else _named(words, namespace))]
    ignores = bool(given["ignore_not_found"])
    answers = _all_deleted(leader, things, form, ignores=ignores)
    lasts = _waited(leader, answers, waiting, form)
    if form is Form.JSON:
        print_json({"items": answers, "progress": lasts})
    elif lasts:
        say_done(lasts[-1])
    return Exit.FINE


def _all_deleted(
    leader: Leader, things: Sequence[Thing], form: Form, *, ignores: bool
) -> list[Written]:
    """Delete one after the other, and tell what went even if one does not. Raises LeaderError."""
    answers: list[Written] = []
    try:
        for thing in things:
            if answer := _deleted(leader, thing, ignores=ignores):
                answers.append(answer)
                _say(answer, form)
    except LeaderError:
        if form is Form.JSON:  # standard output has the problems, and no second document
            for changed in (each for one in answers for each in one.changed):
                remark(f"{changed.kind} {changed.namespace}/{changed.name} {changed.result}")
        raise
    return answers


def _say(answer: Written, form: Form) -> None:
    if form is Form.TABLE:
        for changed in answer.changed:
            say_changed(changed)


def _waited(
    leader: Leader, answers: Sequence[Written], waiting: Wait, form: Form
) -> Sequence[Progress]:
    if not waiting.is_wanted:
        return []
    versions = dict.fromkeys(one.resource_version for one in answers)
    end = time.monotonic() + waiting.timeout_s  # of all of them together
    return [wait(leader, one, max(0.0, end - time.monotonic()), form) for one in versions]


def _named(words: Sequence[str], namespace: str) -> Iterator[Thing]:
    for target in targets(words):
        noun = target.noun
        if not noun.is_deletable:
            hint = "; scale or delete its workload" if noun.kind == "Instance" else ""
            raise click.UsageError(f"{noun.plural} cannot be deleted like this{hint}")
        if not target.names:
            raise click.UsageError(f"say which {noun.plural}")
        for name in target.names:
            yield Thing(noun, namespace if noun.is_namespaced else "", name)


def _in_files(files: Sequence[str], namespace: str) -> Iterator[Thing]:
    """Yield what files hold, in an order in which it can go. Raises SpecError."""
    from katgen import parse  # noqa: PLC0415 -- 50 ms that deleting by name saves
    from katgen.errors import SpecError  # noqa: PLC0415 -- the same

    parsed = parse.parse(inputs.read(files))
    if parsed.problems:
        raise SpecError(parsed.problems)
    found = [
        thing
        for document in parsed.documents
        if (thing := _thing(document.value, namespace)) is not None
    ]
    workloads = {(one.namespace, one.name) for one in found if one.noun.kind == "Workload"}
    for one in sorted(found, key=lambda each: _LATER.get(each.noun.kind, 0)):
        if one.noun.kind in _COMPANIONS and (one.namespace, one.name) in workloads:
            continue
        yield one


def _thing(value: object, namespace: str) -> Thing | None:
    """Return what a document describes; None for kinds that are not deleted."""
    from katgen.cli.documents import name, text  # noqa: PLC0415 -- beside its only use
    from katgen.cli.documents import namespace as namespace_of  # noqa: PLC0415 -- the same

    noun = BY_KIND.get(text(value, "kind"))
    if noun is None or not noun.is_deletable:
        return None
    where = namespace_of(value) or namespace
    return Thing(noun, where if noun.is_namespaced else "", name(value))


def _deleted(leader: Leader, thing: Thing, *, ignores: bool) -> Written | None:
    noun = thing.noun
    scope = ("n", thing.namespace) if noun.is_namespaced else ()
    try:
        answer = leader.ask(Request(path(*scope, noun.plural, thing.name), "DELETE"), Written)
    except LeaderError as err:
        if ignores and err.status == _NOT_FOUND:
            return None
        raise
    if answer.changed:
        return answer
    changed = Changed(noun.kind, thing.namespace, thing.name, "deleted")
    return msgspec.structs.replace(answer, changed=(changed,))
