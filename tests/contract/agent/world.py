"""What a contract case needs of a machine, beside the ports that it tries."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

from agent.ports import NodePorts

DEADLINE_S = 20
IMAGE = "localhost/bb:1"
T = TypeVar("T")


class World(Protocol):
    """A machine, real or not. Every case gets names of its own."""

    @property
    def ports(self) -> NodePorts: ...

    def service(self, unit: str, kind: str = "runs") -> None:
        """Put a unit: one that `runs`, `fails` to start, or `hangs` while it starts."""

    async def run_container(self, name: str) -> None:
        """Run one of IMAGE."""

    async def load_rules(self, rule: str) -> None:
        """Load both of KAT's tables, with this rule in one of them."""

    async def flush_rules(self) -> None: ...

    async def connect(self, virtual: str, instance: str, sport: int) -> None:
        """Have the kernel remember a UDP client of a virtual address that an instance answers."""

    async def connected(self) -> set[tuple[str, str]]:
        """Return the virtual address and instance of each UDP connection."""

    async def log(self, unit: str, *lines: str) -> None:
        """Have a service write lines to the journal."""


Case = Callable[[World], Awaitable[None]]


async def soon(waiting: Awaitable[T]) -> T:
    """Wait, but not for ever."""
    async with asyncio.timeout(DEADLINE_S):
        return await waiting


async def first(stream: AsyncGenerator[T, None], wanted: Callable[[T], bool]) -> T:
    """Return the first that is wanted, in time, and close the stream."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            async for one in stream:
                if wanted(one):
                    return one
    finally:
        await stream.aclose()
    raise AssertionError("the stream ended")


async def during(
    stream: AsyncGenerator[T, None], act: Callable[[], Awaitable[None]], wanted: Callable[[T], bool]
) -> T:
    """Return the first that is wanted of what a stream yields once `act` has been done."""
    listening = asyncio.create_task(first(stream, wanted))
    done = asyncio.create_task(_again(act, listening))
    try:
        return await listening
    finally:
        done.cancel()


async def _again(act: Callable[[], Awaitable[None]], listening: "asyncio.Task[T]") -> None:
    """Act until it is heard: nothing says when a subscription has begun."""
    while not listening.done():
        await act()
        await asyncio.wait([listening], timeout=0.5)


async def refusal(waiting: Awaitable[object], kind: type[Exception]) -> str:
    """Return the text of the error that this must raise."""
    try:
        await soon(waiting)
    except kind as err:
        return str(err)
    raise AssertionError(f"no {kind.__name__}")
