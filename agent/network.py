"""The kernel's addresses and packet rules."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Final

from agent.netlink import drain, ipv4_addresses, nft_events, rules_generation
from agent.netlink_conntrack import forget_udp, forget_untranslated
from agent.nft_listing import SeenRules, seen
from agent.ports import Tools, UnfitError

TABLES: Final = (("inet", "kat"), ("bridge", "kat"))
LIST_S: Final = 30
"""100,000 elements take about a second."""
SAID_MAX: Final = 2000
"""nft quotes what it refuses, with all of its elements."""
QUIET_S: Final = 0.05
"""What happens within it is one change: a ruleset comes as thousands of messages."""
_NAMES: Final = frozenset(name for _, name in TABLES)


class KernelNetwork:
    """Netlink, and nft(8) to list rules: no library prints all that a rule can say."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def rules(self) -> SeenRules:
        """Read `nft -s list table`: without counters, handles or timeouts left.

        `table inet kat_state` does not count: it is the packets' own.
        """
        texts = []
        for family, name in TABLES:
            argv = ("nft", "-s", "list", "table", family, name)
            ran = await self._tools.run(argv, timeout_s=LIST_S, env={})
            if ran.code != 0 and "No such file or directory" in ran.stderr:
                return SeenRules()
            if ran.code != 0:
                raise UnfitError(f"nft list table {family} {name}: {ran.stderr.strip()}")
            texts.append(ran.stdout)
        return seen(texts)

    async def generation(self) -> int:
        """Ask the kernel."""
        try:
            return rules_generation()
        except OSError as err:
            raise UnfitError(f"netlink: generation of packet rules: {err.strerror or err}") from err

    async def change_rules(self, text: str) -> tuple[int, int]:
        """Run `nft -f -`."""
        before = await self.generation()
        argv = ("nft", "-f", "-")
        ran = await self._tools.run(argv, timeout_s=LIST_S, env={}, stdin=text.encode())
        if ran.code != 0:
            raise UnfitError(f"nft: {ran.stderr.strip()[:SAID_MAX]}")
        return before, await self.generation()

    async def takes_rules(self, text: str) -> bool:
        """Run `nft -c -f -`."""
        argv = ("nft", "-c", "-f", "-")
        ran = await self._tools.run(argv, timeout_s=LIST_S, env={}, stdin=text.encode())
        return ran.code == 0

    async def forget_udp(self, answering: Mapping[str, Collection[str]]) -> int:
        """Ask ctnetlink, in a thread: a busy machine remembers many connections."""
        try:
            return await asyncio.to_thread(forget_udp, answering)
        except OSError as err:
            raise UnfitError(f"netlink: connections: {err.strerror or err}") from err

    async def forget_untranslated(self, virtual: Collection[str]) -> int:
        """Ask ctnetlink, in a thread."""
        try:
            return await asyncio.to_thread(forget_untranslated, virtual)
        except OSError as err:
            raise UnfitError(f"netlink: connections: {err.strerror or err}") from err

    async def table_changes(self) -> AsyncGenerator[None, None]:
        """Yield for each burst. Our own changes count too: compare generations."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        try:
            events = nft_events()
        except OSError as err:
            raise UnfitError(f"netlink: {err.strerror}; the agent needs CAP_NET_ADMIN") from err
        with events:
            loop.add_reader(events, _take, events, changed)
            try:
                yield
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
