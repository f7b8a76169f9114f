"""What tests need of the machine. What is missing skips a test, and fails it under CI=true."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"


def rootfs_path() -> Path:
    """Return where the Debian root file system is: made by `make rootfs`, or KAT_ROOTFS."""
    return Path(os.environ.get("KAT_ROOTFS") or CACHE / "rootfs")


def missing(tools: Sequence[str]) -> list[str]:
    """Return a line for each thing that tests with real tools need and this machine lacks."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("root (the tests make namespaces, mounts and chroots)")
    lacks += [f"the program {tool}" for tool in tools if shutil.which(tool) is None]
    if not (rootfs_path() / "usr/bin/podman").exists():
        lacks.append(f"a root file system in {rootfs_path()} (make rootfs)")
    return lacks


def require(tools: Sequence[str]) -> None:
    """Skip the calling test, or fail it under CI=true, if something is missing."""
    lacks = missing(tools)
    if lacks:
        refuse(", ".join(lacks))


def refuse(what: str) -> NoReturn:
    """Skip the calling test, or fail it under CI=true, for want of something."""
    message = f"this machine lacks {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
