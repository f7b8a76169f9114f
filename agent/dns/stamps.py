"""What tells a changed file from an unchanged one, and how it is read."""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

SIZE_MAX: Final = 64 * 1024 * 1024
"""A namespace with all addresses of a /16 has a zone of some 20 MiB."""


class Stamp(NamedTuple):
    """KAT writes files anew and renames them: another content is another inode."""

    inode: int
    modified_ns: int
    size: int


def stamp(path: Path) -> Stamp | None:
    """Return a file's stamp, None if it is not there or out of reach."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)


def read(path: Path) -> str:
    """Return a file's text.

    Never waits, whatever is in the file's place. Raises OSError, and ValueError if the text is too
    long or no UTF-8.
    """
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{str(path)!r} is no regular file")
        content = file.read(SIZE_MAX + 1)
    if len(content) > SIZE_MAX:
        raise ValueError(f"{str(path)!r} has more than {SIZE_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as err:
        raise ValueError(f"{str(path)!r}: {err}") from err


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
