"""KAT's packet rules stay as they were loaded: a flush would open every isolation.

Whatever the drift policy says, altered rules are loaded anew, at once. What endpoint state does to
them is no such change, and what others do to its elements is mended by `agent.endpoints.rules`.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agent.endpoints.rules import EndpointRules
from agent.ports import NodePorts, UnfitError, UnitError

SERVICE: Final = "kat-nft.service"
FILE: Final = "/etc/kat/kat.nft"
RELOAD_S: Final = 30
_UNKNOWN: Final = -1

_log = logging.getLogger(__name__)


class Rules:
    """The rules of this node as they should be, known by their digest.

    As long as their generation is one to which our own changes led, nothing needs to be listed.
    `before` is called before each load, so that what is included in it is as of now.
    """

    def __init__(
        self,
        node: NodePorts,
        endpoints: EndpointRules,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._node, self._endpoints, self._before = node, endpoints, before
        self._wanted = ""
        self._generation = _UNKNOWN
        self.problem = ""

    async def load(self) -> None:
        """Load the rules, if the node has any yet, and remember them: nobody saw the time before.

        One transaction: what was right stays right throughout.
        """
        self.problem = ""
        if not self._has_file():
            self._wanted = ""
            return
        try:
            if self._before is not None:
                await self._before()
            await self._node.systemd.reload(SERVICE, RELOAD_S)
            self._endpoints.reloaded()
            await self._remember()
        except (UnfitError, UnitError) as err:
            self.problem = f"the packet rules cannot be loaded: {err}"
            _log.error("%s, retrying at the next tick", self.problem)

    async def _remember(self) -> bool:
        """Take the rules that are there for right; whether there are any."""
        look = await self._endpoints.look("")
        if look.digest:
            self._wanted, self._generation = look.digest, look.generation
        return bool(look.digest)

    async def after(self, *, loaded: bool, complaint: str) -> None:
        """Take in what an apply did: rules that it `loaded` are right, all others are looked at.

        With a complaint the kernel still has those from before; they are tried again at a tick.
        """
        try:
            if complaint:
                self.problem = f"the packet rules cannot be loaded: {complaint}"
                _log.error("%s, retrying at the next tick", self.problem)
            elif loaded and await self._remember():
                self.problem = ""
            else:
                await self.check()
        except UnfitError as err:
            _log.warning("the packet rules cannot be read: %s, retrying at the next tick", err)

    async def check_there(self) -> bool:
        """Restore the rules if they are gone; whether they were.

        For while an apply may be changing them itself.
        """
        if not self._has_file() or await self._is_untouched():
            return False
        if (await self._node.network.rules()).digest:
            return False
        _log.warning("somebody has flushed KAT's packet rules, restoring them")
        self._node.counts.restored()
        await self.load()
        return True

    async def check(self) -> bool:
        """Restore the rules if they are not as they should be; whether they were not.

        That there are none is wrong wherever there is a file of them, whatever was seen before.
        """
        if not self.problem:
            if not self._has_file():
                return False
            if await self._is_untouched() or await self._is_right():
                return False
            _log.warning("somebody has changed KAT's packet rules, restoring them")
            self._node.counts.restored()
        await self.load()
        return True

    async def _is_untouched(self) -> bool:
        """Whether nobody but ourselves has changed any rules since they were right."""
        if self._generation == _UNKNOWN:
            return False
        self._generation = self._endpoints.followed(self._generation)
        return await self._node.network.generation() == self._generation

    async def _is_right(self) -> bool:
        """Whether the rules are as they were loaded, those of others apart."""
        if not self._wanted:
            return False
        look = await self._endpoints.look(self._wanted)
        if look.digest == self._wanted:
            self._generation = look.generation
        return look.digest == self._wanted

    def _has_file(self) -> bool:
        return self._node.files.stat(FILE) is not None
