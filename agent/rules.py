"""KAT's packet rules stay as they were loaded: a flush would open every isolation.

Whatever the drift policy says, altered rules are loaded anew, at once.
"""

import logging
from typing import Final

from agent.ports import NodePorts, UnfitError, UnitError

SERVICE: Final = "kat-nft.service"
FILE: Final = "/etc/kat/kat.nft"
RELOAD_S: Final = 30

_log = logging.getLogger(__name__)


class Rules:
    """The rules of this node as they should be, known by their digest."""

    def __init__(self, node: NodePorts) -> None:
        self._node = node
        self._wanted = ""
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
            await self._node.systemd.reload(SERVICE, RELOAD_S)
            self._wanted = await self._node.network.table_digest()
        except (UnfitError, UnitError) as err:
            self.problem = f"the packet rules cannot be loaded: {err}"
            _log.error("%s, retrying at the next tick", self.problem)

    async def after(self, *, loaded: bool, complaint: str) -> None:
        """Take in what an apply did: rules that it `loaded` are right, all others are looked at.

        With a complaint the kernel still has those from before; they are tried again at a tick.
        """
        try:
            if complaint:
                self.problem = f"the packet rules cannot be loaded: {complaint}"
                _log.error("%s, retrying at the next tick", self.problem)
            elif loaded and (digest := await self._node.network.table_digest()):
                self._wanted, self.problem = digest, ""
            else:
                await self.check()
        except UnfitError as err:
            _log.warning("the packet rules cannot be read: %s, retrying at the next tick", err)

    async def check_there(self) -> None:
        """Restore the rules if they are gone. For while an apply may be changing them itself."""
        if self._has_file() and not await self._node.network.table_digest():
            _log.warning("somebody has flushed KAT's packet rules, restoring them")
            await self.load()

    async def check(self) -> bool:
        """Restore the rules if they are not as they should be; whether they were not.

        That there are none is wrong wherever there is a file of them, whatever was seen before.
        """
        if not self.problem:
            if not self._has_file():
                return False
            if self._wanted and await self._node.network.table_digest() == self._wanted:
                return False
            _log.warning("somebody has changed KAT's packet rules, restoring them")
        await self.load()
        return True

    def _has_file(self) -> bool:
        return self._node.files.stat(FILE) is not None
