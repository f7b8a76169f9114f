"""How much one client may ask for: requests, watches and connections at a time.

A limit is there to keep one client's mistake from everybody else, not to ration: defaults are far
above what a person or a program that works needs.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final

from aiohttp import web

from katgen.leader.errors import LimitedError

_BUCKETS_MAX: Final = 4096
"""Callers that are remembered; who has asked for nothing lately need not be."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second, and so many at once after a pause."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a leader. `strangers` holds for what is refused with 401, by address."""

    people: Rate = Rate(400, 800)
    agents: Rate = Rate(100, 1000)
    strangers: Rate = Rate(10, 100)
    watches: int = 1000
    watches_in_all: int = 5000
    connections: int = 2000
    """Of one address. Those above it hear so; above twice as many they are cut."""


class Turnstile:
    """Counts what clients do, and refuses what is too much. Belongs to one event loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._left: dict[str, tuple[float, float]] = {}
        self._watches: Counter[str] = Counter()

    def person(self, name: str) -> None:
        """Count a request of a token or certificate. Raises LimitedError."""
        self._take(f"person {name}", self.limits.people)

    def agent(self, node: str) -> None:
        """Count a request of a node's agent. Raises LimitedError."""
        self._take(f"node {node}", self.limits.agents)

    def stranger(self, address: str) -> None:
        """Count a request of nobody who is known. Raises LimitedError."""
        self._take(f"address {address}", self.limits.strangers)

    def _take(self, who: str, rate: Rate) -> None:
        now = self._clock()
        left, since = self._left.get(who, (rate.burst, now))
        left = min(rate.burst, left + (now - since) * rate.per_s)
        if left < 1:
            self._left[who] = (left, now)
            wait_s = ceil((1 - left) / rate.per_s)
            what = f"{who} asks too often: {rate.per_s:g} a second, {rate.burst:g} at once"
            raise LimitedError(what, max(1, wait_s))
        self._left[who] = (left - 1, now)
        if len(self._left) > _BUCKETS_MAX:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Forget who has been silent long enough to be as good as new, or else the most silent."""
        silent = sorted(self._left, key=lambda one: self._left[one][1])
        for who in silent[: _BUCKETS_MAX // 2]:
            if now - self._left[who][1] > 1:
                del self._left[who]

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Count a watch for as long as it lasts. Raises LimitedError."""
        limits = self.limits
        if self._watches[name] >= limits.watches:
            what = f"{name} watches {limits.watches} times already; that is the most"
            raise LimitedError(what, _WATCH_RETRY_S)
        if self._watches.total() >= limits.watches_in_all:
            what = f"there are {limits.watches_in_all} watches already; that is the most"
            raise LimitedError(what, _WATCH_RETRY_S)
        self._watches[name] += 1
        try:
            yield
        finally:
            self._watches[name] -= 1
            if not self._watches[name]:
                del self._watches[name]


_WATCH_RETRY_S: Final = 10
TURNSTILE: Final = web.AppKey("turnstile", Turnstile)
