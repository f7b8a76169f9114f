"""Run on a host in place of kat-agent: the real daemon, killed after the n-th thing that it does.

While `ARMED` is there, everything that changes the node counts: a file that is half written, moved
into its place or deleted, a call to systemd, the end of its job, a program's end, a container's
removal. Files below the scratch directory do not, but for its end. `ARMED` holds n; 0 kills never.
Each is a line in `TRACE`.
"""

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, "/usr/lib/kat")
from agent import dbus, files, podman, systemd, tools
from agent.main import run
from agent.stage import SCRATCH

FOLDER = Path("/run/kat/lab")
ARMED, TRACE = FOLDER / "armed", FOLDER / "trace"
CALLS = frozenset(
    {"StartUnit", "StopUnit", "RestartUnit", "ReloadOrRestartUnit", "ResetFailedUnit", "Reload"}
)
JOBS = ("start", "stop", "restart", "reload", "daemon_reload", "reload_networkd")
Method = Callable[..., Awaitable[Any]]
counts: Counter[int] = Counter()
"""By when the agent was armed."""


def is_due(what: str) -> bool:
    """Count something; whether the agent dies of it."""
    if (f"{SCRATCH}/" in what and not what.endswith("/")) or not ARMED.exists():
        return False
    armed = ARMED.stat().st_mtime_ns
    counts[armed] += 1
    with TRACE.open("a", encoding="utf-8") as out:
        out.write(f"{what}\n")
    return counts[armed] == int(ARMED.read_text(encoding="utf-8"))


def after(what: str) -> None:
    """Count something that has been done."""
    if is_due(what):
        os.kill(os.getpid(), signal.SIGKILL)


class Disk:
    """The module `os`; what changes a file counts."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever `os` has
        """Return what does not count as it is."""
        return getattr(os, name)

    def write(self, fd: int, content: memoryview) -> int:
        """Write; the last thing of a life writes half of it."""
        if is_due(f"half of {os.readlink(f'/proc/self/fd/{fd}')}"):  # noqa: PTH115 -- text
            os.write(fd, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(fd, content)

    def rename(self, new: str, place: str) -> None:
        """Move a file into its place."""
        os.rename(new, place)  # noqa: PTH104 -- as it is called
        after(f"write {place}")

    def unlink(self, path: str) -> None:
        """Delete a file."""
        os.unlink(path)  # noqa: PTH108 -- as it is called
        after(f"delete {path}")

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(path)  # noqa: PTH102 -- as it is called
        after(f"mkdir {path}")


class Trees:
    """The module `shutil`; a deleted tree counts."""

    def rmtree(self, path: str) -> None:
        """Delete a directory."""
        shutil.rmtree(path)
        after(f"delete {path}/")


def counted(method: Method, label: Callable[..., str]) -> Method:
    """Return a method whose end counts, unless its label is empty."""

    async def wrapped(*given: Any, **more: Any) -> Any:  # noqa: ANN401 -- whatever it is given
        answer = await method(*given, **more)
        if what := label(*given[1:]):
            after(what)
        return answer

    return wrapped


def called(_: object, member: str, *rest: object) -> str:
    """Return the label of a call over D-Bus that changes something."""
    return f"call {member} {rest[1] if len(rest) > 1 else ''}" if member in CALLS else ""


def ran(argv: tuple[str, ...], **_: object) -> str:
    """Return the label of a program; one that only asks is run at any time."""
    return "" if {"list", "--version", "-c"} & {*argv} else f"run {' '.join(argv[:2])}"


def main() -> int:
    """Be the agent until the count is full."""
    mock.patch.object(files, "os", Disk()).start()
    mock.patch.object(files, "shutil", Trees()).start()
    methods: dict[tuple[type, str], Callable[..., str]] = {
        (dbus.Bus, "call"): called,
        (tools.Subprocesses, "run"): ran,
        (podman.PodmanService, "remove"): lambda name: f"remove {name}",
        **{(systemd.DBusSystemd, name): _ended(name) for name in JOBS},
    }
    for (owner, name), label in methods.items():
        mock.patch.object(owner, name, counted(getattr(owner, name), label)).start()
    return run(["run"])


def _ended(verb: str) -> Callable[..., str]:
    return lambda *unit: f"end of {verb} {unit[0] if unit else ''}"


if __name__ == "__main__":
    sys.exit(main())
