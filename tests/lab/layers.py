"""KAT as it is in the tree, installed for nodes: read-only layers below a node's root.

    /usr/bin/kat-agent, kat-leader, katcall
    /usr/lib/kat/    KAT and what it needs, byte-compiled by the root file system's own Python

A layer is made once for what it is made from and kept in `.cache/lab`: one of KAT's dependencies,
one of KAT, from a wheel built of the tree.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from tests.environment import CACHE, REPOSITORY, refuse, rootfs_path

STORE = CACHE / "lab"
DEPENDENCIES = CACHE / "other-python"
SOURCES = ("agent", "katgen", "units", "pyproject.toml", "README.md", "LICENSE")
SITE = "/usr/lib/kat"
UNUSED_S = 24 * 3600
"""After which a layer of an older tree is removed: no lab lives that long."""

PROGRAM = """#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "{site}")
from {module} import {function}

sys.exit({function}())
"""
# Nothing is written to the root file system: the mount is seen by these two programs only.
# Sources of a layer never change, so nobody needs to look whether they have.
COMPILE = f"""
mount --bind "$1" "$2/mnt"
# A file that does not compile says so to whoever imports it.
chroot "$2" /usr/bin/python3 -I -m compileall -qq -s /mnt --invalidation-mode unchecked-hash \
    /mnt{SITE} || true
"""


def kat_layers() -> tuple[Path, ...]:
    """Return the directories to lay over the root file system, topmost first.

    Skips the test where KAT's dependencies are not there for the root file system's Python.
    """
    if not (DEPENDENCIES / "made-from").exists():
        refuse(f"KAT's dependencies in {DEPENDENCIES} (make rootfs)")
    needs = (DEPENDENCIES / "made-from").read_bytes() + _base()
    sources = tree_sources()
    with _lock():
        return (
            _layer("kat", _digest(sources, _base()), lambda new: _install_kat(sources, new)),
            _layer("needs", _digest({}, needs), _install_dependencies),
        )


def tree_sources() -> dict[str, bytes]:
    """Return what a wheel is built from, by path: files that git tracks or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    present = [name for name in names if (REPOSITORY / name).is_file()]
    return {name: (REPOSITORY / name).read_bytes() for name in present}


def _base() -> bytes:
    """Return what the root file system was made from; another one may have another Python."""
    made = rootfs_path() / "made-from"
    return made.read_bytes() if made.exists() else str(rootfs_path()).encode()


def _digest(files: Mapping[str, bytes], more: bytes) -> str:
    digest = hashlib.sha256(more + Path(__file__).read_bytes())
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


@contextmanager
def _lock() -> Iterator[None]:
    """Keep a second process from making the same layer."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _layer(kind: str, digest: str, make: Callable[[Path], None]) -> Path:
    """Return a layer; make it if it is not there. A cut run leaves none that is half made."""
    made = STORE / f"{kind}-{digest}"
    if not made.is_dir():
        with tempfile.TemporaryDirectory(prefix="new-", dir=STORE) as scratch:
            new = Path(scratch) / "layer"
            (new / SITE.lstrip("/")).mkdir(parents=True)
            make(new)
            _compile(new)
            new.rename(made)
    os.utime(made)
    for other in STORE.glob(f"{kind}-*"):
        if time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other)
    return made


def _install_dependencies(new: Path) -> None:
    without = shutil.ignore_patterns("__pycache__", "bin", "made-from")
    shutil.copytree(DEPENDENCIES, new / SITE.lstrip("/"), ignore=without, dirs_exist_ok=True)


def _install_kat(sources: Mapping[str, bytes], new: Path) -> None:
    """Build a wheel away from the tree, where nothing of the build stays, and unpack it."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in sources.items():
            path = Path(scratch, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        offline = ["--no-deps", "--no-build-isolation", "--no-index"]
        pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "wheel"]
        subprocess.run([*pip, *offline, "-w", "made", "."], cwd=scratch, check=True)
        (wheel,) = Path(scratch, "made").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(new / SITE.lstrip("/"))
    _install_programs(new)


def _install_programs(new: Path) -> None:
    """Write an executable for each one that the wheel names."""
    (named,) = (new / SITE.lstrip("/")).glob("kat-*.dist-info/entry_points.txt")
    entries = ConfigParser()
    entries.read_string(named.read_text(encoding="utf-8"))
    folder = new / "usr/bin"
    folder.mkdir(parents=True)
    for program, entry in entries["console_scripts"].items():
        module, _, function = entry.partition(":")
        text = PROGRAM.format(site=SITE, module=module, function=function)
        (folder / program).write_text(text, encoding="utf-8")
        (folder / program).chmod(0o755)


def _compile(new: Path) -> None:
    command = ["unshare", "--mount", "sh", "-ec", COMPILE, "sh", str(new), str(rootfs_path())]
    subprocess.run(command, check=True)
