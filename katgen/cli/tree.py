"""A directory of rendered files: written whole beside the old one, then exchanged with it.

`SHA256SUMS` in it lists every file, in the format of sha256sum(1). What is not listed there, or
differs from it, is somebody else's, and a directory that holds such a file is left alone.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from katgen.cli.output import counted
from katgen.errors import Problem, RefusedError, Source

SUMS: Final = "SHA256SUMS"
_NO_NAMES: Final = frozenset({"", ".", ".."})
"""What as a part of a path would lead elsewhere than it says: `/etc`, `a//b`, `a/../b`."""
_SHOWN: Final = 3
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file: its path in the tree, relative and with `/`, its content and its mode.

    `digest` is SHA-256 of `content`, hex; '' if it is not known yet. `link_of` is the path of an
    earlier file with the same content and mode, whose inode it may share.
    """

    path: str
    content: bytes
    mode: int = 0o644
    digest: str = ""
    link_of: str = ""


def write_tree(target: Path, files: Iterable[TreeFile]) -> None:
    """Make `target` hold exactly `files`, or leave it as it is.

    Raises RefusedError if it holds a file that no earlier call wrote, or if a file's path leads out
    of it; OSError if writing fails.
    """
    try:
        _write_tree(target, files)
    except OSError as err:  # in words of the target: nobody knows the draft's name
        raise OSError(err.errno, err.strerror, str(target)) from err


def _write_tree(target: Path, files: Iterable[TreeFile]) -> None:
    real = target.resolve()
    _refuse_foreign(target, real)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:  # so mkdir says that the parent is a file
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from err
    draft = Path(tempfile.mkdtemp(prefix=f".{real.name}.", dir=real.parent))
    try:
        _fill(draft, files)
        draft.chmod(_mode_of(real))
        _put_in_place(draft, real, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(folder: Path, files: Iterable[TreeFile]) -> None:
    sums = []
    made: set[str] = set()
    for file in files:
        parent, slash, name = file.path.rpartition("/")
        if name in _NO_NAMES:
            raise _leading_out(file.path)
        if slash and parent not in made:
            if not _NO_NAMES.isdisjoint(parent.split("/")):
                raise _leading_out(file.path)
            os.makedirs(f"{folder}/{parent}", exist_ok=True)  # noqa: PTH103 -- a Path per file doubles the time
            made.add(parent)
        if not (file.link_of and _linked(f"{folder}/{file.link_of}", f"{folder}/{file.path}")):
            _write(f"{folder}/{file.path}", file)
        digest = file.digest or hashlib.sha256(file.content).hexdigest()
        sums.append(f"{digest}  {file.path}")
    listing = "".join(f"{_escaped(line)}\n" for line in sorted(sums, key=lambda s: s[66:]))
    _write(f"{folder}/{SUMS}", TreeFile(SUMS, listing.encode()))


def _leading_out(path: str) -> RefusedError:
    what = "is no path inside the directory"
    return RefusedError([Problem(Source(path), what, "this is a fault in KAT; please report it")])


def _linked(first: str, path: str) -> bool:
    """Give a file a second name; False where the file system has no more of them, or none."""
    try:
        os.link(first, path)
    except OSError:
        return False
    return True


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
    _refuse_foreign_in(real, shown)


def _refuse_foreign_in(real: Path, shown: Path) -> None:
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
    digests: dict[tuple[int, int], str] = {}
    for path in _files(real):
        relative = path[len(f"{real}/") :]
        if relative not in sums:
            yield relative, "not written by KAT"
        elif sums[relative] != _digest_once(path, digests):
            yield relative, "edited since KAT wrote it"


def _digest_once(path: str, digests: dict[tuple[int, int], str]) -> str:
    """Return a regular file's digest, reading each inode once; '' of anything else."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        return ""
    inode = (status.st_dev, status.st_ino)
    if inode not in digests:
        digests[inode] = _digest(Path(path))
    return digests[inode]


def _files(real: Path) -> Iterator[str]:
    for folder, inner, names in os.walk(real, onerror=_raise):
        inner.sort()
        links = [name for name in inner if Path(folder, name).is_symlink()]
        yield from (f"{folder}/{name}" for name in sorted((*names, *links)))


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


def _put_in_place(draft: Path, real: Path, shown: Path) -> None:
    """Exchange two directories, in one step where the file system can (renameat2(2)).

    What came out is looked at again before it is deleted: somebody may have written there since.
    """
    if not real.exists():
        draft.rename(real)
        return
    old = _swapped(draft, real)
    try:
        _refuse_foreign_in(old, shown)
    except BaseException:
        if old == draft:
            _exchanged(draft, real)
        else:
            real.rename(draft)
            old.rename(real)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _swapped(draft: Path, real: Path) -> Path:
    """Put the draft in the directory's place; return where the directory is now."""
    if _exchanged(draft, real):
        return draft
    old = draft.with_name(f"{draft.name}.old")
    real.rename(old)
    try:
        draft.rename(real)
    except BaseException:
        old.rename(real)
        raise
    return old


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
