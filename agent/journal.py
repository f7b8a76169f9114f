"""systemd's journal, through journalctl(1): its own library needs a compiler to install."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from agent.ports import UnfitError
from agent.tools import end, environment
from katgen.protocol import LogLine

TEXT_MAX: Final = 16_384
"""Characters of one entry; the rest is cut off."""
ENTRY_BYTES: Final = 1 << 20
"""Of one entry as JSON, where a byte that is no text takes five; a longer one is left out."""
TAIL_S: Final = 10
_FIELDS: Final = "MESSAGE,UNIT,_SYSTEMD_UNIT,_SYSTEMD_INVOCATION_ID,INVOCATION_ID"
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


class Journalctl:
    """The journal as `journalctl -u` shows it."""

    async def tail(self, unit: str, lines: int) -> Sequence[str]:
        """Return the last lines of the last run: of its processes, and of PID 1 about it."""
        kept: deque[str] = deque()
        last = ""
        argv = [*_argv([unit]), _NEWEST_FIRST, "-n", str(max(lines, 0) * 4 + 50)]
        try:
            async with asyncio.timeout(TAIL_S), aclosing(_entries(argv)) as found:
                async for entry in found:
                    run = entry.run if entry.unit == unit else _text_of(entry.run_about)
                    last = last or run
                    if len(kept) >= lines or (run and run != last):
                        break
                    kept.appendleft(_text_of(entry.message)[:TEXT_MAX])
        except TimeoutError as err:
            raise UnfitError(f"journalctl has not ended after {TAIL_S} s") from err
        return tuple(kept)

    async def read(
        self, units: Sequence[str], *, follow: bool, since: float, lines: int
    ) -> AsyncGenerator[LogLine, None]:
        """Yield entries; journalctl ends with the consumer."""
        argv = _argv(units)
        argv += ["-n", str(lines) if lines >= 0 else "all"]
        argv += [f"--since=@{since:f}"] if since > 0 else []
        argv += ["-f"] if follow else []
        wanted = frozenset(units)
        async with aclosing(_entries(argv)) as found:
            async for entry in found:
                about = _text_of(entry.about)
                unit = about if about in wanted else entry.unit
                time = int(entry.at) / 1_000_000
                yield LogLine(time, unit, _text_of(entry.message)[:TEXT_MAX])


def _argv(units: Sequence[str]) -> list[str]:
    return [*_PROGRAM, f"--output-fields={_FIELDS}", *(f"--unit={unit}" for unit in units)]


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
                except msgspec.DecodeError:
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


def _text_of(value: str | list[int | str] | None) -> str:
    """Return a field as text; of several the last."""
    if value is None or isinstance(value, str):
        return value or ""
    if all(isinstance(one, int) for one in value):
        return bytes(one for one in value if isinstance(one, int)).decode("utf-8", "replace")
    return str(value[-1])
