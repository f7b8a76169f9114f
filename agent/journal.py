"""systemd's journal, through journalctl(1): its own library needs a compiler to install."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec

from agent.ports import UnfitError
from agent.tools import end, environment
from katgen.protocol import LogLine, ReadLogs

TEXT_MAX: Final = 16_384
"""Characters of one entry; the rest is cut off."""
ENTRY_BYTES: Final = 1 << 20
"""Of one entry as JSON, where a byte that is no text takes five; a longer one is left out."""
TAIL_S: Final = 10
PIECE_BYTES: Final = 8192
"""conmon cuts longer lines into pieces of this; one that is shorter is the end of its line."""
_FIELDS: Final = (
    "MESSAGE,UNIT,PRIORITY,SYSLOG_IDENTIFIER,CONTAINER_NAME,CONTAINER_ID,CONTAINER_PARTIAL_MESSAGE,"
    "_SYSTEMD_UNIT,_SYSTEMD_INVOCATION_ID,INVOCATION_ID"
)
_ABOUT_CONTAINERS: Final = frozenset({"podman", "conmon"})
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")
_PROGRAM: Final = ("journalctl", "--no-pager", "-q", "-o", "json", "--all")
_NEWEST_FIRST: Final = "--reverse"
_CHUNK: Final = 65_536


class Entry(msgspec.Struct, frozen=True):
    """What we read of an entry. `UNIT` is set on what PID 1 says about a unit.

    A message that is not UTF-8 is a list of bytes; a field that occurs twice is a list of texts.
    """

    at: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    message: str | list[int | str] | None = msgspec.field(name="MESSAGE", default=None)
    about: str | list[int | str] = msgspec.field(name="UNIT", default="")
    unit: str = msgspec.field(name="_SYSTEMD_UNIT", default="")
    run: str = msgspec.field(name="_SYSTEMD_INVOCATION_ID", default="")
    run_about: str | list[int | str] = msgspec.field(name="INVOCATION_ID", default="")
    priority: str | list[int | str] = msgspec.field(name="PRIORITY", default="")
    by: str | list[int | str] = msgspec.field(name="SYSLOG_IDENTIFIER", default="")
    container: str | list[int | str] = msgspec.field(name="CONTAINER_NAME", default="")
    container_id: str | list[int | str] = msgspec.field(name="CONTAINER_ID", default="")
    partial: str | list[int | str] = msgspec.field(name="CONTAINER_PARTIAL_MESSAGE", default="")

    @property
    def is_cut(self) -> bool:
        """Whether the rest of the line is in the next entry of the container's stream."""
        return bool(self.partial) and len(_bytes_of(self.message)) >= PIECE_BYTES

    @property
    def is_event(self) -> bool:
        """Whether it is Podman's or conmon's remark about a container, and no error of theirs."""
        if self.container:
            return False
        is_id = _CONTAINER_ID.fullmatch(_text_of(self.message)) is not None  # `podman run -d`
        return is_id or _text_of(self.by) in _ABOUT_CONTAINERS


class Journalctl:
    """The journal as `journalctl -u` shows it."""

    async def tail(self, unit: str, lines: int) -> Sequence[str]:
        """Return the last lines of the last run: of its container, or if it wrote none, of others.

        Podman's remarks are left out, its errors are not.
        """
        own: deque[str] = deque()
        others: deque[str] = deque()
        last = ""
        argv = [*_program(), f"--unit={unit}", _NEWEST_FIRST, "-n", str(max(lines, 0) * 4 + 50)]
        try:
            async with asyncio.timeout(TAIL_S), aclosing(_entries(argv)) as found:
                async for entry in found:
                    run = entry.run if entry.unit == unit else _text_of(entry.run_about)
                    last = last or run
                    if len(own) >= lines or (run and run != last):
                        break
                    if not entry.is_event:
                        (own if entry.container else others).appendleft(_line(entry.message))
        except TimeoutError as err:
            raise UnfitError(f"journalctl has not ended after {TAIL_S} s") from err
        return tuple(own or others)[-lines:] if lines > 0 else ()

    async def read(self, asked: ReadLogs) -> AsyncGenerator[LogLine, None]:
        """Yield entries; journalctl ends with the consumer."""
        if not asked.units:  # to journalctl that would mean the whole machine
            return
        argv = [*_program(), "-n", str(asked.lines) if asked.lines >= 0 else "all"]
        argv += [f"--since=@{asked.since:f}"] if asked.since > 0 else []
        argv += ["-f"] if asked.follow else []
        argv += _matches(asked)
        wanted = frozenset(asked.units)
        lines = _Lines()
        async with aclosing(_entries(argv)) as found:
            async for entry in found:
                about = _text_of(entry.about)
                unit = about if about in wanted else entry.unit
                for line in lines.take(entry, unit):
                    yield line
        for line in lines.left():
            yield line


