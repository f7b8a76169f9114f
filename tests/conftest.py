"""Fixtures for every folder: the real tools, and the root file system that holds them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import require, rootfs_path
from tests.lab.enclosure import enclosure
from tests.oracles.oracle import Oracle

CHROOT_TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "ip", "mount")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--bless`."""
    parser.addoption(
        "--bless", action="store_true", help="write expected files anew from what KAT does now"
    )


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
