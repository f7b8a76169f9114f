"""What a service says to its service manager, sd_notify(3)."""

import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"
_MICROSECONDS: Final = 1_000_000


def notify(*lines: str) -> bool:
    """Send lines to the service manager; False if there is none. A lost message is no error."""
    at = os.environ.get("NOTIFY_SOCKET", "")
    if not at:
        return False
    address = "\0" + at[1:] if at.startswith("@") else at
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
    return True


def status(text: str) -> str:
    """Return the line that `systemctl status` shows."""
    return "STATUS=" + text.replace("\n", " ")


def watchdog_s() -> float:
    """Return how often the service manager wants to hear of us at least; 0 if it does not mind."""
    interval = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not interval.isdecimal() or meant != str(os.getpid()):
        return 0
    return int(interval) / _MICROSECONDS
