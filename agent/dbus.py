"""The system bus, through dbus-fast's message level: no introspection, no proxies.

What others put on the bus is not trusted: a unicast signal reaches us past every match rule, so
one that claims to be PID 1's counts only if it comes from the connection that owns its name.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from agent.ports import UnfitError

DAEMON: Final = "org.freedesktop.DBus"
DAEMON_PATH: Final = "/org/freedesktop/DBus"
CALL_S: Final = 90
"""Longer than the longest daemon-reload that was seen; a call that takes more has failed."""
CONNECT_S: Final = 15
RETRY_S: Final = 0.05
AT_ONCE: Final = 64
"""The bus refuses more than 128 calls of one connection without an answer, dbus-daemon(1)."""
_AWAY: Final = frozenset(
    f"{DAEMON}.Error.{word}"
    for word in ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "TimedOut")
)
"""PID 1 is between two connections (daemon-reexec, or the bus has just come back). The same call
may be made again: those we make are the same twice as once."""
_LOST: Final = (OSError, EOFError, DBusFastError)


class _QuietBus(MessageBus):
    """Who calls learns of a lost connection by the call alone, and once.

    Theirs, when the write fails at once, gives the error to the future of the call and raises too,
    so that nobody ever looks at the future and asyncio complains.
    """

    def send(  # type: ignore[override]  # so does the class that it is of
        self, msg: Message
    ) -> "asyncio.Future[object]":
        msg.serial = msg.serial or self.next_serial()
        future: asyncio.Future[object] = self._loop.create_future()
        future.add_done_callback(_retrieve)
        try:
            if self._writer is not None:
                self._writer.schedule_write(msg, future)
        except (OSError, ValueError):
            if self.connected:
                raise
        return future


def _retrieve(future: "asyncio.Future[object]") -> None:
    if not future.cancelled():
        future.exception()


class CallError(Exception):
    """The other side refused; `name` is the error's, `org.freedesktop.systemd1.NoSuchUnit`."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Peer:
    """An object on the bus, and the interface it is asked by."""

    name: str
    path: str
    interface: str

    def call(self, member: str, signature: str = "", body: Sequence[object] = ()) -> Message:
        """Return the message that calls a method."""
        return Message(
            destination=self.name,
            path=self.path,
            interface=self.interface,
            member=member,
            signature=signature,
            body=list(body),
        )


class Bus:
    """A connection that comes back. `greeting` is called on each new one, `rules` are matched.

    `heard` gets every signal of the owner of `name`, `renewed` is called when the connection or the
    name's owner is another one: what was signalled in between is lost.
    """

    def __init__(
        self,
        greeting: Message,
        rules: Sequence[str],
        heard: Callable[[Message], None],
        renewed: Callable[[], None],
    ) -> None:
        self._greeting = greeting
        self._name = greeting.destination or ""
        self._rules = (*rules, f"type='signal',sender='{DAEMON}',arg0='{self._name}'")
        self._heard = heard
        self._renewed = renewed
        self._bus: MessageBus | None = None
        self._owner = ""
        self._connecting = asyncio.Lock()
        self._calls = asyncio.Semaphore(AT_ONCE)
        self._keeper: asyncio.Task[None] | None = None

    async def call(self, peer: Peer, member: str, signature: str = "", *body: object) -> list[Any]:
        """Call a method and return what it answers. Raises CallError, UnfitError.

        Connects first if need be, and again if the connection or PID 1 goes away meanwhile.
        """
        try:
            async with asyncio.timeout(CALL_S):
                while True:
                    bus = await self._connected()
                    async with self._calls:
                        answer = await _ask(bus, peer.call(member, signature, body))
                    if answer is not None:
                        return answer
                    await asyncio.sleep(RETRY_S)
        except TimeoutError as err:
            raise UnfitError(f"D-Bus: {member} is not answered for {CALL_S} s") from err

    async def close(self) -> None:
        """Disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        self._drop()

    async def connect(self) -> None:
        """Connect now, and again whenever the connection is lost."""
        await self._connected()

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
            return self._bus

    async def _connect(self) -> MessageBus:
        try:
            async with asyncio.timeout(CONNECT_S):
                while True:
                    bus = await self._try_to_connect()
                    if bus is not None:
                        break
                    await asyncio.sleep(RETRY_S)
        except TimeoutError as err:
            raise UnfitError("the system bus does not answer; see: systemctl status dbus") from err
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="dbus")
        else:
            self._renewed()
        return bus

    async def _try_to_connect(self) -> MessageBus | None:
        """Return a connection on which PID 1 has been greeted, or None if that must wait."""
        bus = _QuietBus(bus_type=BusType.SYSTEM)
        daemon = Peer(DAEMON, DAEMON_PATH, DAEMON)
        try:
            await bus.connect()
            for rule in self._rules:
                await _ask(bus, daemon.call("AddMatch", "s", [rule]))
            owner = await _ask(bus, daemon.call("GetNameOwner", "s", [self._name]))
            if owner is not None:
                self._owner = owner[0]
                bus.add_message_handler(self._take)
                if await _ask(bus, self._greeting) is not None:
                    return bus
        except _LOST:
            pass  # the bus is away: the caller tries again
        except CallError as err:
            bus.disconnect()
            raise UnfitError(f"D-Bus refuses: {err}") from err
        except BaseException:
            bus.disconnect()
            raise
        bus.disconnect()
        return None

    async def _keep(self) -> None:
        """Connect again when the connection is lost, so that signals go on."""
        while True:
            if self._bus is not None:
                with contextlib.suppress(*_LOST):  # which is what was waited for
                    await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # theirs
            try:
                await self._connected()
            except UnfitError:
                continue  # it has waited already

    def _take(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.sender == DAEMON and message.member == "NameOwnerChanged":
            name, _, new = message.body
            if name == self._name and new not in ("", self._owner):
                self._drop()  # another PID 1, as it were: it must be greeted
        elif message.sender == self._owner:
            self._heard(message)

    def _drop(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()


async def _ask(bus: MessageBus, message: Message) -> list[Any] | None:
    """Return the answer's values; None if the other side is away. Raises CallError."""
    message.serial = 0  # a message may be sent on several connections
    try:
        reply = await bus.call(message) if bus.connected else None
    except _LOST:
        return None
    if reply is None:
        return None
    if reply.message_type is not MessageType.ERROR:
        return list(reply.body)
    name = reply.error_name or ""
    if name in _AWAY:
        return None
    raise CallError(name, str(reply.body[0]) if reply.body else name)
