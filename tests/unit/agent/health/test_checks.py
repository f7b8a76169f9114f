"""Checks by command, over a fake PID 1."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from agent.health.checks import COMMANDS, Checks
from agent.ports import UnfitError
from katgen.bundle import InstanceEntry, Probe
from katgen.names import InstanceKey
from tests.fakes.systemd import FakeSystemd

READY = Probe("readiness", "exec", command=("/bin/ready", "-v"))
AT_ONCE = Probe("readiness", "exec", timeout_seconds=0, command=("/bin/ready",))
PODMAN = "/usr/bin/podman"
SOON_S = 5


def entry(namespace: str = "shop") -> InstanceEntry:
    return InstanceEntry(
        InstanceKey(f"{namespace}/web/0-1"), f"kat.{namespace}.web.0-1.service", ""
    )


@dataclass(slots=True)
class Programs(FakeSystemd):
    """PID 1 whose `podman exec` ends with `code`, or hangs until what it runs is killed.

    `asked` are the programs other than that.
    """

    code: int = 0
    hangs: bool = False
    asked: list[Sequence[str]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_program(self, unit: str, argv: Sequence[str], timeout_s: float) -> int:
        del unit, timeout_s
        if argv[0] != PODMAN:
            self.asked.append(argv)
            self.killed.add(argv[-1])
            self.news.set()
            return 0
        mark = argv[3].removeprefix("KAT_CHECK=")
        self.marks.append(mark)
        while self.hangs and mark not in self.killed:
            self.news.clear()
            await self.news.wait()
        return 137 if self.hangs else self.code


async def said(programs: Programs, probe: Probe = READY) -> str:
    return await asyncio.wait_for(Checks(programs).check(entry(), probe), SOON_S)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (1, "/bin/ready has ended with 1"),
        (127, "/bin/ready has ended with 127 (of podman exec: there is no such program)"),
        (-1, "/bin/ready could not be waited for: podman exec was killed"),
    ],
)
async def test_it_is_told_how_a_command_has_ended(code: int, words: str) -> None:
    assert await said(Programs(code=code)) == words


async def test_what_takes_too_long_is_killed_by_its_mark_and_podman_ends() -> None:
    programs = Programs(hangs=True)
    assert await said(programs, AT_ONCE) == "/bin/ready has not ended within 0 s"
    assert {argv[-1] for argv in programs.asked} == set(programs.marks)


async def test_each_check_has_a_mark_of_its_own() -> None:
    programs = Programs()
    checks = Checks(programs)
    for _ in range(3):
        await checks.check(entry(), READY)
    assert len(set(programs.marks)) == 3


async def test_a_bus_that_is_away_while_one_hangs_is_no_end_of_trying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs, run, failures = Programs(hangs=True), Programs.run_program, 1

    async def sometimes(systemd: Programs, unit: str, argv: Sequence[str], timeout_s: float) -> int:
        nonlocal failures
        if argv[0] != PODMAN and failures:
            failures -= 1
            raise UnfitError("systemd: the bus is away")
        return await run(systemd, unit, argv, timeout_s)

    monkeypatch.setattr("agent.health.checks._AGAIN_S", 0.01)
    monkeypatch.setattr(Programs, "run_program", sometimes)
    assert await said(programs, AT_ONCE) == "/bin/ready has not ended within 0 s"


async def test_commands_that_hang_keep_no_other_namespace_waiting() -> None:
    programs = Programs(hangs=True)
    checks = Checks(programs)
    slow = [asyncio.create_task(checks.check(entry(), READY)) for _ in range(COMMANDS)]
    for _ in range(5):
        await asyncio.sleep(0)
    programs.hangs = False
    assert await asyncio.wait_for(checks.check(entry("vault"), READY), SOON_S) == ""
    for one in slow:
        one.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
