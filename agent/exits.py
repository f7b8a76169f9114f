"""How `kat-agent` ends: the numbers are those of `katcall`."""

from enum import IntEnum


class Exit(IntEnum):
    """An exit code."""

    FINE = 0
    PROBLEMS = 1  # something is wrong; what it is has been said
    USAGE = 2  # the command line is wrong
    REFUSED = 3  # KAT will not do it; nothing was changed
    FAULT = 70  # a fault in KAT itself
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143
