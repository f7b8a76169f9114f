"""The bell of kat-dns: who hears it, and who has to be told again."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.endpoints import files
from agent.endpoints.files import ring


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    where = str(tmp_path / "dns.sock")
    monkeypatch.setattr(files, "SOCKET", where)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(where)
        yield one


def test_who_listens_is_told_the_namespace(server: socket.socket) -> None:
    assert ring("shop")
    assert server.recv(100) == b"shop"


def test_who_has_no_room_left_has_not_heard(server: socket.socket) -> None:
    while ring("shop"):
        pass
    server.recv(100)
    assert ring("shop")


def test_who_is_not_there_reads_all_when_it_starts(server: socket.socket) -> None:
    server.close()
    assert ring("shop")
    Path(files.SOCKET).unlink()
    assert ring("shop")
