"""What `-f` names as one tar.gz for a leader, made in memory."""

import gzip
import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from katgen.cli import inputs

_PLAIN: Final = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[\w.][\w. -]*(/[\w.][\w. -]*)*\.kat", re.ASCII)
"""Names that a leader takes as they are: relative, without `..`, not long."""
_LONG: Final = 99
"""What fits into the first header of a tar file."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive, and what its files are called where they came from."""

    body: bytes
    names: Mapping[str, str]


def pack(paths: Iterable[str]) -> Packed:
    """Return the files that `paths` name. The same files give the same bytes. Raises SpecError."""
    names: dict[str, str] = {}
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for number, (shown, content) in enumerate(inputs.read(paths), 1):
            name = _safe(shown, number)
            names[name] = shown
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Packed(packed.getvalue(), names)


def _safe(shown: str, number: int) -> str:
    """Return a name that no leader refuses; the user's own if it is one."""
    plain = shown.removeprefix("./")
    return plain if len(plain) <= _LONG and _PLAIN.fullmatch(plain) else f"+{number}.kat"
