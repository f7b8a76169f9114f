"""What a service manager hears, and one that does not read."""

import socket
import threading
from pathlib import Path

import pytest

from katgen.leader.notify import WATCHDOG, notify

MORE_THAN_FIT = 10_000
DEADLINE_S = 20


def test_a_manager_that_does_not_read_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        saying = threading.Thread(target=say_much, daemon=True)
        saying.start()
        saying.join(DEADLINE_S)
        assert not saying.is_alive()
        assert manager.recv(100) == WATCHDOG.encode()


def say_much() -> None:
    for _ in range(MORE_THAN_FIT):
        notify(WATCHDOG)
