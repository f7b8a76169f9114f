"""Calls of etcd's API: channels to its members, a deadline for each call, and what its errors mean.

gRPC belongs to the extra `etcd`: only a leader whose store is etcd imports this.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it logs, its errors say too

import grpc
import grpc.aio
from google.protobuf.message import Message

from katgen.leader.store import StoreError
from katgen.leader.store.etcd_api import rpc_pb2 as pb

CALL_S: Final = 5.0
"""Until a call has failed. A write takes milliseconds, and a new leader of etcd about a second."""
_CLOSING_S: Final = 2.0
_OPTIONS: Final = (
    # After an outage gRPC would wait up to two minutes between two attempts.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Its name deceives: that is how long a connection with its TLS may take to come about.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # A peer that is gone without a word is noticed; etcd allows a ping every five seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # etcd bounds what it takes (1.5 MiB), not what it answers with.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Two stores of one process would share a connection, and its outages.
    ("grpc.use_local_subchannel_pool", 1),
)
_METADATA: Final = (("hasleader", "true"),)  # a member that is cut off from the others says so
_UNSENT: Final = ("failed to connect", "Failed to connect", "empty address list")

Watching = tuple[AsyncIterator[pb.WatchResponse], Callable[[], Awaitable[None]]]
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM: whom to believe, and who we are. Keys are P-256 or RSA: gRPC knows no Ed25519."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Members:
    """Where etcd is: `https://etcd-1:2379`, … Without credentials only on this machine's loopback.

    Raises StoreError.
    """

    endpoints: tuple[str, ...]
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise StoreError("no endpoint of etcd is given")
        for endpoint in self.endpoints:
            self._check(endpoint)

    def _check(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        if url.scheme == "https" and self.credentials is None:
            raise StoreError(f"{endpoint}: TLS needs a CA, a certificate and its key")
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise StoreError(f"{endpoint}: only etcd on this machine is spoken to without TLS")
        if url.scheme not in {"http", "https"}:
            raise StoreError(f"{endpoint}: is not https://HOST:PORT")


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """A call with one question and one answer. `is_read`: asked again, it does no harm."""

    path: str
    answer: type[A]
    is_read: bool = False


RANGE: Final[Method[pb.RangeRequest, pb.RangeResponse]] = Method(
    "/etcdserverpb.KV/Range", pb.RangeResponse, is_read=True
)
TXN: Final[Method[pb.TxnRequest, pb.TxnResponse]] = Method("/etcdserverpb.KV/Txn", pb.TxnResponse)
READ_TXN: Final = replace(TXN, is_read=True)
COMPACT: Final[Method[pb.CompactionRequest, pb.CompactionResponse]] = Method(
    "/etcdserverpb.KV/Compact", pb.CompactionResponse, is_read=True
)
GRANT: Final[Method[pb.LeaseGrantRequest, pb.LeaseGrantResponse]] = Method(
    "/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse, is_read=True
)
REVOKE: Final[Method[pb.LeaseRevokeRequest, pb.LeaseRevokeResponse]] = Method(
    "/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse, is_read=True
)
TIME_TO_LIVE: Final[Method[pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse]] = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive", pb.LeaseTimeToLiveResponse, is_read=True
)
STATUS: Final[Method[pb.StatusRequest, pb.StatusResponse]] = Method(
    "/etcdserverpb.Maintenance/Status", pb.StatusResponse, is_read=True
)
_WATCH: Final = "/etcdserverpb.Watch/Watch"
_KEEP_ALIVE: Final = "/etcdserverpb.Lease/LeaseKeepAlive"


class RefusedCallError(StoreError):
    """etcd has answered, and says no: nothing was done. `code` is gRPC's, `said` its words."""

    def __init__(self, code: grpc.StatusCode, said: str) -> None:
        self.code, self.said = code, said
        super().__init__(f"etcd: {said}")


