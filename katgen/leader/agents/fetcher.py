"""Images: asked for at the nodes, in the background, so that a slow registry delays nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from katgen.leader.images import Fetch, with_digest
from katgen.leader.services import NotConnectedError
from katgen.names import NodeName, WorkloadKey
from katgen.protocol import Failed, Pull, Pulled, PullProgress, ToAgent, ToLeader

_GRACE_S: Final = 5.0
"""Beyond the deadline that the agent keeps itself, for its own words about it."""


class Asks(Protocol):
    """What is needed of the sessions."""

    def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:
        """Send a request and yield its answers to the last."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a fetch ended: `digest` if the image is there, else `error` as the registry has it."""

    fetch: Fetch
    digest: str = ""
    error: str = ""
    is_gone: bool = False
    """The node's session ended; nothing is known of the image."""


@dataclass(eq=False, slots=True)
class Fetcher:
    """Every image once per node at a time. `ready` are images that a node said it has."""

    agents: Asks
    ready: set[tuple[NodeName, str]] = field(default_factory=set)
    on_progress: Callable[[], None] = lambda: None
    _told: dict[WorkloadKey, str] = field(default_factory=dict)
    _tasks: dict[Fetch, asyncio.Task[Fetched]] = field(default_factory=dict)
    _dropped: set[asyncio.Task[Fetched]] = field(default_factory=set)

    def lacking(self, fetches: Iterable[Fetch]) -> tuple[Fetch, ...]:
        """Return those whose image is not known to be there."""
        return tuple(one for one in fetches if (one.node, one.image) not in self.ready)

    def start(self, fetches: Iterable[Fetch]) -> bool:
        """Begin what is not under way; return whether anything was begun."""
        begun = False
        for one in fetches:
            if one not in self._tasks:
                task = asyncio.create_task(self._fetch(one), name=f"pull {one.image}")
                self._tasks[one] = task
                begun = True
        return begun

    def waiting(self) -> frozenset[WorkloadKey]:
        """Return the workloads for which something is under way."""
        return frozenset(one.workload for one in self._tasks)

    def progress(self) -> dict[WorkloadKey, str]:
        """Return what each of them waits for, as Podman last had it."""
        waiting = {one.workload: f"pulling {one.image}" for one in self._tasks}
        return {key: self._told.get(key, text) for key, text in waiting.items()}

    def drop(self, is_wanted: Callable[[Fetch], bool]) -> None:
        """End what nobody asks for any more; the agents hear of it."""
        for one in [fetch for fetch in self._tasks if not is_wanted(fetch)]:
            task = self._tasks.pop(one)
            self._dropped.add(task)
            task.add_done_callback(self._dropped.discard)
            task.cancel()

    async def settle(self, fetches: Iterable[Fetch], timeout_s: float) -> None:
        """Wait until these are done, but not longer."""
        tasks = [self._tasks[one] for one in fetches if one in self._tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def done(self) -> tuple[Fetched, ...]:
        """Return what has ended since the last call."""
        ended = [one for one, task in self._tasks.items() if task.done()]
        return tuple(self._tasks.pop(one).result() for one in ended)

    async def first(self) -> None:
        """Wait until something ends; for ever if nothing is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.Event().wait()

    def forget(self, node: NodeName) -> None:
        """Drop what is known of a node: it may come back without its images."""
        self.ready -= {one for one in self.ready if one[0] == node}

    async def close(self) -> None:
        """Wait for nothing any more."""
        self.drop(lambda _: False)
        await asyncio.gather(*self._dropped, return_exceptions=True)

    async def _fetch(self, fetch: Fetch) -> Fetched:
        self._told.pop(fetch.workload, None)
        try:
            async with asyncio.timeout(fetch.timeout_s + _GRACE_S):
                return await self._pull(fetch)
        except TimeoutError:
            text = f"{fetch.image} is not there after {fetch.timeout_s:g} s"
            return Fetched(fetch, error=text)
        except NotConnectedError:
            return Fetched(fetch, is_gone=True)

    async def _pull(self, fetch: Fetch) -> Fetched:
        message = Pull("", fetch.image, fetch.policy, fetch.timeout_s)
        async for answer in self.agents.stream(fetch.node, message):
            match answer:
                case PullProgress():
                    self._told[fetch.workload] = answer.text
                    self.on_progress()
                case Pulled():
                    names = {fetch.image, with_digest(fetch.image, answer.digest)}
                    self.ready |= {(fetch.node, name) for name in names}
                    return Fetched(fetch, answer.digest)
                case Failed():
                    return Fetched(fetch, error=answer.text)
                case _:
                    pass  # of a newer agent
        return Fetched(fetch, is_gone=True)
