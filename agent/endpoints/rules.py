"""Endpoint state in the kernel's packet rules: element operations, and what a load includes.

Between two loads it is known what the kernel has, so that a change lists nothing. Whoever else
changes rules is found out by their generation, a number that the kernel counts up at every
transaction: `followed` says which of its steps were ours.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from agent.endpoints.elements import OBJECTS, Elements, changes, snapshot_text, unused
from agent.endpoints.wanted import Wanted
from agent.nft_listing import SeenRules
from agent.ports import NodePorts, UnfitError
from katgen.endpoints import NamespaceServices, States
from katgen.names import InstanceKey

_DESTROY: Final = """\
table inet kat_probe {
	map one { type ipv4_addr : ipv4_addr; }
}
destroy element inet kat_probe one { 192.0.2.1 }
"""
_WRAP: Final = 1 << 32
ATTEMPTS: Final = 5
"""At connections that were led to nobody: a machine with very many is not looked at for ever."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of the rules: `digest` of all but endpoint state, '' if they are missing."""

    generation: int
    digest: str


UNKNOWN: Final = Look(-1, "")


class EndpointRules:
    """One node's elements of endpoint state (`agent.endpoints.effects.PacketRules`)."""

    def __init__(self, node: NodePorts) -> None:
        self._network, self._counts, self._clock = node.network, node.counts, node.clock
        self._wanted = Wanted()
        self._is_told = False
        self._is_known = False
        self._doubts = self._listed_at = 0
        self._is_sparing = False
        self._chains: frozenset[str] = frozenset()
        self._left: set[str] = set()
        self._attempts = 0
        self._own_steps = (-1, -1)
        self._can_destroy = self._is_prepared = False
        self._working = asyncio.Lock()
        self.right = UNKNOWN
        """How they were when all but endpoint state was right; `agent.rules` says when."""

    async def prepare(self) -> None:
        """Find out what nft and the kernel can do, once; before the first snapshot."""
        if self._is_prepared:
            return
        try:
            self._can_destroy = await self._network.takes_rules(_DESTROY)
        except UnfitError as err:
            _log.warning("%s, retrying before the next load", err)
            return
        self._is_prepared = True
        if not self._can_destroy:
            _log.warning(
                "nft or this kernel cannot destroy elements (nft 1.0.7, Linux 6.3): until the agent"
                " runs, all instances count as ready after a boot"
            )

    def spare(self, *, others: bool) -> None:
        """Leave elements alone, or no longer, whose address no service here has.

        For while namespaces may be there of which nothing is known.
        """
        if others != self._is_sparing:
            self._is_sparing = others
            self._doubt()

    async def apply(
        self,
        services: Collection[NamespaceServices],
        states: States,
        own: Mapping[InstanceKey, str],
        changed: Collection[InstanceKey] | None = None,
    ) -> str:
        """Make the elements those of these states. Raises UnfitError.

        `own` are this node's instances with their addresses; `changed` those whose state may be
        another, None for any. Without tables there is nothing to do: a load brings them, and then
        this is asked again. Returns what is wrong with services that no packet rule can hold.
        """
        async with self._working:
            difference = self._wanted.follow(services, states, own, changed)
            self._left |= difference.left if self._is_told else self._wanted.answering().keys()
            self._is_told = True
            if self._is_known:
                try:
                    await self._change(self._text(difference.old, difference.new))
                except UnfitError as err:
                    _log.warning("%s; looking at what is there", err)
            if not self._is_known:
                await self._bring(await self._list())
            return "; ".join(self._wanted.problems.values())

    async def carry_out(self, text: str) -> None:
        """Carry out what has to do with other elements than those of services. UnfitError.

        What that makes of right rules is right, unless somebody else was at work meanwhile.
        """
        async with self._working:
            right = await self._right_at()
            before, after = await self._counted(text)
            self._note(before, after)
            if right == before and after == (before + 1) % _WRAP:
                digest = (await self._network.rules()).digest
                if await self._network.generation() == after:
                    self.right = Look(after, digest)

    async def _right_at(self) -> int:
        """Return the generation of now if the rules are right in it, else one that never is."""
        now = await self._network.generation()
        if self.followed(self.right.generation) == now:
            return now
        digest = (await self._network.rules()).digest
        return now if digest and digest == self.right.digest else UNKNOWN.generation

    def lost(self) -> None:
        """Take note that there were no rules, or wrong ones, for a time, and right ones again."""
        self._attempts = ATTEMPTS

    async def forget(self) -> None:
        """Have the kernel forget UDP clients of who has left, and whoever was led to nobody.

        Raises UnfitError; then once more. What is to change meanwhile need not wait for it.
        """
        await self._forget_left()
        if self._attempts:
            await self._forget_strays()

    async def _forget_strays(self) -> None:
        """Look at all connections of this machine: a million take some seconds."""
        virtual = self._wanted.virtual_addresses()
        if not virtual:
            return
        attempts, self._attempts = self._attempts, 0
        try:
            count = await self._network.forget_untranslated(virtual)
        except BaseException:
            self._attempts = self._attempts or attempts - 1
            raise
        if count:
            _log.info("%d connections were led to nobody without packet rules: forgotten", count)

    async def _forget_left(self) -> None:
        left, self._left = self._left, set()
        if not left:
            return
        answering, nobody = self._wanted.answering(), frozenset[str]()
        try:
            count = await self._network.forget_udp({at: answering.get(at, nobody) for at in left})
        except BaseException:
            self._left |= left
            raise
        self._counts.forgot(count)

    def reloaded(self) -> None:
        """Forget what the kernel had: the rules were loaded, and what a snapshot says with them."""
        self._doubt()

    def _doubt(self) -> None:
        """Have what is there be listed anew, also if a change is under way."""
        self._is_known = False
        self._doubts += 1

    async def _list(self) -> SeenRules:
        self._listed_at = self._doubts
        return await self._network.rules()

    def snapshot(self, services: NamespaceServices, states: States) -> bytes | None:
        """Return what a load includes for a namespace; None if this machine cannot take it."""
        return snapshot_text(services, states).encode() if self._can_destroy else None

    async def remember(self) -> None:
        """Take the rules that are there for right, if there are any. Raises UnfitError."""
        async with self._working:
            look = Look(await self._network.generation(), (await self._network.rules()).digest)
            if look.digest:
                self.right = look

    async def look(self) -> Look:
        """List the rules; if the rest of them is right, elements are mended. UnfitError."""
        async with self._working:
            generation = await self._network.generation()
            seen = await self._list()
            look = Look(generation, seen.digest)
            if seen.digest and seen.digest == self.right.digest:
                await self._mend(seen)
                self.right = look
            return look

    async def _mend(self, seen: SeenRules) -> None:
        if self._is_told and self._spared(seen.elements) != self._wanted.elements():
            if self._is_known:
                _log.warning("somebody has changed endpoints in the packet rules, restoring")
                self._counts.restored()
            await self._bring(seen)

    def is_alone(self, before: int, after: int) -> bool:
        """Whether no more than one transaction has led from one generation to another."""
        return (after - before) % _WRAP <= 1

    def followed(self, generation: int) -> int:
        """Return the generation that our own changes alone have led to from this one."""
        first, last = self._own_steps
        is_inside = first >= 0 and (generation - first) % _WRAP <= (last - first) % _WRAP
        return last if is_inside else generation

    async def _bring(self, seen: SeenRules) -> None:
        """Bring rules from how they were seen to what is wanted."""
        self._chains = seen.chains
        if seen.digest:
            await self._change(self._text(self._spared(seen.elements), self._wanted.elements()))

    def _spared(self, seen: Elements) -> Elements:
        """Return elements without those that are to be left alone."""
        if not self._is_sparing:
            return seen
        ours = self._wanted.addresses()
        return Elements(
            *(
                {key: one for key, one in seen.of(name).items() if key.partition(" . ")[0] in ours}
                for name in OBJECTS
            )
        )

    def _text(self, old: Elements, new: Elements) -> str:
        """Return what leads to what is wanted; chains that nothing leads to go with the last."""
        over = frozenset() if self._is_sparing else self._chains - self._wanted.chains()
        return changes(old, new, self._chains) + unused(over)

    async def _change(self, text: str) -> None:
        """Carry out a text that leads to what is wanted; if it fails nobody knows what is there."""
        self._is_known = False
        if text:
            self._note(*await self._counted(text))
            spared = self._chains if self._is_sparing else frozenset()
            self._chains = self._wanted.chains() | spared
        self._is_known = self._listed_at == self._doubts

    async def _counted(self, text: str) -> tuple[int, int]:
        begun, is_done = self._clock.boottime(), False
        try:
            generations = await self._network.change_rules(text)
            is_done = True
        finally:
            self._counts.rules_changed(self._clock.boottime() - begun, is_done=is_done)
        return generations

    def _note(self, before: int, after: int) -> None:
        if after != (before + 1) % _WRAP:
            self._own_steps = (-1, -1)  # somebody else was at work too
        else:
            first, last = self._own_steps
            self._own_steps = (first if last == before else before, after)
