"""What can be wrong with a request.

KatError
└── RequestError         an answer of its own: `status`, and all problems if there are several
    ├── InputError       400, 413, 415 or 422: the body
    ├── MissingError     404
    ├── TakenError       409: it exists, it is in use, or somebody else changed it
    ├── GoneAnswerError  410: what it refers to is not remembered any more
    ├── LimitedError     429: too much at a time
    └── DeniedError      401 or 403
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from katgen.errors import KatError, Problem

PROBLEMS_MAX: Final = 1000
"""Of one answer."""


class RequestError(KatError):
    """A request that is answered with an error. `detail` never holds a secret."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self, detail: str, *, status: HTTPStatus | None = None, problems: Iterable[Problem] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status or self.status
        self.problems = tuple(sorted(set(problems))[:PROBLEMS_MAX])


class InputError(RequestError):
    """The body cannot be read, is too large, or has problems."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class MissingError(RequestError):
    """There is no such thing, or it is none of the caller's business."""

    status = HTTPStatus.NOT_FOUND


class TakenError(RequestError):
    """What is there stands against it."""

    status = HTTPStatus.CONFLICT


class GoneAnswerError(RequestError):
    """The version or page is not remembered any more: list again."""

    status = HTTPStatus.GONE


class LimitedError(RequestError):
    """The caller asks for too much at a time; `retry_s` is when it may ask again."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, retry_s: int) -> None:
        super().__init__(detail)
        self.retry_s = retry_s


class DeniedError(RequestError):
    """The caller is unknown, or may not do this."""

    status = HTTPStatus.UNAUTHORIZED
