from pathlib import Path

import pytest

from agent.alone import alone
from agent.ports import UnfitError


def test_a_second_applier_is_told_that_there_is_one(tmp_path: Path) -> None:
    told = pytest.raises(UnfitError, match="another kat-agent changes this node")
    with alone(str(tmp_path)), told, alone(str(tmp_path)):
        pass
    with alone(str(tmp_path)):
        pass


def test_a_machine_that_is_no_node_has_nothing_to_lock(tmp_path: Path) -> None:
    told = pytest.raises(UnfitError, match="`kat-agent init` makes it")
    with told, alone(str(tmp_path / "agent")):
        pass
