"""One applier at a time: the daemon, or a command that works by hand."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent import state
from agent.ports import UnfitError


@contextmanager
def alone(folder: str = state.AGENT) -> Iterator[None]:
    """Hold the lock of the agent's state; it ends with this process. Raises UnfitError if taken."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise UnfitError(f"{folder}: {err.strerror}; `kat-agent init` makes it") from err
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            what = "another kat-agent changes this node; wait for it, or stop kat-agent.service"
            raise UnfitError(what) from err
        yield
    finally:
        os.close(number)
