"""KAT's own units, put where systemd finds them. A package may have brought them already."""

import re
from importlib.resources import files as resources
from typing import Final

from agent.ports import Files
from katgen.errors import EncodeError

UNITS: Final = (
    "kat-agent.service",
    "kat-dns.service",
    "kat-leader.service",
    "kat-network.service",
    "kat-nft-again.service",
    "kat-nft.service",
)
FOLDER: Final = "/etc/systemd/system"
PACKAGED: Final = (
    "/usr/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "/run/current-system/sw/lib/systemd/system",
)
WRITABLE: Final = (
    "/etc/kat",
    "/etc/containers/systemd",
    "/etc/sysctl.d",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/var/lib/kat",
)
"""Directories that must be there before kat-agent.service starts, which may write to no others."""
SYSUSERS: Final = "/etc/sysusers.d/kat-leader.conf"
PACKAGED_SYSUSERS: Final = "/usr/lib/sysusers.d/kat-leader.conf"
_MARK: Final = "@bindir@"
_PLAIN: Final = re.compile(r"(/[A-Za-z0-9._+~-]+)+")
"""Of a path: nothing that systemd would split, expand or unquote, systemd.service(5)."""


def install_users(files: Files) -> bool:
    """Write the leader's user for systemd-sysusers; False if a package has."""
    if files.stat(PACKAGED_SYSUSERS) is not None:
        return False
    return _put(files, SYSUSERS, _text("kat.sysusers.conf"))


def install_units(files: Files, programs: str) -> tuple[str, ...]:
    """Write the units that no package has brought; return the names of those that changed.

    `programs` is the directory of KAT's executables. Raises EncodeError, UnfitError.
    """
    word = exec_path(programs)
    return tuple(
        name
        for name in UNITS
        if not _is_packaged(files, name)
        and _put(files, f"{FOLDER}/{name}", _text(name).replace(_MARK, word))
    )


def exec_path(path: str) -> str:
    """Return an absolute path as `ExecStart=` takes it, unquoted. Raises EncodeError."""
    if _PLAIN.fullmatch(path) is None or "/../" in f"{path}/":
        raise EncodeError(
            f"{path!r}: a unit cannot name this directory; install KAT where the path has only"
            " letters, digits and ._+~-"
        )
    return path


def _is_packaged(files: Files, name: str) -> bool:
    return any(files.stat(f"{folder}/{name}") is not None for folder in PACKAGED)


def _put(files: Files, path: str, text: str) -> bool:
    """Write a file if it is not so already."""
    content = text.encode()
    if files.read(path) == content:
        return False
    files.write(path, content, 0o644)
    files.flush([path.rpartition("/")[0]])
    return True


def _text(name: str) -> str:
    return resources("katgen.units").joinpath(name).read_text(encoding="utf-8")
