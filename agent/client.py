"""The agent's way to its leader: mutual TLS, one WebSocket, bundles and contents by request.

Nothing that a leader says is trusted for having come this way: records are signed, and what is
installed is checked against them (`agent.trust`, `agent.target`).
"""

import hashlib
import logging
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, WebSocketException

from agent.https import CONNECT_S, Https, text_of
from agent.ports import LeaderError
from katgen.names import NodeName
from katgen.protocol import BundleAnswer, SignedRecord, ToAgent, ToLeader

CLOSE_S: Final = 2
PING_S: Final = 10
"""A leader whose machine vanished is noticed after this and half of it again."""
MESSAGE_BYTES: Final = 4 << 20
BATCH: Final = 128
"""Files fetched by one request."""
BACKOFF_S: Final = (0.5, 30.0)

_log = logging.getLogger(__name__)
_messages = msgspec.json.Decoder(ToAgent)
_bundles = msgspec.json.Decoder(BundleAnswer)
_contents = msgspec.msgpack.Decoder(dict[str, bytes])


class _Tag(msgspec.Struct):
    type: str


_tags = msgspec.json.Decoder(_Tag)
_KNOWN: Final = frozenset(
    {
        "propose", "abort", "commit", "pull", "read-logs", "read-usage", "cancel", "settings",
        "endpoint-news", "endpoint-known",
    }
)  # fmt: skip


class MessageError(LeaderError):
    """The leader has said something that is no message."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is to its leader: `folder` has node.key, node.crt and ca.crt."""

    node: NodeName
    leader: str  # https://ADDRESS:PORT
    folder: Path


def context(folder: Path) -> ssl.SSLContext:
    """Return TLS that shows the node's certificate and takes no leader but the CA's.

    Raises LeaderError: without its certificate this node is nobody to the leader.
    """
    try:
        made = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.load_cert_chain(folder / "node.crt", folder / "node.key")
    except (OSError, ValueError) as err:
        raise LeaderError(f"{folder}: the node's certificate cannot be used: {err}") from err
    return made


class LeaderSession:
    """A `ports.Session`: an open WebSocket, and requests beside it."""

    def __init__(self, https: Https, socket: ClientConnection, base: str) -> None:
        self._https, self._socket, self._base = https, socket, base

    async def send(self, message: ToLeader) -> None:
        """Send a message. Raises LeaderError."""
        try:
            await self._socket.send(msgspec.json.encode(message), text=True)
        except (WebSocketException, OSError, TimeoutError) as err:
            raise LeaderError(f"{self._base}: {text_of(err)}") from err

    async def messages(self) -> AsyncIterator[ToAgent]:
        """Yield what the leader says; ends with the session. Raises MessageError, LeaderError.

        A message of a type that a newer leader may know is logged and passed over.
        """
        while True:
            try:
                frame = await self._socket.recv()
            except ConnectionClosedOK:
                return
            except (ConnectionClosed, OSError) as err:
                raise LeaderError(f"{self._base}: {text_of(err)}") from err
            if not isinstance(frame, str):
                raise MessageError(f"{self._base}: a frame that is no text")
            message = parse(frame)
            if message is not None:
                yield message

    async def bundle(self, generation: int) -> BundleAnswer:
        """Fetch a bundle. Raises LeaderError."""
        data = await self._https.ask("GET", f"bundle?generation={generation:d}")
        try:
            return _bundles.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise LeaderError(f"{self._base}: the bundle {generation} is none: {err}") from err

    async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """Fetch some of these files: as many as the leader puts into one answer.

        Raises LeaderError if none comes, or one that is not what it should be.
        """
        wanted = sorted(set(digests))[:BATCH]
        data = await self._https.ask("POST", "contents", msgspec.json.encode(wanted))
        try:
            answer = _contents.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise LeaderError(f"{self._base}: contents: {err}") from err
        found = {digest: answer[digest] for digest in wanted if digest in answer}
        for digest, content in found.items():
            if hashlib.sha256(content).hexdigest() != digest:
                raise LeaderError(f"{self._base}: the content {digest[:12]} is corrupt")
        if wanted and not found:
            raise LeaderError(f"{self._base}: the content {wanted[0][:12]} is missing")
        return found


class Leader:
    """Opens sessions to the leader of one cluster."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._base = f"{identity.leader}/v1alpha1/nodes/{identity.node}"

    @asynccontextmanager
    async def session(self) -> AsyncIterator[LeaderSession]:
        """Connect; the session ends with the block. Raises LeaderError if no leader answers."""
        # The certificate is read anew for each session, so that a renewed one counts.
        tls = context(self._identity.folder)
        socket = await self._open(tls)
        https = Https(self._base, tls)
        try:
            yield LeaderSession(https, socket, self._base)
        finally:
            https.close()
            await socket.close()

    async def send_status(self, body: bytes) -> SignedRecord | None:
        """Report without a session; return the record that the leader answers with, if any.

        Raises LeaderError.
        """
        https = Https(self._base, context(self._identity.folder))
        try:
            data = await https.ask("POST", "status", body)
            return msgspec.json.decode(data, type=SignedRecord | None)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise LeaderError(f"{self._base}/status: {text_of(err)}") from err
        finally:
            https.close()

    async def _open(self, tls: ssl.SSLContext) -> ClientConnection:
        try:
            return await connect(
                f"{self._base}/session".replace("https:", "wss:", 1),
                ssl=tls,
                compression=None,
                proxy=None,
                user_agent_header=None,
                max_size=MESSAGE_BYTES,
                open_timeout=CONNECT_S,
                close_timeout=CLOSE_S,
                ping_interval=PING_S,
                ping_timeout=PING_S / 2,
            )
        except (WebSocketException, OSError, TimeoutError) as err:
            raise LeaderError(f"{self._identity.leader}: {text_of(err)}") from err


def parse(text: str) -> ToAgent | None:
    """Return a message, or None for a type that only a newer leader knows. Raises MessageError."""
    try:
        message: ToAgent = _messages.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as err:
        kind = _kind(text)
        if kind and kind not in _KNOWN:
            _log.warning("the leader sent a %r, which this version does not know, ignoring", kind)
            return None
        raise MessageError(f"the leader sent what is no message: {err}") from err
    return message


def backoff_s(attempt: int, chance: float) -> float:
    """Return how long to wait before attempt 1, 2, …; `chance` in [0, 1) spreads the nodes.

    From a half to the whole of a time that doubles, so that nodes which lost one leader do not
    come back at one moment.
    """
    first, most = BACKOFF_S
    whole: float = min(most, first * 2 ** min(attempt - 1, 16))
    return whole * (1 + chance) / 2


def _kind(text: str) -> str:
    try:
        return _tags.decode(text).type[:64]
    except (msgspec.DecodeError, UnicodeEncodeError):
        return ""
