"""Fixtures for every folder: the real tools, and the root file system that holds them."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.environment import require, rootfs_path
from tests.lab.enclosure import enclosure
from tests.oracles.oracle import Oracle
from tests.stages import BROKEN

CHROOT_TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "ip", "mount")
WHY = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--bless`."""
    parser.addoption(
        "--bless", action="store_true", help="write expected files anew from what KAT does now"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name a failed test at once: who ends a long run early knows what it was about."""
    report = yield
    terminal = item.config.pluginmanager.get_plugin("terminalreporter")
    if report.failed and terminal:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = getattr(crash, "message", "").partition("\n")[0][:WHY]
        terminal.write_line(f"\n{BROKEN[report.when != 'call']}{report.nodeid} - {why}")
    return report


@pytest.fixture
def blesses(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be written anew from what KAT does now."""
    return bool(request.config.getoption("--bless"))


@pytest.fixture(scope="session")
def rootfs() -> Path:
    """Return the Debian root file system, never to be written; skip the test without it."""
    require(CHROOT_TOOLS)
    return rootfs_path()


@pytest.fixture(scope="session")
def oracle(rootfs: Path) -> Iterator[Oracle]:
    """Return the judge of rendered files; what it has judged it remembers for the session."""
    assert rootfs.is_dir()
    with enclosure() as inside:
        yield Oracle(inside)
