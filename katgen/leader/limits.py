"""How much one client may ask for: requests, and watches at a time.

A limit is there to keep one client's mistake from everybody else, not to ration: defaults are far
above what a person or a program that works needs.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from time import monotonic
from typing import Final

from aiohttp import web

from katgen.leader.errors import LimitedError

BUCKETS_MAX: Final = 4096
"""Callers that are remembered, besides those whom the cluster knows: they are few enough."""
_SWEEP_S: Final = 1.0
"""Between two looks for who need not be remembered any more."""
_SITE_BITS: Final = 64
"""Of IPv6: what one machine or site has to itself, to choose any number of addresses from."""
_CROWD: Final = "a crowd of strangers"


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


@dataclass(frozen=True, slots=True)
class _Bucket:
    """What was left for a caller at a time, and when nothing of what it did counts any more."""

    left: float
    at: float
    full_at: float


class Turnstile:
    """Counts what clients do, and refuses what is too much. Belongs to one event loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept = float("-inf")
        self._watches: Counter[str] = Counter()

    @property
    def remembered(self) -> int:
        """How many callers are remembered."""
        return len(self._buckets)

    def person(self, name: str) -> None:
        """Count a request of a token or certificate. Raises LimitedError."""
        self._take(f"person {name}", self.limits.people)

    def agent(self, node: str) -> None:
        """Count a request of a node's agent. Raises LimitedError."""
        self._take(f"node {node}", self.limits.agents)

    def stranger(self, address: str) -> str:
        """Count a request of nobody who is known, and return as whose. Raises LimitedError.

        If there are too many to remember, all those who come new are counted as one.
        """
        who = f"address {site_of(address)}"
        if who not in self._buckets and not self._has_room():
            who = _CROWD
        self._take(who, self.limits.strangers)
        return who

    def forgive(self, who: str) -> None:
        """Take back one request of a stranger's who has turned out to be none."""
        known, rate = self._buckets.get(who), self.limits.strangers
        if known is not None:
            full_at = known.full_at - 1 / rate.per_s
            self._buckets[who] = _Bucket(known.left + 1, known.at, full_at)

    def _take(self, who: str, rate: Rate) -> None:
        now = self._clock()
        known, left = self._buckets.get(who), rate.burst
        if known is not None:
            left = min(rate.burst, known.left + (now - known.at) * rate.per_s)
        rest = left - 1 if left >= 1 else left
        self._buckets[who] = _Bucket(rest, now, now + (rate.burst - rest) / rate.per_s)
        if left < 1:
            wait_s = ceil((1 - left) / rate.per_s)
            what = f"{who} asks too often: {rate.per_s:g} a second, {rate.burst:g} at once"
            raise LimitedError(what, max(1, wait_s))

    def _has_room(self) -> bool:
        now = self._clock()
        if len(self._buckets) >= BUCKETS_MAX and now >= self._swept + _SWEEP_S:
            self._swept = now
            self._buckets = {who: one for who, one in self._buckets.items() if one.full_at > now}
        return len(self._buckets) < BUCKETS_MAX

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


def site_of(address: str) -> str:
    """Return what counts as one address: of IPv6 all that one site can choose from."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), _SITE_BITS), strict=False))


_WATCH_RETRY_S: Final = 10
TURNSTILE: Final = web.AppKey("turnstile", Turnstile)
