"""The one thread that writes: whatever waits is written with one fsync (group commit).

Each transaction is atomic by itself, sees those before it, and has its own outcome. Nobody hears of
an outcome, not even of a refusal, before the group is on disk: what it rests on might be lost.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from katgen.errors import KatError
from katgen.leader.store import StoreError
from katgen.leader.store.feed import Changes
from katgen.leader.store.schema import fault
from katgen.leader.store.tables import Done, Tables

GROUP: Final = 256
"""Transactions that share an fsync at most, so that the first need not wait long."""

Work = Callable[[Tables], Done]


@dataclass(frozen=True, slots=True)
class Job:
    """Work, and who waits for its result."""

    work: Work
    result: "asyncio.Future[int]" = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Refused:
    error: Exception


class Writer:
    """Starts at once; `publish` is called on the event loop with what became durable, in order."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tables: Tables,
        path: Path,
        publish: Callable[[Sequence[Changes]], None],
    ) -> None:
        self._sql, self._tables, self._path, self._publish = connection, tables, path, publish
        self._is_stale = False  # after a rollback `tables` tells of what is not there
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store writer", daemon=True)
        self._thread.start()

    async def carry_out(self, work: Work) -> int:
        """Return the work's result once it is durable. Raises what it raises, or StoreError."""
        job = Job(work, self._loop.create_future())
        self._jobs.put(job)
        return await job.result

    def stop(self) -> None:
        """Finish what was asked for before, then end. Blocks."""
        self._jobs.put(None)
        self._thread.join()
        self._sql.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            waiting = list(self._take())
            stopping = None in waiting
            jobs = [job for job in waiting if job is not None]
            outcomes = self._group(jobs)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, jobs, outcomes)

    def _take(self) -> Iterator[Job | None]:
        yield self._jobs.get()
        with suppress(Empty):
            for _ in range(GROUP - 1):
                yield self._jobs.get_nowait()

    def _group(self, jobs: Sequence[Job]) -> list[Done | _Refused]:
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            if self._is_stale:
                self._tables.load()
                self._is_stale = False
            outcomes = [self._one(job.work) for job in jobs]
            self._sql.execute("COMMIT")
        except Exception as err:  # noqa: BLE001 -- whoever waits must hear of it; the thread goes on
            self._roll_back()
            return [_Refused(self._fault(err)) for _ in jobs]
        return outcomes

    def _one(self, work: Work) -> Done | _Refused:
        self._sql.execute("SAVEPOINT one")
        try:
            outcome: Done | _Refused = work(self._tables)
        except sqlite3.Error:
            raise
        except Exception as err:  # noqa: BLE001 -- it is raised where somebody waits for it
            self._sql.execute("ROLLBACK TO one")
            if not isinstance(err, KatError):  # those are raised before anything has changed
                self._tables.load()
            outcome = _Refused(err)
        self._sql.execute("RELEASE one")
        return outcome

    def _fault(self, err: Exception) -> StoreError:
        if isinstance(err, sqlite3.Error):
            return fault(err, self._path)
        return StoreError(f"the store failed unexpectedly: {err!r}")

    def _roll_back(self) -> None:
        self._is_stale = True
        with suppress(sqlite3.Error):  # if it cannot, the next BEGIN says so
            if self._sql.in_transaction:  # SQLite may have rolled back by itself
                self._sql.execute("ROLLBACK")

    def _deliver(self, jobs: Sequence[Job], outcomes: Sequence[Done | _Refused]) -> None:
        self._publish([o[1] for o in outcomes if not isinstance(o, _Refused) and o[1]])
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.result.done():  # who asked has been cancelled
                continue
            if isinstance(outcome, _Refused):
                job.result.set_exception(outcome.error)
            else:
                job.result.set_result(outcome[0])
