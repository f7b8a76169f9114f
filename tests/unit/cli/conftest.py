"""A leader to ask, and the context that leads to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.leader import FakeLeader, fake_leader, write_context


@pytest.fixture
def leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLeader]:
    """Return a leader that katcall asks."""
    for name in ("KATCALL_CONTEXT", "KATCALL_SERVER", "KATCALL_CA", "KATCALL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KATCALL_CONFIG", str(tmp_path / "config.json"))
    with fake_leader() as one:
        write_context(one, tmp_path / "config.json")
        yield one
