"""What a service says to its service manager, sd_notify(3)."""

import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"


def notify(*lines: str) -> None:
    """Send lines to the service manager, if there is one. A lost message is no error.

    Only READY=1 waits for a manager that does not read just now; all else comes again, or can be
    done without, and must not hold up who says it.
    """
    at = os.environ.get("NOTIFY_SOCKET", "")
    if not at:
        return
    flags = 0 if READY in lines else socket.MSG_DONTWAIT
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), flags, at.replace("@", "\0", 1))
        except OSError:
            return


def watchdog_s() -> float:
    """Return how often the service manager wants to hear of us at least; 0 if it does not mind."""
    interval = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(interval) / 1_000_000 if interval.isdecimal() and meant == str(os.getpid()) else 0
