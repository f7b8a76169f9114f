"""What a leader's refusal means: problems that look as offline ones do, and an exit code."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.errors import Problem, Source
from katgen.leader.answers import Held, Trouble

_PLACE: Final = re.compile(r"(?::(\d+))?(?::(\d+))?(?: (.*))?", re.DOTALL)
_HINTS: Final = {
    HTTPStatus.UNAUTHORIZED: "katcall login --token-file FILE gives another token",
    HTTPStatus.FORBIDDEN: "ask for a token with a role that may",
    HTTPStatus.NOT_FOUND: "katcall get shows what there is",
    HTTPStatus.CONFLICT: "look at what is there now, then try again",
}
_EXITS: Final = {
    HTTPStatus.UNAUTHORIZED: Exit.REFUSED,
    HTTPStatus.FORBIDDEN: Exit.REFUSED,
    HTTPStatus.CONFLICT: Exit.REFUSED,
}


class _Answer(msgspec.Struct, rename="camel"):
    """RFC 9457."""

    title: str = ""
    detail: str = ""
    request_id: str = ""
    problems: tuple[Trouble, ...] = ()


def refusal(status: int, body: bytes, request: str, files: Mapping[str, str]) -> LeaderError:
    """Return the error that an answer of 400 and above means; `files` as in Request."""
    answer = _read(body)
    known = next((one for one in HTTPStatus if one == status), None)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = answer.detail or answer.title or (known.phrase if known else "")
        what = f"the leader failed: {status} {said}".rstrip()
        number = answer.request_id or request
        hint = "journalctl -u kat-leader says more" + (f" of request {number}" if number else "")
        return LeaderError([Problem(Source(), what, hint)], Exit.UNREACHABLE, status)
    exit_code = _EXITS.get(known, Exit.PROBLEMS) if known else Exit.PROBLEMS
    if answer.problems:
        return LeaderError((problem(one, files) for one in answer.problems), exit_code, status)
    what = answer.detail or answer.title or f"the leader answers {status}"
    hint = _HINTS.get(known, "") if known else ""
    return LeaderError([Problem(Source(), what, hint)], exit_code, status)


def _read(body: bytes) -> _Answer:
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's page, say
        return _Answer()


def problem(told: Trouble, files: Mapping[str, str]) -> Problem:
    """Return a problem with the place that the user knows; `files` as in Request."""
    return Problem(_source(told.at, files), told.what, told.hint)


def held_problem(one: Held) -> Problem:
    """Return the problem of a workload whose newest revision waits."""
    hint = "correct it and apply again; what ran before still runs"
    at = Source(path=f"{one.namespace}/{one.name}")
    return Problem(at, f"held back: {one.message or one.reason}", hint)


def _source(at: str, files: Mapping[str, str]) -> Source:
    for sent in sorted(files, key=len, reverse=True):
        place = _PLACE.fullmatch(at.removeprefix(sent)) if at.startswith(sent) else None
        if place:
            line, column, path = place.groups()
            return Source(files[sent], int(line or 0), int(column or 0), path or "")
    return Source(path=at)
