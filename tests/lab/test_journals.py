"""A failed test's journals."""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

from tests.environment import REPOSITORY
from tests.lab import Node, RunError, host, journals, power

BROKEN = b"[Service]\nType=oneshot\nExecStart=sh -c 'echo what went wrong; exit 1'\n"
KAT = b"[Service]\nType=oneshot\nExecStart=echo what KAT said\n"
OTHER = b"[Service]\nType=oneshot\nExecStart=echo what nobody asks for\n"
RED = """
import pytest
from tests.lab import host

@pytest.fixture(scope="module")
def node():
    with host() as booted:
        yield booted

def test_red(node):
    script = "echo I am r''ed; exit 1"
    node.run(["systemd-run", "-q", "--wait", "--unit=kat-red", "sh", "-c", script])
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    units = {"broken": BROKEN, "kat-one": KAT, "other": OTHER}
    files = {f"/etc/systemd/system/{name}.service": text for name, text in units.items()}
    with host(files=files) as booted:
        for name in units:
            booted.run(["systemctl", "start", name], check=False)
        yield booted


def test_they_hold_what_kat_and_failed_units_said_and_nothing_else(node: Node) -> None:
    text = journals.journal(node)
    assert "broken.service loaded failed failed" in text
    assert "what went wrong" in text
    assert "what KAT said" in text
    assert "what nobody asks for" not in text


def test_those_of_a_node_that_is_off_come_from_its_disk(node: Node) -> None:
    power.crash(node)
    text = journals.journal(node)
    assert "node a is off" in text
    assert "what KAT said" in text


def test_those_of_a_lab_that_ended_in_a_failure_are_kept_until_they_are_collected() -> None:
    with pytest.raises(RunError, match="No such file"):
        _fail()
    assert "what one that ended said" in journals.collect()
    assert "what one that ended said" not in journals.collect()


def _fail() -> None:
    unit = KAT.replace(b"KAT", b"one that ended")
    with host(files={"/etc/systemd/system/kat-one.service": unit}) as node:
        node.run(["systemctl", "start", "kat-one"])
        node.run(["cat", "/missing"])


def test_the_report_of_a_failed_test_has_them(tmp_path: Path) -> None:
    (tmp_path / "test_red.py").write_text(RED)
    plugin = ["-p", "tests.lab.conftest", "-p", "no:cacheprovider", "-c", "/dev/null"]
    argv = [sys.executable, "-m", "pytest", *plugin, str(tmp_path)]
    shown = run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    assert "journals, all in" in shown
    assert "I am red" in shown
