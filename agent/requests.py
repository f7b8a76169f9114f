"""What a leader asks of a node beside its plan: pulls, logs, usage. Each is a task of its own."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Final, TypeVar

from agent import state
from agent.ports import LeaderError, NodePorts, PullError, Session, UnfitError
from katgen.errors import KatError
from katgen.protocol import (
    Failed,
    LogEnd,
    LogLines,
    Pull,
    Pulled,
    PullProgress,
    ReadLogs,
    ReadUsage,
    UsageAnswer,
)

LINES_AT_ONCE: Final = 500
AT_ONCE: Final = 64
"""Requests that are answered at a time; a leader that asks for more is told so."""
_UNIT: Final = re.compile(r"kat\.[A-Za-z0-9.\\_-]+\.(service|timer|target)")
"""Whose journal a leader may read: instances' and schedules', nothing else of the machine."""

T = TypeVar("T")
Request = Pull | ReadLogs | ReadUsage
_Came = tuple[T, ...] | None

_log = logging.getLogger(__name__)


class Requests:
    """The requests of one session that are being answered."""

    def __init__(self, node: NodePorts, session: Session, group: asyncio.TaskGroup) -> None:
        self._node, self._session, self._group = node, session, group
        self._open: dict[str, asyncio.Task[None]] = {}

    async def start(self, request: Request) -> None:
        """Begin to answer."""
        if len(self._open) >= AT_ONCE or request.id in self._open:
            await self._session.send(Failed(request.id, f"{AT_ONCE} requests are open already"))
            return
        name = f"{type(request).__name__} {request.id}"
        task = self._group.create_task(self._answer(request), name=name)
        self._open[request.id] = task
        task.add_done_callback(lambda _: self._open.pop(request.id, None))

    def cancel(self, request: str) -> None:
        """Stop answering; a request that is not open is fine."""
        task = self._open.get(request)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """Stop answering: the session has ended."""
        for task in self._open.values():
            task.cancel()

    async def _answer(self, request: Request) -> None:
        """Answer to the end. An error is an answer; a session that has ended needs none."""
        with suppress(LeaderError):
            try:
                await self._answers(request)
            except LeaderError:
                raise
            except TimeoutError:
                await self._session.send(Failed(request.id, "it took longer than asked for"))
            except KatError as err:
                await self._session.send(Failed(request.id, str(err)))
            except Exception:  # noqa: BLE001 -- one request must not end the session, nor the agent
                _log.exception("%s failed", type(request).__name__)
                await self._session.send(
                    Failed(request.id, "a fault in the agent; see its journal")
                )

    def _answers(self, request: Request) -> Coroutine[None, None, None]:
        answers: dict[type, Callable[..., Coroutine[None, None, None]]] = {
            Pull: self._pull,
            ReadLogs: self._logs,
            ReadUsage: self._usage,
        }
        return answers[type(request)](request)

    async def _pull(self, asked: Pull) -> None:
        podman, send = self._node.podman, self._session.send
        async with asyncio.timeout(asked.timeout_s + 1):
            pull = podman.pull(asked.image, asked.policy, asked.timeout_s)
            async with aclosing(pull) as lines:
                async for text in lines:
                    await send(PullProgress(asked.id, text))
        digest = await podman.digest(asked.image)
        if digest is None:
            raise PullError(f"{asked.image} is not on this node")
        await send(Pulled(asked.id, digest))

    async def _logs(self, asked: ReadLogs) -> None:
        foreign = [unit for unit in asked.units if _UNIT.fullmatch(unit) is None]
        if foreign:
            raise UnfitError(f"{foreign[0]} is no unit of a workload")
        async with aclosing(gathered(self._node.journal.read(asked))) as batches:
            async for batch in batches:
                await self._session.send(LogLines(asked.id, tuple(batch)))
        await self._session.send(LogEnd(asked.id))

    async def _usage(self, asked: ReadUsage) -> None:
        applied = state.load(self._node.files, state.APPLIED, state.Applied)
        entries = applied.entries if applied else ()
        units = sorted({e.unit for e in entries if e.unit.endswith(".service")})
        used = await self._node.machine.usage(units)
        now = self._node.clock.boottime()
        await self._session.send(UsageAnswer(asked.id, now, tuple(used)))


async def gathered(source: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    """Yield what has come, together, as soon as there is anything. Raises what the source does."""
    waiting: asyncio.Queue[_Came[T]] = asyncio.Queue(LINES_AT_ONCE)
    reader = asyncio.create_task(_read(source, waiting), name="reader")
    try:
        came: _Came[T] = ()
        while came is not None:
            came = await waiting.get()
            batch: list[T] = []
            while came:
                batch += came
                came = () if waiting.empty() else waiting.get_nowait()
            if batch:
                yield batch
        await reader
    finally:
        reader.cancel()
        with suppress(
            asyncio.CancelledError, Exception
        ):  # it has been raised above, or is not wanted
            await reader


async def _read(source: AsyncIterator[T], to: "asyncio.Queue[_Came[T]]") -> None:
    """Put each thing in a tuple of its own, and None at the end. Raises what the source does."""
    try:
        async for one in source:
            await to.put((one,))
    except Exception:
        await to.put(None)
        raise
    await to.put(None)