class Calls:
    """One channel for each member; calls go to one of them, until it fails."""

    def __init__(self, members: Members) -> None:
        self._channels = [_channel(one, members.credentials) for one in members.endpoints]
        self._endpoints = members.endpoints
        self._current = 0
        self._is_closed = False

    @property
    def where(self) -> str:
        """The member that is asked now."""
        return self._endpoints[self._current]

    def refuse_if_closed(self) -> None:
        """Raise StoreError once it is."""
        if self._is_closed:
            raise StoreError("the store is closed")

    def move_on(self) -> None:
        """Ask the next member from now on."""
        self._current = (self._current + 1) % len(self._channels)

    async def ask(self, method: Method[Q, A], request: Q, within_s: float = CALL_S) -> A:
        """Return the answer. Raises StoreError; RefusedCallError if it is certain that it is no.

        A member that cannot be reached is passed over. One that went away amid a write is not: it
        may have been written.
        """
        for left in reversed(range(len(self._channels))):
            self.refuse_if_closed()
            where = self.where
            call = self._channels[self._current].unary_unary(
                method.path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=method.answer.FromString,
            )
            try:
                answer: A = await self._settled(call(request, timeout=within_s, metadata=_METADATA))
            except grpc.aio.AioRpcError as err:
                if _is_of_the_member(err):
                    self.move_on()
                is_unsent = _is_unsent(err) or method.is_read
                if left and is_unsent and err.code() is grpc.StatusCode.UNAVAILABLE:
                    continue
                raise _fault(err, where, within_s, is_known=_is_unsent(err)) from err
            return answer
        raise StoreError("no endpoint of etcd is given")

    async def keep_alive(self, lease: int) -> int:
        """Start a lease's time anew; return its seconds, 0 if it is gone. Raises StoreError."""
        self.refuse_if_closed()
        call = self._channels[self._current].stream_stream(
            _KEEP_ALIVE,
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )(iter([pb.LeaseKeepAliveRequest(ID=lease)]), timeout=CALL_S, metadata=_METADATA)
        try:
            answer = await self._settled(call.read())
            return answer.TTL if isinstance(answer, pb.LeaseKeepAliveResponse) else 0
        except grpc.aio.AioRpcError as err:
            self.move_on()
            raise _fault(err, self.where, CALL_S, is_known=False) from err
        finally:
            call.cancel()

    @asynccontextmanager
    async def watching(self, request: pb.WatchCreateRequest) -> AsyncIterator[Watching]:
        """Begin a watch: yield its answers, and a function that asks how far they are.

        Inside, StoreError is raised if the watch is cut.
        """
        self.refuse_if_closed()
        where = self.where
        call = self._channels[self._current].stream_stream(
            _WATCH,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )(metadata=_METADATA)

        async def ask_how_far() -> None:
            # If it is cut, its reader hears of that.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

        try:
            await self._settled(call.write(pb.WatchRequest(create_request=request)))
            yield aiter(call), ask_how_far
        except grpc.aio.AioRpcError as err:
            raise _fault(err, where, CALL_S, is_known=True) from err
        except asyncio.InvalidStateError as err:  # a write to a stream that has ended
            raise StoreError(f"etcd at {where}: the watch was cut") from err
        except asyncio.CancelledError:
            self._refuse_if_not_ours()
            raise
        finally:
            call.cancel()

    async def close(self) -> None:
        """Let calls under way come to their end for a moment; refuse new ones."""
        self._is_closed = True
        await asyncio.gather(*(channel.close(_CLOSING_S) for channel in self._channels))

    async def _settled(self, call: Any) -> Any:  # noqa: ANN401 -- gRPC's calls have no common type
        try:
            return await call
        except asyncio.CancelledError:
            self._refuse_if_not_ours()
            raise
        except grpc.aio.UsageError as err:
            raise StoreError("the store is closed") from err

    def _refuse_if_not_ours(self) -> None:
        """Raise StoreError if it is gRPC that cancels, because its channel is closed."""
        task = asyncio.current_task()
        if self._is_closed and not (task and task.cancelling()):
            raise StoreError("the store is closed")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever a resolver says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _channel(endpoint: str, credentials: Credentials | None) -> grpc.aio.Channel:
    url = urlsplit(endpoint)
    if url.scheme == "http":
        return grpc.aio.insecure_channel(url.netloc, options=_OPTIONS)
    if credentials is None:
        raise StoreError(f"{endpoint}: TLS needs a CA, a certificate and its key")
    tls = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)
    return grpc.aio.secure_channel(url.netloc, tls, options=_OPTIONS)


def _is_of_the_member(err: grpc.aio.AioRpcError) -> bool:
    return err.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def _is_unsent(err: grpc.aio.AioRpcError) -> bool:
    return any(sign in (err.details() or "") for sign in _UNSENT)


_UNKNOWN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
_STRANGER: Final = (
    "ends TLS; most likely it refuses the client's certificate: that must be one for clients, by a "
    "CA of etcd's --trusted-ca-file, and still valid"
)
_CLEARER: Final[Sequence[tuple[str, str]]] = (
    (
        "database space exceeded",
        "is full: compact and defragment it or raise its quota, then `etcdctl alarm disarm`",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "has a certificate that the CA file does not vouch for"),
    ("Hostname Verification", "has a certificate of another name or address"),
    # In TLS 1.3 a server looks at its client's certificate when the client holds itself connected;
    # what then arrives is an alert, of which gRPC tells no more than that.
    ("TSI_DATA_CORRUPTED", _STRANGER),
    ("_ALERT_", _STRANGER),
    ("security handshaker", "cannot be asked: the certificate is not that of the key"),
    ("too many operations", "takes too few operations at once: start it with --max-txn-ops 128"),
    ("request is too large", "takes too small requests: start it with --max-request-bytes 1572864"),
)


def _fault(err: grpc.aio.AioRpcError, where: str, within_s: float, *, is_known: bool) -> StoreError:
    code, said = err.code(), (err.details() or "").removeprefix("etcdserver: ")
    for sign, clearer in _CLEARER:
        if sign in said:
            return StoreError(f"etcd at {where} {clearer} ({said})")
    if code not in _UNKNOWN:
        return RefusedCallError(code, f"at {where}: {said}")
    what = f"did not answer within {within_s:g} s" if _is_late(code) else f"is away: {said}"
    rest = "" if is_known else "; nothing is known of what was under way"
    return StoreError(f"etcd at {where} {what}{rest}")


def _is_late(code: grpc.StatusCode) -> bool:
    return code is grpc.StatusCode.DEADLINE_EXCEEDED
