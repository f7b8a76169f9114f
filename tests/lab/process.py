"""Run a command to its end, during a block, or until it says that it is ready."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

RUN_S = 60
POLL_S = 1


class RunError(AssertionError):
    """A command failed; its text is in the message."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. What is not UTF-8 in its output is there as surrogates."""

    code: int
    stdout: str
    stderr: str

    def checked(self, argv: Sequence[str]) -> "Ran":
        """Return itself if the command succeeded, else raise RunError."""
        if self.code != 0:
            raise RunError(f"{' '.join(argv)}: exit {self.code}\n{self.stdout}{self.stderr}")
        return self


def finish(command: Sequence[str], stdin: bytes = b"", timeout_s: float = RUN_S) -> Ran:
    """Run a command and wait for it."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=timeout_s)
    return Ran(done.returncode, _text(done.stdout), _text(done.stderr))


@contextmanager
def begun(command: Sequence[str], *, ends_within_s: float) -> Iterator[list[str]]:
    """Run a command that prints `begun` at once, and the rest when its standard input ends.

    That is at the end of the block; the list then holds the rest. subprocess.TimeoutExpired if it
    does not end in time, also after a block that failed.
    """
    pipe, said = subprocess.PIPE, list[str]()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            assert child.stdout.readline() == "begun\n"
            yield said
        finally:
            child.stdin.close()
            child.stdin = None
            try:
                said.append(child.communicate(timeout=ends_within_s)[0])
            except BaseException:
                child.kill()  # or it is waited for
                raise


def wait_ready(notify: socket.socket, child: subprocess.Popen[bytes], timeout_s: float) -> str:
    """Return all that a child has sent when it says READY=1, sd_notify(3).

    TimeoutError if it ends before, or takes too long.
    """
    said = ""
    deadline = time.monotonic() + timeout_s
    notify.settimeout(POLL_S)
    while time.monotonic() < deadline:
        try:
            said += notify.recv(4096).decode(errors="replace") + "\n"
        except TimeoutError:
            if child.poll() is not None:
                break
        if re.search(r"^READY=1$", said, re.MULTILINE):
            return said
    raise TimeoutError


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
