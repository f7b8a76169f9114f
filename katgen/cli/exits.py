"""How `katcall` ends. `docs/reference/katcall.md` shows this table."""

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """An exit code and, as its description, what it means."""

    description: str

    def __new__(cls, value: int, description: str) -> Self:
        """Attach the description to the number."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    FINE = 0, "done; nothing is wrong with the input"
    PROBLEMS = 1, "the input has problems, or names what is not there; nothing was changed"
    USAGE = 2, "the command line is wrong"
    REFUSED = 3, "the input is well-formed, but KAT will not act on it; nothing was changed"
    UNREACHABLE = 4, "the leader cannot be reached, or fails; whether it acted, it says when asked"
    UNFINISHED = 5, "the change was accepted, but a workload is held back, fails, or takes too long"
    FAULT = 70, "a fault in KAT itself; please report it"
    INTERRUPTED = 130, "ended by Ctrl-C; a change that a leader has accepted goes on"
    PIPE_CLOSED = 141, "whoever read the output went away"
    TERMINATED = 143, "ended by SIGTERM; a change that a leader has accepted goes on"
