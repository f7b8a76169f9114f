"""Jobs of PID 1, and how they ended."""

import asyncio
from collections import OrderedDict
from typing import Final

KEPT: Final = 512


class LostError(Exception):
    """The end of a job may have been signalled while nobody listened: look whether it is there."""


class Jobs:
    """Results of jobs by object path.

    A job may end before the answer that names it has arrived, so results are kept for a while:
    the last 512, of any client's jobs.
    """

    def __init__(self) -> None:
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}

    def ended(self, path: str, result: str) -> None:
        """Take in a JobRemoved."""
        self._ended[path] = result
        if len(self._ended) > KEPT:
            self._ended.popitem(last=False)
        for future in self._waiting.get(path, ()):
            if not future.done():
                future.set_result(result)

    def lost(self) -> None:
        """Tell those who wait that they may have missed it."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(LostError())

    async def result(self, path: str) -> str:
        """Wait for the end of a job and return its result. Raises LostError."""
        if path in self._ended:
            return self._ended[path]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(path, []).append(future)
        try:
            return await future
        finally:
            self._waiting[path].remove(future)
            if not self._waiting[path]:
                del self._waiting[path]
