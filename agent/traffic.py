"""What an apply and endpoint state have to do with each other.

In the order of an apply: `installed` once the new files lie there, before anything takes them up;
`loading` around each load of the packet rules; `drain` before units are stopped; `settled` after
the last step.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from agent.target import Target


class Traffic(Protocol):
    """Endpoint state, as far as an apply goes (`agent.endpoints.state.Endpoints`)."""

    async def installed(self, target: Target) -> None:
        """Take over new candidates; what leaves is still looked after. Names follow at once."""

    def loading(self) -> AbstractAsyncContextManager[None]:
        """Have a load of the packet rules bring the state of now, and nobody else change it."""

    async def drain(self, units: Collection[str]) -> Mapping[str, int]:
        """Take instances out of traffic, everywhere; return how long each may still run, seconds.

        Units that serve nobody, or do not run, are not in the answer. Raises UnfitError.
        """

    async def settled(self, target: Target) -> None:
        """Forget what has left."""


class NoTraffic:
    """For who works by hand while no agent runs: it finds everything out when it starts."""

    async def installed(self, target: Target) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Do nothing."""
        yield

    async def drain(self, units: Collection[str]) -> Mapping[str, int]:
        """Drain nothing."""
        del units
        return {}

    async def settled(self, target: Target) -> None:
        """Do nothing."""


NO_TRAFFIC: Final = NoTraffic()
