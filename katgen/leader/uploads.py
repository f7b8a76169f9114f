"""Bodies of requests → `.kat` files in memory, within bounds that hold for hostile ones too.

tar archives are read by a reader of our own: Python's keeps every member, reads headers of any
size, and takes types that nobody uploads on purpose. Ours knows POSIX ustar and pax, and GNU's long
names (tar(5) of FreeBSD; POSIX.1-2017 pax).
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

from katgen.errors import Problem, Source
from katgen.leader.errors import InputError
from katgen.parse import Parsed, parse
from katgen.wire.specs import as_document

BODY_BYTES: Final = 16 << 20
UNPACKED_BYTES: Final = 64 << 20
KAT_BYTES: Final = 8 << 20
"""Of all `.kat` files together: a byte of YAML can become a hundred in memory."""
MEMBERS: Final = 10_000
READ_S: Final = 60.0
TYPES: Final = {
    "application/gzip": "archive",
    "application/x-gzip": "archive",
    "application/json": "json",
    "application/yaml": "yaml",
}
_BLOCK: Final = 512
_STEP: Final = 1 << 16
_HEADER_BYTES: Final = 64 << 10
"""Of one pax header, and of one long name."""
_NAME_BYTES: Final = 4096
_ENDS: Final = 2
_GZIP: Final = 31
"""Window bits for zlib: gzip's header, and a window of 32 KiB."""

File = tuple[str, bytes]


async def body(chunks: AsyncIterable[bytes], announced: int | None) -> bytes:
    """Return a body of at most BODY_BYTES. What is too large is not read. Raises InputError."""
    if announced is not None and announced > BODY_BYTES:
        raise _too_large(f"the body has {announced} bytes", BODY_BYTES)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in chunks:
                size += len(chunk)
                if size > BODY_BYTES:
                    raise _too_large("the body goes on", BODY_BYTES)
                parts.append(chunk)
    except TimeoutError as err:
        what = f"the body did not arrive within {READ_S:.0f} s"
        raise InputError(what, status=HTTPStatus.REQUEST_TIMEOUT) from err
    return b"".join(parts)


def documents(content: bytes, content_type: str) -> Parsed:
    """Return the documents of a body, with their problems. Raises InputError.

    Takes seconds for the largest bodies: for threads.
    """
    match TYPES.get(content_type):
        case "archive":
            return parse(unpacked(content))
        case "json":
            return parse(_from_json(content))
        case "yaml":
            return parse([("body", content)])
        case _:
            what = f"a body of {content_type} is not taken; send {', '.join(sorted(TYPES))}"
            raise InputError(what, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def unpacked(archive: bytes) -> list[File]:
    """Return the `.kat` files of a tar.gz, by name. Raises InputError."""
    reader = _Tar(_Unzipped(archive))
    files: dict[str, bytes] = {}
    for name, content in reader.files():
        if name in files:
            raise _refused(name, "stands twice in the archive")
        files[name] = content
    if not files:
        raise _refused("", "the archive holds no .kat file")
    return sorted(files.items())


def _from_json(content: bytes) -> Iterator[File]:
    """Yield an object, or each item of a list, as a text that is YAML too."""
    value = json_value(content)
    if not isinstance(value, dict):
        raise _refused("", "the body is no JSON object")
    items = value.get("items")
    if str(value.get("kind")).endswith("List") and isinstance(items, list):
        if not items or len(items) > MEMBERS:
            raise _refused("items", f"has {len(items)} items; 1 to {MEMBERS} are taken")
        named = [(f"items[{number}]", item) for number, item in enumerate(items)]
    else:
        named = [("body", value)]
    total = 0
    for name, item in named:
        text = as_document(item, name).chunk.encode()
        total += len(text)
        if total > KAT_BYTES:
            raise _too_large("the objects go on", KAT_BYTES)
        yield name, text


def json_value(content: bytes) -> object:
    """Return the value of a JSON text. Raises InputError."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as err:
        raise InputError(f"the body is no JSON: {err}", status=HTTPStatus.BAD_REQUEST) from err


@dataclass(slots=True)
class _Unzipped:
    """A gzip stream, unpacked as far as it is read, and never more than UNPACKED_BYTES."""

    content: bytes = field(repr=False)
    _zip: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(_GZIP), repr=False)
    _position: int = 0
    _ready: bytearray = field(default_factory=bytearray, repr=False)
    _total: int = 0

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end. Raises InputError."""
        while len(self._ready) < size and self._more():
            pass
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def skip(self, size: int) -> int:
        """Leave so many bytes out; return how many there were."""
        left = size
        while left and (taken := len(self.read(min(left, _STEP)))):
            left -= taken
        return size - left

    def _more(self) -> bool:
        """Unpack a bit more; False at the end."""
        if self._zip.eof:
            return False
        given = self._zip.unconsumed_tail
        if not given:
            given = self.content[self._position : self._position + _STEP]
            self._position += len(given)
        try:
            made = self._zip.decompress(given, _STEP)
        except zlib.error as err:
            raise _refused("", "the archive is no gzip, or damaged") from err
        if not given and not made:
            raise _refused("", "the archive ends in its middle")
        self._total += len(made)
        if self._total > UNPACKED_BYTES:
            raise _too_large("the archive goes on when unpacked", UNPACKED_BYTES)
        self._ready += made
        return True


@dataclass(slots=True)
class _Tar:
    """Regular files of a tar archive, one after the other."""

    source: _Unzipped
    _members: int = 0
    _kept: int = 0
    _extra: dict[str, str] = field(default_factory=dict)
    """What extended headers say of the next member."""

    def files(self) -> Iterator[File]:
        """Yield the `.kat` files. Raises InputError for whatever does not belong there."""
        ends = 0
        while ends < _ENDS and (header := self.source.read(_BLOCK)):
            if header.count(0) == _BLOCK:
                ends += 1
                continue
            ends = 0
            yield from self._member(header)

    def _member(self, header: bytes) -> Iterator[File]:
        kind, size = _checked_header(header)
        if kind in _EXTENDED:
            self._count("")
            self._extra |= _EXTENDED[kind](self._content("", size, _HEADER_BYTES))
            return
        extra, self._extra = self._extra, {}
        name = _checked_name(extra.get("path") or _name(header))
        self._count(name)
        size = _number(extra["size"], name) if "size" in extra else size
        if kind == _DIRECTORY and size == 0:
            return
        if kind not in _REGULAR:
            raise _refused(name, f"is {_KINDS.get(kind, 'of an unknown type')}", "leave it out")
        if name.endswith(".kat"):
            yield name, self._content(name, size, KAT_BYTES - self._kept)
            self._kept += size
        else:
            self._pass(name, size)

    def _count(self, name: str) -> None:
        self._members += 1
        if self._members > MEMBERS:
            raise _refused(name, f"the archive has more than {MEMBERS} members")

    def _content(self, name: str, size: int, limit: int) -> bytes:
        if size > limit:
            raise _too_large(f"{name or 'a header'} has {size} bytes", limit)
        content = self.source.read(size)
        self._check_end(name, len(content), size)
        return content

    def _pass(self, name: str, size: int) -> None:
        if size > UNPACKED_BYTES:
            raise _too_large(f"{name} has {size} bytes", UNPACKED_BYTES)
        self._check_end(name, self.source.skip(size), size)

    def _check_end(self, name: str, found: int, size: int) -> None:
        padding = -size % _BLOCK
        if found < size or self.source.skip(padding) < padding:
            raise _refused(name, "the archive ends in its middle")


_DIRECTORY: Final = b"5"
_REGULAR: Final = frozenset({b"0", b"\0", b"7"})
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory with content",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"V": "a volume's name",
    b"K": "a link with a long target",
}


