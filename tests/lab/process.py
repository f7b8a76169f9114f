"""Run a command to its end, or until it says that it is ready."""

import re
import socket
import subprocess
import time
from collections.abc import Sequence
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
