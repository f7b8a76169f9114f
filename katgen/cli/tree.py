"""A directory of rendered files: written whole beside the old one, then exchanged with it.

`SHA256SUMS` in it lists every file, in the format of sha256sum(1). What is not listed there, or
differs from it, is somebody else's, and a directory that holds such a file is left alone.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from katgen.cli.output import counted
from katgen.errors import Problem, RefusedError, Source

SUMS: Final = "SHA256SUMS"
_SHOWN: Final = 3
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file: its path in the tree, relative and with `/`, its content and its mode."""

    path: str
    content: bytes
    mode: int = 0o644


def write_tree(target: Path, files: Iterable[TreeFile]) -> None:
    """Make `target` hold exactly `files`, or leave it as it is.

    Raises RefusedError if it holds a file that no earlier call wrote, OSError if writing fails.
    """
    real = target.resolve()
    _refuse_foreign(target, real)
    real.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{real.name}.", dir=real.parent))
    try:
        _fill(draft, files)
        draft.chmod(_mode_of(real))
        _put_in_place(draft, real)
    except OSError as err:  # in words of the target: nobody knows the draft's name
        raise OSError(err.errno, err.strerror, str(target)) from err
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(folder: Path, files: Iterable[TreeFile]) -> None:
    sums = []
    made: set[str] = set()
    for file in files:
        path = f"{folder}/{file.path}"
        parent = path.rpartition("/")[0]
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 -- a Path per file doubles the time
            made.add(parent)
        _write(path, file)
        sums.append(f"{hashlib.sha256(file.content).hexdigest()}  {file.path}")
    listing = "".join(f"{_escaped(line)}\n" for line in sorted(sums, key=lambda s: s[66:]))
    _write(f"{folder}/{SUMS}", TreeFile(SUMS, listing.encode()))


def _write(path: str, file: TreeFile) -> None:
    with open(path, "xb") as opened:  # noqa: PTH123 -- a Path per file doubles the time
        opened.write(file.content)
        os.fchmod(opened.fileno(), file.mode)


def _escaped(line: str) -> str:
    """Escape a line as sha256sum does: it begins with a backslash if its name needed any."""
    escaped = line.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return line if escaped == line else f"\\{escaped}"


def _unescaped(line: str) -> str:
    if not line.startswith("\\"):
        return line
    parts = line[1:].split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)


def _mode_of(real: Path) -> int:
    """Return the mode that the directory has, or that mkdir would give it."""
    if real.exists():
        return real.stat().st_mode & 0o7777
    umask = os.umask(0)
    os.umask(umask)
    return 0o777 & ~umask


def _refuse_foreign(shown: Path, real: Path) -> None:
    if not real.exists():
        return
    hint = "name another directory"
    if not real.is_dir():
        raise _refused(shown, "is no directory", hint)
    if Path.cwd().is_relative_to(real):
        raise _refused(shown, "is the working directory, or holds it, and would be replaced", hint)
    found: dict[str, list[str]] = {}
    for path, what in _foreign(real):
        found.setdefault(what, []).append(path)
    if found:
        hint = "KAT replaces only what it wrote: move them away, or name another directory"
        raise RefusedError(
            Problem(
                Source(str(shown)), f"{counted(len(paths), 'file')} {what}: {_few(paths)}", hint
            )
            for what, paths in found.items()
        )


def _few(paths: list[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _refused(shown: Path, what: str, hint: str) -> RefusedError:
    return RefusedError([Problem(Source(str(shown)), what, hint)])


def _foreign(real: Path) -> Iterator[tuple[str, str]]:
    """Yield each file that is not as an earlier call left it. Directories alone are nobody's."""
    sums = _sums(real / SUMS)
    for path in _files(real):
        relative = str(path.relative_to(real))
        if relative not in sums:
            yield relative, "not written by KAT"
        elif path.is_symlink() or not path.is_file() or sums[relative] != _digest(path):
            yield relative, "edited since KAT wrote it"


def _files(real: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(real, onerror=_raise):
        links = [name for name in inner if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted((*names, *links)))


def _raise(err: OSError) -> None:
    raise err


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sums(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return {}
    return {SUMS: _digest(path), **{line[66:]: line[:64] for line in map(_unescaped, lines)}}


def _put_in_place(draft: Path, real: Path) -> None:
    """Exchange two directories in one step where the file system can (renameat2(2))."""
    if not real.exists():
        draft.rename(real)
        return
    if _exchanged(draft, real):
        return
    old = draft.with_name(f"{draft.name}.old")
    real.rename(old)
    try:
        draft.rename(real)
    except BaseException:
        old.rename(real)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    with suppress(AttributeError):  # a C library without renameat2
        names = (os.fsencode(one), os.fsencode(other))
        if not libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            return True
        code = ctypes.get_errno()
        if code not in {errno.EINVAL, errno.ENOSYS}:
            raise OSError(code, os.strerror(code), str(other))
    return False
