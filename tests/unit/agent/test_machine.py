"""How often a machine's programs are asked what they are."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent import machine
from agent.machine import LinuxMachine
from agent.ports import Ran
from tests.fakes import FakeNode


class Asked:
    """Programs that say the version that is in their file."""

    def __init__(self) -> None:
        self.programs: list[str] = []

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,  # noqa: ARG002 -- the port's signature
        env: Mapping[str, str],  # noqa: ARG002 -- the port's signature
        stdin: bytes = b"",  # noqa: ARG002 -- the port's signature
    ) -> Ran:
        self.programs.append(Path(argv[0]).name)
        return Ran(0, said_by(argv[0]), "")


def said_by(program: str) -> str:
    return f"{Path(program).name} version {Path(program).read_text(encoding='utf-8')}"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_PATH", str(tmp_path))
    for name in ("systemctl", "podman", "nft"):
        write(tmp_path / name, "1.2.3")
    return tmp_path


def write(program: Path, version: str, at: int = 1) -> None:
    program.write_text(version)
    program.chmod(0o755)
    os.utime(program, (at, at))


@pytest.mark.usefixtures("programs")
async def test_programs_are_asked_once() -> None:
    tools = Asked()
    linux = LinuxMachine(tools, FakeNode().systemd)
    assert (await linux.facts()).versions == (await linux.facts()).versions
    assert sorted(tools.programs) == ["nft", "podman", "systemctl"]


async def test_one_that_was_replaced_is_asked_again(programs: Path) -> None:
    tools = Asked()
    linux = LinuxMachine(tools, FakeNode().systemd)
    await linux.facts()
    write(programs / "podman", "1.3.0", at=2)
    assert (await linux.facts()).versions.podman == "1.3.0"
    assert tools.programs.count("podman") == 2
    assert tools.programs.count("nft") == 1


async def test_one_that_is_missing_has_no_version(programs: Path) -> None:
    (programs / "nft").unlink()
    versions = (await LinuxMachine(Asked(), FakeNode().systemd).facts()).versions
    assert (versions.nft, versions.netavark, versions.podman) == ("", "", "1.2.3")
