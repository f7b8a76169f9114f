"""The agent's way to its leader: mutual TLS, one WebSocket, bundles and contents by request.

Nothing that a leader says is trusted for having come this way: records are signed, and what is
installed is checked against them (`agent.trust`, `agent.target`).
"""

import hashlib
import logging
import ssl
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from agent.ports import LeaderError
from katgen.names import NodeName
from katgen.protocol import BundleAnswer, SignedRecord, ToAgent, ToLeader

CONNECT_S: Final = 10
REQUEST_S: Final = 60
PING_S: Final = 10
"""A leader whose machine vanished is noticed after this and half of it again."""
MESSAGE_BYTES: Final = 4 << 20
ANSWER_BYTES: Final = 64 << 20
BATCH: Final = 128
"""Files fetched by one request."""
BACKOFF_S: Final = (0.5, 30.0)
_SHOWN: Final = 300

_log = logging.getLogger(__name__)
_messages = msgspec.json.Decoder(ToAgent)
_bundles = msgspec.json.Decoder(BundleAnswer)
_contents = msgspec.msgpack.Decoder(dict[str, bytes])


class _Tag(msgspec.Struct):
    type: str


_tags = msgspec.json.Decoder(_Tag)
_KNOWN: Final = frozenset(
    {"propose", "abort", "commit", "pull", "read-logs", "read-usage", "cancel", "settings"}
)


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

    def __init__(
        self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, base: str
    ) -> None:
        self._http, self._socket, self._base = http, socket, base

    async def send(self, message: ToLeader) -> None:
        """Send a message. Raises LeaderError."""
        try:
            await self._socket.send_str(msgspec.json.encode(message).decode())
        except (aiohttp.ClientError, ConnectionError, TimeoutError, RuntimeError) as err:
            raise LeaderError(f"{self._base}: {_text(err)}") from err

    async def messages(self) -> AsyncIterator[ToAgent]:
        """Yield what the leader says; ends with the connection. Raises MessageError.

        A message of a type that a newer leader may know is logged and passed over.
        """
        async for frame in self._socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                message = parse(frame.data)
                if message is not None:
                    yield message
            elif frame.type is aiohttp.WSMsgType.ERROR:
                raise LeaderError(f"{self._base}: {_text(frame.data)}")
            else:
                raise MessageError(f"{self._base}: a frame that is no text")

    async def bundle(self, generation: int) -> BundleAnswer:
        """Fetch a bundle. Raises LeaderError."""
        data = await self._ask("GET", f"bundle?generation={generation:d}")
        try:
            return _bundles.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise LeaderError(f"{self._base}: the bundle {generation} is none: {err}") from err

    async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """Fetch files by digest. Raises LeaderError if one is missing, or is not what it should."""
        found: dict[str, bytes] = {}
        for wanted in _batches(sorted(set(digests))):
            body = msgspec.json.encode(wanted)
            data = await self._ask("POST", "contents", body)
            try:
                answer = _contents.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as err:
                raise LeaderError(f"{self._base}: contents: {err}") from err
            for digest in wanted:
                if hashlib.sha256(answer.get(digest, b"")).hexdigest() != digest:
                    how = "corrupt" if digest in answer else "missing"
                    raise LeaderError(f"{self._base}: the content {digest[:12]} is {how}")
                found[digest] = answer[digest]
        return found

    async def _ask(self, method: str, what: str, body: bytes | None = None) -> bytes:
        """Return an answer's body. Raises LeaderError."""
        url = f"{self._base}/{what}"
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._http.request(method, url, data=body, headers=headers) as answer:
                data = await _bounded(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise LeaderError(f"{url}: {_text(err)}") from err
        if not answer.ok:
            raise LeaderError(f"{url}: {answer.status} {data.decode(errors='replace')[:_SHOWN]}")
        return data


class Leader:
    """Opens sessions to the leader of one cluster."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._base = f"{identity.leader}/v1alpha1/nodes/{identity.node}"

    @asynccontextmanager
    async def session(self) -> AsyncIterator[LeaderSession]:
        """Connect; the session ends with the block. Raises LeaderError if no leader answers."""
        async with self._client() as http:
            socket = await self._open(http)
            try:
                yield LeaderSession(http, socket, self._base)
            finally:
                await socket.close()

    async def send_status(self, body: bytes) -> SignedRecord | None:
        """Report without a session; return the record that the leader answers with, if any.

        Raises LeaderError.
        """
        async with self._client() as http:
            try:
                url, headers = f"{self._base}/status", {"Content-Type": "application/json"}
                async with http.post(url, data=body, headers=headers) as answer:
                    data = await _bounded(answer)
                    answer.raise_for_status()
                return msgspec.json.decode(data, type=SignedRecord | None)
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as err:
                raise LeaderError(f"{self._base}/status: {_text(err)}") from err

    def _client(self) -> aiohttp.ClientSession:
        # The certificate is read anew for each session, so that a renewed one counts.
        connector = aiohttp.TCPConnector(ssl=context(self._identity.folder), limit=4)
        timeout = aiohttp.ClientTimeout(total=REQUEST_S, connect=CONNECT_S)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)

    async def _open(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            return await http.ws_connect(
                f"{self._base}/session", heartbeat=PING_S, max_msg_size=MESSAGE_BYTES
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise LeaderError(f"{self._identity.leader}: {_text(err)}") from err


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


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """Return a body whole. Raises aiohttp.ClientError if it is longer than any that is meant."""
    chunks, length = [], 0
    async for chunk in answer.content.iter_chunked(1 << 16):
        length += len(chunk)
        if length > ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"longer than {ANSWER_BYTES >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _batches(digests: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(digests), BATCH):
        yield digests[first : first + BATCH]


def _text(err: BaseException) -> str:
    return str(err) or type(err).__name__