def _pax(content: bytes) -> dict[str, str]:
    """Return path and size of the records, `<length> <key>=<value>` with a line's end each."""
    found: dict[str, str] = {}
    while content:
        digits, _, rest = content.partition(b" ")
        length = _number(digits.decode("ascii", "replace"), "") if len(digits) < 6 else 0  # noqa: PLR2004 -- of _HEADER_BYTES
        record = rest[: length - len(digits) - 1]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if length <= len(digits) + 1 or not equals or len(record) + len(digits) + 1 != length:
            raise _refused("", "an extended header is damaged")
        if key in {b"path", b"size"}:
            found[key.decode()] = _text(value)
        elif key == b"linkpath" or key.startswith(b"GNU.sparse"):
            raise _refused("", "an extended header is of a link or a sparse file", "leave it out")
        content = content[length:]
    return found


def _ignored(_: bytes) -> dict[str, str]:
    return {}


def _long_name(content: bytes) -> dict[str, str]:
    return {"path": _text(content.partition(b"\0")[0])}


_EXTENDED: Final = {b"x": _pax, b"g": _ignored, b"L": _long_name}


def _checked_header(header: bytes) -> tuple[bytes, int]:
    """Return type and size. The checksum is over the header with blanks in its own place."""
    if len(header) < _BLOCK:
        raise _refused("", "the archive ends in its middle")
    plain = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if _octal(header[148:156]) != plain:
        raise _refused("", "the archive is no tar, or damaged")
    return header[156:157], _octal(header[124:136])


def _name(header: bytes) -> str:
    name = _text(header[:100].partition(b"\0")[0])
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return f"{_text(prefix)}/{name}" if prefix else name


def _checked_name(name: str) -> str:
    """Return the name in its plain form: no `./`, no final `/`."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/"):
        raise _refused(name, "is an absolute path", "pack it by its relative one")
    if ".." in parts:
        raise _refused(name, "leaves the archive", "pack it by a path without `..`")
    if "\0" in name or len(name.encode()) > _NAME_BYTES:
        raise _refused(name, "is no name of a file")
    return "/".join(parts)


def _octal(digits: bytes) -> int:
    if digits[0] & 0x80:  # GNU's way to write larger numbers
        raise _refused("", "the archive has a file of 8 GiB or more")
    text = digits.strip(b" \0")
    if text.translate(None, b"01234567"):
        raise _refused("", "the archive is no tar, or damaged")
    return int(text or b"0", 8)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:  # noqa: PLR2004 -- 64 bits
        raise _refused(name, "an extended header is damaged")
    return int(text)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as err:
        raise _refused("", "the archive has a name that is not UTF-8") from err


def _refused(name: str, what: str, hint: str = "") -> InputError:
    shown = json.dumps(name[:100])[1:-1]
    return InputError("the upload is refused", problems=[Problem(Source(shown), what, hint)])


def _too_large(what: str, limit: int) -> InputError:
    problem = Problem(Source(), f"{what}; the most is {limit}", "send it in parts")
    return InputError(
        "the upload is too large",
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        problems=[problem],
    )
