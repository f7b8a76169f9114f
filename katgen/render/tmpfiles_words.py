r"""Encoder: a path → the path field of tmpfiles.d(5).

The field is one word of systemd.syntax(7)'s quoting with C escapes, and then expands `%`. Where a
path is a glob (`z`, `r`, …) KAT writes only fixed ones.
"""

import re

from katgen.errors import EncodeError

_PLAIN = re.compile(r"/[A-Za-z0-9_./+@=-]*")
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f"\\\\]')


def quoted(path: str) -> str:
    """Return the field for an absolute path.

    EncodeError for what is not absolute, for `.` and `..`, for NUL, which no path holds, and for
    what is no text.
    """
    if not path.startswith("/") or {".", ".."} & set(path.split("/")) or "\0" in path:
        raise EncodeError(f"{path[:80]!r} is not an absolute path without '.' and '..'")
    if _PLAIN.fullmatch(path):
        return path
    try:
        path.encode()
    except UnicodeEncodeError as err:
        raise EncodeError(f"{path[:80]!r} is not text") from err
    return '"' + _UNSAFE.sub(_escaped, path).replace("%", "%%") + '"'


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char in '"\\':
        return "\\" + char
    return "".join(f"\\x{byte:02x}" for byte in char.encode())
