"""What `-f` names: files, directories and standard input, read whole, in one fixed order."""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from katgen.errors import Problem, Source, SpecError
from katgen.parse.decode import FILE_MAX

STDIN: Final = "-"
SUFFIX: Final = ".kat"


@dataclass(slots=True)
class _Walk:
    """What was met on the way. A file or directory met twice, or through a link, counts once."""

    files: dict[str, str] = field(default_factory=dict)
    """Real path → the name that the user knows it by."""
    entered: set[tuple[int, int]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Take in what the user named."""
        if name == STDIN:
            self.files.setdefault(STDIN, STDIN)
            return
        try:
            mode = os.stat(name).st_mode  # noqa: PTH116 -- Path would rewrite the name shown in errors
        except (OSError, ValueError) as err:
            self.problems.append(unreadable(name, err))
            return
        if not stat.S_ISDIR(mode):
            self._take(name)
            return
        before = len(self.files), len(self.problems)
        self._enter(Path(name))
        if before == (len(self.files), len(self.problems)):
            what = f"is a directory without a {SUFFIX} file"
            self.problems.append(Problem(Source(name), what, "name another one"))

    def _take(self, name: str) -> None:
        self.files.setdefault(os.path.realpath(name), name)

    def _enter(self, folder: Path) -> None:
        try:
            status = folder.stat()
            inside = sorted(folder.iterdir())
        except OSError as err:
            self.problems.append(unreadable(str(folder), err))
            return
        if (status.st_dev, status.st_ino) in self.entered:
            return
        self.entered.add((status.st_dev, status.st_ino))
        for path in inside:
            if path.is_dir():
                self._enter(path)
            elif path.suffix == SUFFIX and (path.is_file() or path.is_symlink()):
                self._take(str(path))


def read(paths: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """Return (shown name, content) of every file that `paths` name, in the order of the names.

    Raises SpecError with every path that cannot be read.
    """
    walk = _Walk()
    for name in paths:
        walk.add(name)
    found = list(_contents(sorted(walk.files.values()), walk.problems))
    if walk.problems:
        raise SpecError(walk.problems)
    return tuple(found)


def found(paths: Iterable[str]) -> frozenset[str]:
    """Return the real path of every file that `paths` name, and `-` for standard input."""
    walk = _Walk()
    for name in paths:
        walk.add(name)
    return frozenset(walk.files)


def real(name: str) -> str:
    """Return the real path of a file, by the name that `read` gave it."""
    return STDIN if name == STDIN else os.path.realpath(name)


def read_one(name: str) -> bytes:
    """Return a file's content, whatever its size. Raises SpecError."""
    try:
        return _stdin().read() if name == STDIN else Path(name).read_bytes()
    except (OSError, ValueError) as err:
        raise SpecError([unreadable(name, err)]) from err


def _contents(names: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            content = _bounded(name)
        except (OSError, ValueError) as err:
            problems.append(unreadable(name, err))
            continue
        if len(content) > FILE_MAX:
            what = f"has more than {FILE_MAX} bytes"
            problems.append(Problem(Source(name), what, "split it"))
            continue
        yield name, content


def _bounded(name: str) -> bytes:
    """Read one byte more than is allowed at most: an endless device is refused, not read."""
    if name == STDIN:
        return _stdin().read(FILE_MAX + 1)
    with Path(name).open("rb") as file:
        return file.read(FILE_MAX + 1)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:  # whatever typeshed says: the shell closed it, `<&-`
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer


def unreadable(name: str, err: OSError | ValueError) -> Problem:
    """Return the problem of a path that the system refuses."""
    hints: dict[type[Exception], str] = {
        FileNotFoundError: "check the path",
        NotADirectoryError: "check the path",
        PermissionError: "let this user read it",
        IsADirectoryError: "name a file in it",
    }
    return Problem(_source(name), _reason(err), hints.get(type(err), ""))


def unwritable(name: str, err: OSError) -> Problem:
    """Return the problem of a directory that cannot be written."""
    hints: dict[int, str] = {
        errno.EACCES: "let this user write there, or name another directory",
        errno.EPERM: "let this user write there, or name another directory",
        errno.ENOSPC: "free some space, or name another directory",
    }
    return Problem(_source(name), _reason(err), hints.get(err.errno or 0, "name another directory"))


def _source(name: str) -> Source:
    return Source(name or "''")


def _reason(err: OSError | ValueError) -> str:
    return (getattr(err, "strerror", None) or str(err)).lower()
