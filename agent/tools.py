"""Programs of the node, as subprocesses."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from agent.ports import Ran, UnfitError

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_BYTES: Final = 16 << 20
"""Of each output; a program that says more is cut off there, and still read to its end."""
_CHUNK: Final = 65_536


class Subprocesses:
    """Programs with a deadline and an environment of their own."""

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], stdin: bytes = b""
    ) -> Ran:
        """Run a program in a process group that ends with the deadline.

        Of our own environment it gets nothing: `PATH` and `LANG` are set, `env` comes on top.
        """
        try:
            with _input(stdin) as given:
                child = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=given,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=environment(env),
                    start_new_session=True,
                )
        except OSError as err:
            raise UnfitError(f"{argv[0]}: {err.strerror}; is it installed?") from err
        try:
            async with asyncio.timeout(timeout_s):
                out, err_text, code = await asyncio.gather(
                    _read(child.stdout), _read(child.stderr), child.wait()
                )
        except TimeoutError as err:
            raise UnfitError(f"{argv[0]} has not ended after {timeout_s:g} s") from err
        finally:
            await end(child)
        return Ran(code, out, err_text)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program: no word of it depends on who started the agent."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **more}


async def end(child: asyncio.subprocess.Process) -> None:
    """Kill a program and what it has started, unless it has ended; and collect it."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def _input(text: bytes) -> BinaryIO:
    """Return a file for a program's stdin, read to its end from the beginning.

    A file in memory can be opened anew as /dev/stdin, as nft does; a socket of asyncio cannot.
    """
    if not text:
        return Path(os.devnull).open("rb")
    given = os.fdopen(os.memfd_create("stdin"), "w+b")
    given.write(text)
    given.seek(0)
    return given


async def _read(stream: asyncio.StreamReader | None) -> str:
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept += chunk[: KEPT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")
