"""What asking a leader can end with, beside an answer."""

from collections.abc import Iterable

from katgen.cli.exits import Exit
from katgen.errors import Problem, ProblemsError, Source


class LeaderError(ProblemsError):
    """No answer, or one that is a refusal. `exit` is how the command ends; `status` is HTTP's."""

    def __init__(
        self, problems: Iterable[Problem], exit_code: Exit = Exit.PROBLEMS, status: int = 0
    ) -> None:
        super().__init__(problems)
        self.exit = exit_code
        self.status = status


def failure(what: str, hint: str = "", exit_code: Exit = Exit.PROBLEMS) -> LeaderError:
    """Return an error about no place in a file."""
    return LeaderError([Problem(Source(), what, hint)], exit_code)
