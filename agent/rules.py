"""KAT's packet rules stay as they were loaded: a flush would open every isolation.

Whatever the drift policy says, altered rules are loaded anew, at once, also while an apply is under
way. What endpoint state does to them is no such change, and what others do to its elements is
mended by `agent.endpoints.rules`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from agent.endpoints.rules import UNKNOWN, EndpointRules, Look
from agent.ports import NodePorts, UnfitError, UnitError
from agent.target import Target
from agent.traffic import Traffic

SERVICE: Final = "kat-nft.service"
FILE: Final = "/etc/kat/kat.nft"
RELOAD_S: Final = 30
AGAIN_S: Final = 5
"""When to look again while there is a problem."""
REFUSED_S: Final = 60
"""The longest wait until rules are loaded again that have been refused, again and again."""

_log = logging.getLogger(__name__)


class Rules:
    """The rules of this node as they should be, known by their digest (`EndpointRules.right`).

    As long as their generation is one to which our own changes led, nothing needs to be listed.
    `before` is called before each load, so that what is included in it is as of now. `problem` is
    told, and `wrong` set, until somebody has called `check` with success.
    """

    def __init__(
        self,
        node: NodePorts,
        endpoints: EndpointRules,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._node, self._endpoints, self._before = node, endpoints, before
        self._is_due = self._was_lost = False
        self._refused, self._refusals, self._retry_at = UNKNOWN, 0, 0.0
        self._working = asyncio.Lock()
        self.problem = ""
        self.wrong = asyncio.Event()

    async def load(self) -> None:
        """Load the rules, if the node has any yet, and remember them: nobody saw the time before.

        One transaction: what was right stays right throughout.
        """
        async with self._working:
            await self._see_lost()
            await self._load()

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Let somebody load the rules in the block, and remember what that made of them.

        At once: what others do to them from then on is to be found, however long an apply takes.
        """
        async with self._working:
            await self._see_lost()
            before = await self._generation()
            yield
            after = await self._generation()
            self._note_between(before, after)
            if after != before:  # else the kernel has refused them
                try:
                    await self._remember()
                except UnfitError as err:
                    self._failed(f"the packet rules cannot be read: {err}")

    async def after(self, complaint: str) -> bool:
        """Look at the rules after an apply; whether they were loaded anew.

        With a complaint of its load the kernel still has those from before; they are tried again.
        """
        if complaint:
            self._refusals = 0
            self._failed(f"the packet rules cannot be loaded: {complaint}")
            return False
        return await self.check()

    async def check(self, *, applying: bool = False) -> bool:
        """Restore the rules if they are not as they should be; whether others were loaded.

        That there are none is wrong wherever there is a file of them, whatever was seen before.
        `applying`: an apply is under way, which may be the one that loads them for the first time.
        """
        async with self._working:
            try:
                is_wrong = (
                    await self._is_again()
                    if self._is_due
                    else await self._is_wrong(applying=applying)
                )
            except UnfitError as err:
                self._say(f"the packet rules cannot be read or mended: {err}")
                return False
            if is_wrong:
                return await self._load()
            if not self._is_due:
                self._say("")
            return False

    async def _load(self) -> bool:
        """Load; whether the kernel may have taken it, whatever was said of it."""
        before = await self._generation()
        try:
            if not self._has_file():
                self._endpoints.right = UNKNOWN
                self._well()
                return False
            if self._before is not None:
                await self._before()
            await self._node.systemd.reload(SERVICE, RELOAD_S)
            self._note_between(before, await self._generation())
            await self._remember()
        except (UnfitError, UnitError) as err:
            self._failed(f"the packet rules cannot be loaded: {err}")
            if await self._generation() != before:
                return True
            await self._wait()
            return False
        return True

    async def _wait(self) -> None:
        """Have a load that was refused wait, ever longer as long as there are any rules."""
        try:
            self._refused = await self._look()
        except UnfitError:  # the problem is told already
            self._refused = UNKNOWN
        self._refusals = self._refusals + 1 if self._refused.digest else 1
        wait = min(REFUSED_S, AGAIN_S << min(self._refusals - 1, REFUSED_S))
        self._retry_at = self._node.clock.boottime() + wait

    async def _is_again(self) -> bool:
        """Whether to try a load again that has failed; at once if there is anything else now."""
        is_time = self._node.clock.boottime() >= self._retry_at
        now = await self._node.network.generation()
        if now == self._endpoints.followed(self._refused.generation):
            return is_time
        before, look = self._refused, await self._look()
        self._refused = Look(look.generation, before.digest)
        return is_time or look.digest != before.digest

    async def _remember(self) -> None:
        """Take what was loaded for right. Raises UnfitError."""
        self._endpoints.reloaded()
        await self._endpoints.remember()
        if self._was_lost:
            self._was_lost = False
            self._endpoints.lost()
        self._well()

    async def _see_lost(self) -> None:
        """Take note if there are none, or wrong ones, before a load."""
        with suppress(UnfitError):
            if not await self._is_untouched():
                await self._look()

    def _note_between(self, before: int, after: int) -> None:
        """Take note if somebody else was at work between a look and the end of a load."""
        self._was_lost |= not self._endpoints.is_alone(before, after)

    async def _look(self) -> Look:
        """Look; while there are none, or wrong ones, what begins may be led to nobody."""
        right = self._endpoints.right
        look = await self._endpoints.look()
        is_right = look.digest != "" and look.digest == right.digest
        self._was_lost |= not look.digest or (right != UNKNOWN and not is_right)
        if is_right and self._was_lost:  # somebody else has loaded them
            self._was_lost = False
            self._endpoints.lost()
        return look

    async def _is_wrong(self, *, applying: bool) -> bool:
        if not self._has_file() or await self._is_untouched():
            return False
        look = await self._look()
        right = self._endpoints.right
        if look.digest and look.digest == right.digest:
            return False
        if applying and look.digest and right == UNKNOWN:
            return False
        what = "changed" if look.digest else "flushed"
        _log.warning("somebody has %s KAT's packet rules, restoring them", what)
        self._node.counts.restored()
        return True

    async def _is_untouched(self) -> bool:
        """Whether nobody but ourselves has changed any rules since they were right."""
        right = self._endpoints.right
        if right == UNKNOWN:
            return False
        now = await self._node.network.generation()
        return now == self._endpoints.followed(right.generation)

    async def _generation(self) -> int:
        try:
            return await self._node.network.generation()
        except UnfitError:  # then what was loaded is not remembered, and found at the next look
            return UNKNOWN.generation

    def _failed(self, problem: str) -> None:
        self._is_due, self._retry_at = True, 0.0
        self._say(problem)

    def _well(self) -> None:
        self._is_due, self._refusals = False, 0
        self._say("")

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("%s, retrying in %d s", problem, AGAIN_S)
        self.problem = problem
        (self.wrong.set if problem else self.wrong.clear)()

    def _has_file(self) -> bool:
        return self._node.files.stat(FILE) is not None


class WatchedTraffic:
    """Endpoint state, to an apply; each of its loads is remembered (`agent.traffic.Traffic`)."""

    def __init__(self, traffic: Traffic, rules: Rules) -> None:
        self._traffic, self._rules = traffic, rules

    async def installed(self, target: Target) -> None:
        """Pass it on."""
        await self._traffic.installed(target)

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Pass it on; what was loaded is remembered before any element changes."""
        async with self._traffic.loading(), self._rules.loading():
            yield

    async def drain(self, units: Collection[str]) -> Mapping[str, int]:
        """Pass it on."""
        return await self._traffic.drain(units)

    async def settled(self, target: Target) -> None:
        """Pass it on."""
        await self._traffic.settled(target)
