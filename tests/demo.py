"""`make demo`: the README's story of one machine, on a real systemd host made for it.

A host boots in namespaces of its own, with KAT installed from this tree. Every command of the story
runs on it, and what it prints is shown. With KEEP=1 the host stays up until Ctrl-C.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

from tests import story
from tests.docs.blocks import is_match
from tests.environment import missing
from tests.lab import Node, host
from tests.lab.hosts import TOOLS

NAME = "alpha"
TALE = "one machine"
KEPT = """
The host is up until you press Ctrl-C. Another terminal, as root, gets a shell on it by

  {command} bash
"""


def main() -> int:
    """Run the demo; 1 if the README tells something else, 2 if this machine lacks something."""
    lacks = missing(TOOLS)
    if lacks:
        say(f"this machine lacks {', '.join(lacks)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run()
    except KeyboardInterrupt:
        say("\nthe host is gone, and all that was on it")
        return 0


def run() -> int:
    """Boot a host, do on it what the story tells, and show it."""
    with contextlib.ExitStack() as until_done:
        with step(
            "a systemd host boots, with KAT installed and a registry that stands in for others"
        ):
            node = until_done.enter_context(host(NAME, kat=True))
            story.prepare(node, "simple-service")
        differs = [one.command.text for one in told(node) if not is_as_shown(one)]
        if os.environ.get("KEEP"):
            keep(node)
    for text in differs:
        say(f"\nthe README shows something else for: {text}")
    return int(bool(differs))


def told(node: Node) -> Iterator[story.Told]:
    """Run the story and show each command with what it prints and how long it takes."""
    start = time.monotonic()
    for one in story.tell(node, TALE):
        say(f"\n{NAME}# {one.command.text}")
        for line in one.printed:
            say(line)
        say(f"   {time.monotonic() - start:.1f} s")
        yield one
        start = time.monotonic()


def is_as_shown(one: story.Told) -> bool:
    """Whether a command printed what the README shows."""
    return is_match(one.command.output, one.printed)


def keep(node: Node) -> None:
    """Start KAT again, say how to get in, and wait for Ctrl-C."""
    node.run(["systemctl", "-q", "enable", "--now", "kat-leader", "kat-agent"])
    say(KEPT.format(command=" ".join(node.command(["env", "HOME=/root", "TERM=xterm"]))))
    signal.pause()


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print a title, and how long the step took."""
    say(f"== {title}")
    start = time.monotonic()
    yield
    say(f"   {time.monotonic() - start:.1f} s")


def say(line: str) -> None:
    """Print, before anything that a child prints next."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
