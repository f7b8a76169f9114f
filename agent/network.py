"""The kernel's addresses and packet rules."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from agent.netlink import drain, ipv4_addresses, nft_events
from agent.ports import Tools, UnfitError

TABLES: Final = (("inet", "kat"), ("bridge", "kat"))
LIST_S: Final = 30
"""100,000 elements take about a second."""
QUIET_S: Final = 0.05
"""What happens within it is one change: a ruleset comes as thousands of messages."""
_NAMES: Final = frozenset(name for _, name in TABLES)


class KernelNetwork:
    """Netlink, and nft(8) to list rules: no library prints all that a rule can say."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def table_digest(self) -> str:
        """Digest the text of `nft -s list table`: without counters, handles or timeouts left.

        Chains, rules, sets, maps and their elements count. `table inet kat_state` does not: it is
        the packets' own.
        """
        whole = hashlib.sha256()
        for family, name in TABLES:
            argv = ("nft", "-s", "list", "table", family, name)
            ran = await self._tools.run(argv, timeout_s=LIST_S, env={})
            if ran.code != 0 and "No such file or directory" in ran.stderr:
                return ""
            if ran.code != 0:
                raise UnfitError(f"nft list table {family} {name}: {ran.stderr.strip()}")
            whole.update(ran.stdout.encode())
        return whole.hexdigest()

    async def table_changes(self) -> AsyncGenerator[None, None]:
        """Yield once for each burst. Our own changes count too: compare digests."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        try:
            events = nft_events()
        except OSError as err:
            raise UnfitError(f"netlink: {err.strerror}; the agent needs CAP_NET_ADMIN") from err
        with events:
            loop.add_reader(events, _take, events, changed)
            try:
                while True:
                    await changed.wait()
                    await asyncio.sleep(QUIET_S)
                    changed.clear()
                    yield
            finally:
                loop.remove_reader(events)

    async def interface_of(self, address: str) -> str:
        """Look for an address."""
        for name, addresses in (await self.addresses()).items():
            if any(one.partition("/")[0] == address for one in addresses):
                return name
        return ""

    async def addresses(self) -> Mapping[str, Sequence[str]]:
        """List links with IPv4 addresses; the others have none, and are there too."""
        try:
            links = dict(socket.if_nameindex())
            found: dict[str, list[str]] = {name: [] for name in links.values()}
            for index, address, prefix in ipv4_addresses():
                if index in links:
                    found[links[index]].append(f"{address}/{prefix}")
        except OSError as err:
            raise UnfitError(f"netlink: addresses: {err.strerror or err}") from err
        return found


def _take(events: socket.socket, changed: asyncio.Event) -> None:
    if drain(events, _NAMES):
        changed.set()