@dataclass(frozen=True, slots=True)
class _Begun:
    """A line whose rest is still to come; `container` is the id of who writes it."""

    container: str
    time: float
    text: bytes


class _Lines:
    """Makes lines of entries, where long ones came in pieces."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], _Begun] = {}

    def take(self, entry: Entry, unit: str) -> Iterator[LogLine]:
        """Yield what is complete by this entry."""
        stream = (unit, _text_of(entry.priority))  # conmon: 6 is stdout, 3 is stderr
        container, time = _text_of(entry.container_id), int(entry.at) / 1_000_000
        before = self._begun.pop(stream, None)
        if before is not None and before.container != container:  # it was killed in its line
            yield LogLine(before.time, unit, _cut(before.text))
            before = None
        whole = (before.text if before else b"") + _bytes_of(entry.message)
        time = before.time if before else time
        if entry.is_cut:
            self._begun[stream] = _Begun(container, time, whole[:ENTRY_BYTES])
        else:
            yield LogLine(time, unit, _cut(whole))

    def left(self) -> Iterator[LogLine]:
        """Yield what will never be complete."""
        for (unit, _), one in self._begun.items():
            yield LogLine(one.time, unit, _cut(one.text))


def _program() -> list[str]:
    return [*_PROGRAM, f"--output-fields={_FIELDS}"]


def _matches(asked: ReadLogs) -> list[str]:
    """Return journalctl's matches: alternatives of one field are or-ed, fields are and-ed."""
    if asked.everything:
        return [f"--unit={unit}" for unit in asked.units]
    # Anybody may log with a CONTAINER_NAME; which unit somebody is in, journald knows by itself.
    names = [f"CONTAINER_NAME={unit.removesuffix('.service')}" for unit in asked.units]
    return [*(f"_SYSTEMD_UNIT={unit}" for unit in asked.units), *names]


async def _entries(argv: Sequence[str]) -> AsyncGenerator[Entry, None]:
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment({}),
            start_new_session=True,
        )
    except OSError as err:
        raise UnfitError(f"journalctl: {err.strerror}; is it installed?") from err
    try:
        assert child.stdout is not None  # noqa: S101 -- it was asked for
        async with aclosing(_lines(child.stdout)) as found:
            async for line in found:
                try:
                    yield msgspec.json.decode(line, type=Entry)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue  # cut off by the limit, or a field of a kind that nobody writes
    finally:
        await end(child)


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Yield lines; what is longer than an entry may be is dropped, up to its end of line."""
    rest = b""
    is_long = False
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not is_long:
                yield line
            is_long = False
        if len(rest) > ENTRY_BYTES:
            is_long, rest = True, b""


def _line(value: str | list[int | str] | None) -> str:
    return _cut(_bytes_of(value))


def _cut(text: bytes) -> str:
    """Return a line as text, without the end of line that conmon leaves on it."""
    return text.removesuffix(b"\n").decode("utf-8", "replace")[:TEXT_MAX]


def _text_of(value: str | list[int | str] | None) -> str:
    return _bytes_of(value).decode("utf-8", "replace")


def _bytes_of(value: str | list[int | str] | None) -> bytes:
    """Return a field's bytes; of several the last. JSON may hold halves of surrogate pairs."""
    if value is None or isinstance(value, str):
        return (value or "").encode("utf-8", "replace")
    if all(isinstance(one, int) for one in value):
        return bytes(one for one in value if isinstance(one, int))
    return str(value[-1]).encode("utf-8", "replace")
