"""The node's disk."""

import errno
import grp
import hashlib
import os
import pwd
import shutil
import stat as modes
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.ports import NewFile, Stat, UnfitError

NEW: Final = ".kat-new"
"""Ends the name of a file that is being written; its first character is a dot."""
_LINK: Final = "a link is in its place or above it, and KAT follows only root's: remove it"
_HINTS: Final = {
    errno.ENOSPC: "make room on its file system",
    errno.EDQUOT: "raise the quota",
    errno.EROFS: "mount its file system writable",
    errno.EACCES: "the agent must be root, and its unit must let it",
    errno.EPERM: "the agent must be root, and nobody may have made the file immutable",
    errno.ELOOP: _LINK,
    errno.ENOTDIR: "something that is no directory is above it: remove it",
    errno.EISDIR: "a directory is in its place: remove it",
    errno.EIO: "the disk fails",
}
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OTHERS_WRITE: Final = 0o022
_NAME_MAX: Final = 255


class DiskFiles:
    """Files below `root`. One process writes at a time: what a killed one left half is swept."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = os.path.realpath(root).rstrip("/")
        self._seen: set[str] = set()

    def read(self, path: str) -> bytes | None:
        """Read a file whole."""
        with _saying(path):
            fd = self._open(path)
            if fd is None:
                return None
            with os.fdopen(fd, "rb") as file:
                if not modes.S_ISREG(os.fstat(fd).st_mode):
                    raise UnfitError(f"{path}: is no file; remove it")
                return file.read()

    def stat(self, path: str) -> Stat | None:
        """Digest a file. What is no regular file, a link too, is none."""
        with _saying(path):
            real = self._real(path)
            try:
                if not modes.S_ISREG(os.lstat(real).st_mode):
                    return None
            except (FileNotFoundError, NotADirectoryError):
                return None
            fd = self._open(path)
            if fd is None:
                return None
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        return Stat(digest, modes.S_IMODE(status.st_mode), owner)

    def write(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write one file; a link in its place is replaced, never followed."""
        self.write_all([NewFile(path, content, mode, owner)])

    def write_all(self, files: Sequence[NewFile]) -> None:
        """Write them all beside their places, make them durable, then move each into its place.

        So a full disk is met before the first of them has changed.
        """
        with self._written_beside(files) as beside:
            for path, new, real in beside:
                with _saying(path):
                    os.rename(new, real)  # noqa: PTH104 -- text, not a Path

    def rehearse(self, files: Sequence[NewFile]) -> None:
        """Write them all beside their places, make them durable, and take them away again."""
        with self._written_beside(files) as beside:
            for path, new, _ in beside:
                with _saying(path):
                    _unlink(new)

    @contextmanager
    def _written_beside(self, files: Sequence[NewFile]) -> Iterator[list[tuple[str, str, str]]]:
        """Yield path, new file and place of each; what is still beside after a failure goes."""
        beside: list[tuple[str, str, str]] = []
        try:
            for file in files:
                with _saying(file.path):
                    real = self._real(file.path)
                    new = _beside(real)
                    beside.append((file.path, new, real))
                    self._put_beside(new, file)
            for path, new, _ in beside:
                with _saying(path):
                    _sync(new)
            yield beside
        except BaseException:
            for _, new, _ in beside:
                with suppress(OSError):  # the first fault is the one to tell
                    _unlink(new)
            raise

    def _put_beside(self, new: str, file: NewFile) -> None:
        """Write a new file; its folder may have been taken away since it was last looked at."""
        folder = os.path.dirname(new)  # noqa: PTH120 -- text, not a Path
        self._prepare(folder)
        try:
            _fill(new, file)
        except FileNotFoundError:
            self._seen.discard(folder)
            self._prepare(folder)
            _fill(new, file)

    def delete(self, path: str) -> None:
        """Delete a file or a link, never what a link leads to."""
        with _saying(path):
            _unlink(self._real(path))

    def flush(self, folders: Collection[str]) -> None:
        """Fsync directories; one that is missing needs none."""
        for folder in folders:
            with _saying(folder):
                try:
                    _sync(self._real(folder), os.O_DIRECTORY)
                except FileNotFoundError:
                    continue

    def list(self, folder: str) -> Sequence[str]:
        """List regular files."""
        return self._entries(folder, lambda entry: entry.is_file(follow_symlinks=False))

    def folders(self, folder: str) -> Sequence[str]:
        """List directories."""
        return self._entries(folder, lambda entry: entry.is_dir(follow_symlinks=False))

    def delete_tree(self, folder: str) -> None:
        """Delete a directory; links in it are deleted, not followed."""
        with _saying(folder):
            try:
                shutil.rmtree(self._real(folder))
            except FileNotFoundError:
                return
            self._seen.clear()

    def _entries(self, folder: str, is_wanted: Callable[[os.DirEntry[str]], bool]) -> Sequence[str]:
        with _saying(folder):
            try:
                with os.scandir(self._real(folder)) as found:
                    names = [e.name for e in found if is_wanted(e) and not _is_new(e.name)]
            except FileNotFoundError:
                return ()
        return tuple(f"{folder.rstrip('/')}/{name}" for name in sorted(names))

    def _open(self, path: str) -> int | None:
        try:
            return os.open(self._real(path), _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _real(self, path: str) -> str:
        """Return where a path is on this machine. UnfitError if a foreign link is above it.

        A link counts as root's own will if only root could have put it there.
        """
        parts = path.split("/")
        if parts[0] or ".." in parts or "\0" in path:
            raise UnfitError(f"{path}: is no absolute path without `..`")
        real = self._root
        for part in filter(None, parts[:-1]):
            real = f"{real}/{part}"
            try:
                if modes.S_ISLNK(os.lstat(real).st_mode):
                    real = self._followed(path, real)
            except FileNotFoundError:
                continue
        return f"{real}/{parts[-1]}"

    def _followed(self, path: str, link: str) -> str:
        """Return what a link above a file leads to, in one or more steps."""
        above = os.stat(os.path.dirname(link))  # noqa: PTH116, PTH120 -- text, not a Path
        owners = {above.st_uid, os.lstat(link).st_uid}
        target = os.path.realpath(link)
        inside = f"{target}/".startswith(f"{self._root}/")
        if owners <= {0, os.geteuid()} and not above.st_mode & _OTHERS_WRITE and inside:
            return target
        raise UnfitError(f"{path}: {_LINK}")

    def _prepare(self, folder: str) -> None:
        """Make a directory, durably; sweep it when it is first written to."""
        if folder in self._seen:
            return
        missing = []
        above = folder
        while not os.path.lexists(above):
            missing.append(above)
            above = os.path.dirname(above)  # noqa: PTH120 -- text, not a Path
        for one in reversed(missing):
            os.mkdir(one)  # noqa: PTH102 -- the same
            os.chmod(one, 0o755)  # noqa: PTH101, S103 -- whatever the umask is; others may look
            _sync(os.path.dirname(one), os.O_DIRECTORY)  # noqa: PTH120 -- the same
        with os.scandir(folder) as found:
            for stale in [entry.path for entry in found if _is_new(entry.name)]:
                _unlink(stale)
        self._seen.add(folder)


@contextmanager
def _saying(path: str) -> Iterator[None]:
    """Turn an OSError into an UnfitError that says where, what, and what to do."""
    try:
        yield
    except OSError as err:
        hint = _HINTS.get(err.errno or 0)
        what = f"{path}: {err.strerror or err}"
        raise UnfitError(f"{what}; {hint}" if hint else what) from err


def _beside(real: str) -> str:
    folder, _, name = real.rpartition("/")
    if len(name.encode()) + len(NEW) + 1 > _NAME_MAX:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"{folder}/.{name}{NEW}"


def _is_new(name: str) -> bool:
    return name.startswith(".") and name.endswith(NEW)


def _fill(new: str, file: NewFile) -> None:
    """Write a file that nobody else can read before it has its owner and mode."""
    uid, gid = _ids(file.path, file.owner)
    _unlink(new)
    fd = os.open(new, _WRITE, 0o600)
    try:
        rest = memoryview(file.content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, uid, gid)
        os.fchmod(fd, file.mode)
    finally:
        os.close(fd)


def _sync(path: str, flags: int = 0) -> None:
    fd = os.open(path, _READ | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 -- text, not a Path
    except (FileNotFoundError, NotADirectoryError):
        return


def _ids(path: str, owner: str) -> tuple[int, int]:
    if owner == "root:root":
        return 0, 0
    user, _, group = owner.partition(":")
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise UnfitError(f"{path}: no user or group {owner} on this machine") from err


def _user(uid: int) -> str:
    try:
        return "root" if uid == 0 else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return "root" if gid == 0 else grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
