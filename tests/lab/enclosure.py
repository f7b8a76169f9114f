"""A mount, network and PID namespace that end together.

The first process of the PID namespace reads a pipe whose other end only the test process holds.
When that end closes, for whatever reason, the reader ends, the kernel kills everything else in the
namespace, and mounts and links go with the last process. So nothing is left to clean up.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

SCRATCH = "/mnt"
"""A tmpfs in the enclosure for uppers and container storage: Podman's overlay driver accepts it."""

SETUP = f"""
set -eu
mount -t tmpfs -o mode=0755,size=75% lab {SCRATCH}
ip link set lo up
echo ready
exec cat
"""
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Enclosure:
    """`pid` is that of its first process, as the test process sees it.

    `children` are long-running commands inside; they end with it.
    """

    pid: int
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` inside."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "--", *argv]

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """Run a command inside, return its output. RuntimeError with its text if it fails."""
        done = subprocess.run(self.command(argv), input=stdin, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def start(self, argv: Sequence[str], log: BinaryIO) -> "subprocess.Popen[bytes]":
        """Start a command that may run as long as the enclosure does; its output goes to `log`."""
        child = subprocess.Popen(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.children.append(child)
        return child


@contextmanager
def enclosure() -> Iterator[Enclosure]:
    """Make one, and end it with the block."""
    # A session of its own: Ctrl-C goes to the test, which then ends the enclosure in order.
    keeper = subprocess.Popen(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", SETUP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    inside: Enclosure | None = None
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline()
        if said != b"ready\n":
            rest = keeper.stdout.read()
            raise RuntimeError(
                f"cannot make a lab: {(said + rest).decode(errors='replace').strip()}"
            )
        inside = Enclosure(_only_child(keeper.pid))
        yield inside
    finally:
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait(timeout=STOP_S)
        for child in inside.children if inside else ():
            child.wait(timeout=STOP_S)


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))
