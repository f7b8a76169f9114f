"""`python -m tests.lab up [--nodes N] | shell NODE [CMD…] | down`: a lab to look around in.

Its nodes are real systemd hosts a, b, … at 192.0.2.11, .12, …, with the tree's KAT installed, the
image localhost/bb:1, and a registry at 192.0.2.11:5000 that has it as bb:1. They may reboot.
"""

import argparse
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.environment import REPOSITORY, missing
from tests.lab import standing
from tests.lab.cgroups import sweep
from tests.lab.hosts import TOOLS

END_S = 60
LOG_LINES = 20


def main(argv: Sequence[str]) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="A lab to look around")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "keep"):
        verbs.add_parser(verb).add_argument("--nodes", type=_count, default=1, metavar="N")
    shell_parser = verbs.add_parser("shell")
    shell_parser.add_argument("node")
    shell_parser.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("down")
    does: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": lambda given: up(given.nodes),
        "keep": lambda given: keep(given.nodes),
        "shell": lambda given: shell(given.node, given.command),
        "down": lambda _: down(),
    }
    given = parser.parse_args(argv)
    try:
        return does[given.verb](given)
    except standing.LabError as err:
        complain(str(err))
        return 1


def up(count: int) -> int:
    """Boot a lab and leave it to its keeper. If this is interrupted there is no lab."""
    if lacks := missing(TOOLS):
        complain(f"this machine lacks {', '.join(lacks)}")
        return 2
    if standing.is_up():
        raise standing.LabError(standing.ALREADY)
    standing.FOLDER.mkdir(parents=True, exist_ok=True)
    log = standing.FOLDER / "log"
    keep = [sys.executable, "-m", "tests.lab", "keep", "--nodes", str(count)]
    pipe = subprocess.PIPE
    with log.open("wb") as text:
        keeper = subprocess.Popen(
            keep, cwd=REPOSITORY, stdout=pipe, stderr=text, start_new_session=True
        )
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline()
    except KeyboardInterrupt:
        keeper.terminate()
        keeper.wait(END_S)
        complain("interrupted: no lab")
        return 130
    if said != b"ready\n":
        keeper.wait(END_S)
        complain("\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]))
        return 1
    for node in standing.nodes():
        say(f"{node.name}  {node.address}  python -m tests.lab shell {node.name}")
    return 0


def keep(count: int) -> int:
    """Be the keeper."""
    standing.keep(count)
    return 0


def shell(name: str, command: Sequence[str]) -> int:
    """Become a command on a node, or a shell."""
    found = {node.name: node for node in standing.nodes()}
    if name not in found:
        raise standing.LabError(f"no node {name}: there are {', '.join(found)}")
    term = os.environ.get("TERM", "dumb")
    inside = ["env", "HOME=/root", f"TERM={term}", *(command or ["bash", "-l"])]
    try:
        argv = found[name].command(inside)
    except RuntimeError as err:
        raise standing.LabError(str(err)) from err
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606 -- the user's own command, with the user's terminal


def down() -> int:
    """End the lab; return when nothing of it is left. It is no error if there is none."""
    try:
        pid = standing.keeper()
    except standing.LabError:
        sweep()
        return 0
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    is_gone = bool(select.select([ended], [], [], END_S)[0])
    os.close(ended)
    if not is_gone:
        complain(f"the keeper, process {pid}, does not end")
    return int(not is_gone)


def say(line: str) -> None:
    """Print."""
    sys.stdout.write(f"{line}\n")


def complain(line: str) -> None:
    """Print to standard error."""
    sys.stderr.write(f"{line}\n")


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= len(standing.NAMES):
        raise argparse.ArgumentTypeError(f"1 to {len(standing.NAMES)}")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
