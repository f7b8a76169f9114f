"""What can be wrong, and where.

KatError
├── SpecError      the input has problems              exit 1
├── RefusedError   the input is well-formed, but KAT   exit 3
│                  will not act on it
└── EncodeError    a value that a file's grammar cannot carry; validation
                   refuses such values first, so this one means a gap there
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A place in the input: `web.kat:7:5 spec.container.ports[0]`.

    Lines and columns count from 1; 0 means that the place is not known. `file` is `-` for standard
    input.
    """

    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return f"{place} {self.path}".strip()


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A fault in input or plan: where, what, and what to do about it (`hint`, may be empty)."""

    at: Source
    what: str
    hint: str = field(default="")

    def __str__(self) -> str:
        head = f"{self.at}: {self.what}" if str(self.at) else self.what
        return f"{head}; {self.hint}" if self.hint else head


class KatError(Exception):
    """Root of everything that KAT raises on purpose."""


class ProblemsError(KatError):
    """Carries every problem found, sorted by place, never only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class SpecError(ProblemsError):
    """The input has problems."""


class RefusedError(ProblemsError):
    """The input is well-formed, but KAT will not act on it."""


class EncodeError(KatError):
    """A value that no encoding of the target grammar can carry."""
