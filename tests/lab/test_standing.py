"""`python -m tests.lab`: a lab stands until `down`, and goes with its keeper."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import REPOSITORY, require
from tests.lab.cgroups import hierarchies, sweep
from tests.lab.hosts import TOOLS

LAB = [sys.executable, "-m", "tests.lab"]
END_S = 60
COMES_BACK = """
for n in $(seq 300); do
    now=$(timeout -k 1 10 "$@" shell a cat /proc/sys/kernel/random/boot_id)
    test "$now" && test "$now" != "$BEFORE" && exit 0
    sleep 0.1
done
exit 1
"""
STOOD = """\
a  192.0.2.11  python -m tests.lab shell a
b  192.0.2.12  python -m tests.lab shell b
"""
BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make place for another lab than the module's, and than the developer's."""
    require(TOOLS)
    monkeypatch.setenv("KAT_LAB", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def _stood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    require(TOOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAT_LAB", str(tmp_path_factory.mktemp("lab")))
        assert lab("up", "--nodes", "2").stdout == STOOD
        yield
        assert lab("down").returncode == 0


def lab(*argv: str) -> subprocess.CompletedProcess[str]:
    run = [*LAB, *argv]
    return subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def groups_of(pid: int) -> list[Path]:
    return [group for tree in hierarchies() for group in tree.glob(f"kat-lab-{pid}-*")]


def wait_for_end(pidfd: int) -> None:
    assert select.select([pidfd], [], [], END_S)[0] == [pidfd], "it does not end"
    os.close(pidfd)


@pytest.mark.usefixtures("_stood")
def test_a_shell_runs_a_command_and_ends_as_it_does() -> None:
    ran = lab("shell", "b", "sh", "-c", "hostname; echo $HOME; exit 7")
    assert (ran.stdout, ran.returncode) == ("b\n/root\n", 7)


@pytest.mark.usefixtures("_stood")
def test_kat_the_image_and_the_registry_are_there() -> None:
    script = "katcall version; podman images -n; podman pull -q 192.0.2.11:5000/bb:1"
    said = lab("shell", "b", "sh", "-ec", script).stdout
    assert "katcall" in said
    assert "localhost/bb" in said
    assert len(said.splitlines()) == 3


@pytest.mark.usefixtures("_stood")
def test_an_unknown_node_is_named_with_those_there_are() -> None:
    ran = lab("shell", "c")
    assert (ran.stderr, ran.returncode) == ("no node c: there are a, b\n", 1)


@pytest.mark.usefixtures("_stood")
def test_a_second_lab_is_refused() -> None:
    ran = lab("up")
    assert "a lab is up already" in ran.stderr
    assert ran.returncode == 1
    assert lab("shell", "a", "true").returncode == 0


@pytest.mark.usefixtures("_stood")
def test_a_node_that_reboots_comes_back() -> None:
    before = lab("shell", "a", *BOOT_ID).stdout.strip()
    lab("shell", "a", "systemctl", "reboot")
    environment = {**os.environ, "BEFORE": before}
    script = ["sh", "-c", COMES_BACK, "sh", *LAB]
    subprocess.run(script, cwd=REPOSITORY, env=environment, check=True, timeout=3 * END_S)


def test_down_ends_all_of_it_and_may_be_said_twice(folder: Path) -> None:
    assert lab("up").returncode == 0
    state = json.loads((folder / "state.json").read_text())
    inside = os.pidfd_open(state["enclosure"])
    assert lab("down").returncode == 0
    wait_for_end(inside)
    assert groups_of(state["keeper"]) == []
    assert lab("shell", "a").stderr == "no lab is up: python -m tests.lab up\n"
    assert lab("down").returncode == 0


def test_a_killed_keeper_takes_its_lab_along(folder: Path) -> None:
    assert lab("up").returncode == 0
    state = json.loads((folder / "state.json").read_text())
    inside = os.pidfd_open(state["enclosure"])
    os.kill(state["keeper"], signal.SIGKILL)
    wait_for_end(inside)
    assert lab("shell", "a").stderr == "no lab is up: python -m tests.lab up\n"
    assert lab("down").returncode == 0
    assert groups_of(state["keeper"]) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_up_leaves_no_lab(folder: Path, how: signal.Signals) -> None:
    with subprocess.Popen([*LAB, "up"], cwd=REPOSITORY, start_new_session=True) as up:
        keeper = keeper_of(up)
        ended = os.pidfd_open(keeper)
        up.send_signal(how)
    wait_for_end(ended)
    sweep()
    assert groups_of(keeper) == []
    assert not (folder / "state.json").exists()


def keeper_of(up: subprocess.Popen[bytes]) -> int:
    """Wait until `up` has a keeper that has begun to make a lab, and return its process."""
    children = Path(f"/proc/{up.pid}/task/{up.pid}/children")
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        for pid in map(int, children.read_text().split()):
            if groups_of(pid):
                return pid
    raise TimeoutError
