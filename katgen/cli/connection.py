"""One leader, asked over HTTPS with nothing but the standard library: aiohttp takes 0.15 s to load.

The context's CA is the only one that is trusted. Every way to get no answer is a LeaderError.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from katgen.cli.contexts import Chosen, Context
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError, failure
from katgen.cli.refusal import refusal

T = TypeVar("T")
JSON: Final = "application/json"
GZIP: Final = "application/gzip"
API: Final = "/v1alpha1"
_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 130.0
"""Somewhat longer than a leader takes at most."""
_CLIENT_ERROR: Final = 400
_TOKEN: Final = re.compile(r"(kat_[0-9a-f]{12}_[A-Za-z0-9_-]{43})?")
_LINE_MAX: Final = 64 << 20
_HINT: Final = "is kat-leader running? systemctl status kat-leader"


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask: a path below `/v1alpha1`, encoded already (see `path`)."""

    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    media: str = JSON
    files: Mapping[str, str] = field(default_factory=dict)
    """Names of uploaded files → names that the user knows them by."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long lines are waited for; None is for ever.

    `until` is a time of the monotonic clock; `silence_s` is without a line.
    """

    until: float | None = None
    silence_s: float | None = None

    def left_s(self) -> float | None:
        """Return how long the next line may take."""
        ends = [] if self.until is None else [self.until - time.monotonic()]
        ends += [] if self.silence_s is None else [self.silence_s]
        return min(ends, default=None)


_FOR_EVER: Final = Wait()


def path(*parts: str) -> str:
    """Return a path of these parts, each of which may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class Leader:
    """A leader by its context. Each request has a connection of its own."""

    def __init__(self, chosen: Chosen, timeout_s: float = _ANSWER_S) -> None:
        self.context: Context = chosen.context
        self.timeout_s = timeout_s
        self.url = urlsplit(self.context.server)
        if self.url.scheme != "https" or not self.url.hostname:
            what = f"{self.context.server!r} is no address of a leader"
            raise failure(what, "it has the form https://ADDRESS:9115")
        if _TOKEN.fullmatch(self.context.token) is None:  # never shown, nor sent: it may be another
            hint = "it is one line: kat_, 12 digits, _, 43 letters; katcall login --token-file FILE"
            raise failure(f"what is given as the token for {self.context.server} is none", hint)

    def ask(self, request: Request, as_type: type[T]) -> T:
        """Return the answer. Raises LeaderError."""
        connection = self._connected()
        try:
            response = self._sent(connection, request)
            return self._decoded(response.read(), as_type)
        except (OSError, http.client.HTTPException) as err:
            raise self._lost(err, request) from err
        finally:
            connection.close()

    def lines(self, request: Request, as_type: type[T], wait: Wait = _FOR_EVER) -> Iterator[T]:
        """Yield the answer's JSON lines as they come. Raises LeaderError, TimeoutError."""
        connection = self._connected()
        try:
            response = self._opened(connection, request)
            while line := _next_line(connection.sock, response, wait):
                if line.strip():
                    yield self._decoded(line, as_type)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as err:
            raise self._lost(err, request) from err
        finally:
            connection.close()

    def _opened(
        self, connection: http.client.HTTPSConnection, request: Request
    ) -> http.client.HTTPResponse:
        try:
            return self._sent(connection, request)
        except (OSError, http.client.HTTPException) as err:
            raise self._lost(err, request) from err

    def _connected(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(
            self.url.hostname or "",
            self._port(),
            timeout=min(_CONNECT_S, self.timeout_s),
            context=self._trust(),
        )
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as err:
            raise self._unreachable(err) from err
        connection.sock.settimeout(self.timeout_s)
        return connection

    def _port(self) -> int:
        try:
            return self.url.port or 9115
        except ValueError as err:
            raise failure(f"{self.context.server!r}: {err}", "correct its port") from err

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cadata=self.context.ca or None)
        except (ssl.SSLError, ValueError) as err:
            what = f"the CA certificate of {self.context.server} cannot be read"
            raise failure(what, "katcall login --ca FILE replaces it") from err

    def _sent(
        self, connection: http.client.HTTPSConnection, request: Request
    ) -> http.client.HTTPResponse:
        """Send a request and return its answer if it is a good one."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = {"Accept": JSON, "User-Agent": "katcall"}
        if self.context.token:
            headers["Authorization"] = f"Bearer {self.context.token}"
        if request.body or request.method in {"POST", "PUT"}:
            headers["Content-Type"] = request.media
        body = request.body or None
        connection.request(request.method, f"{API}{request.path}{query}", body, headers)
        response = connection.getresponse()
        if response.status >= _CLIENT_ERROR:
            text = response.read(_LINE_MAX)
            number = response.headers.get("X-Request-Id", "")
            raise refusal(response.status, text, number, request.files)
        return response

    def _decoded(self, body: bytes, as_type: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=as_type)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            what = f"the answer of {self.context.server} is not understood: {err}"
            hint = "katcall version says whether the leader is newer"
            raise failure(what, hint, Exit.UNREACHABLE) from err

    def _unreachable(self, err: Exception) -> LeaderError:
        what = f"cannot reach {self.context.server}: {_reason(err)}"
        return failure(what, _hint(err), Exit.UNREACHABLE)

    def _lost(self, err: Exception, request: Request) -> LeaderError:
        if isinstance(err, TimeoutError):
            what = f"no answer from {self.context.server} within {self.timeout_s:g} s"
        else:
            what = f"the connection to {self.context.server} was lost: {_reason(err)}"
        hint = _HINT if request.method == "GET" else "ask again what is there: it may be done"
        return failure(what, hint, Exit.UNREACHABLE)


def _next_line(sock: socket.socket | None, response: http.client.HTTPResponse, wait: Wait) -> bytes:
    """Return one line, b'' at the end. Raises TimeoutError."""
    if sock is not None:
        left = wait.left_s()
        if left is not None and left <= 0:
            raise TimeoutError
        sock.settimeout(left)
    return response.readline(_LINE_MAX)


def _reason(err: Exception) -> str:
    match err:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {err.verify_message}"
        case socket.gaierror():
            return "its name is not known"
        case TimeoutError():
            return "no answer"
        case OSError(strerror=str(text)):
            return text.lower()
    return str(err) or type(err).__name__


def _hint(err: Exception) -> str:
    match err:
        case ssl.SSLCertVerificationError():
            return "katcall login --ca FILE trusts another CA"
        case socket.gaierror():
            return "correct the server: katcall login --server"
        case ssl.SSLError():
            return "is this the port of kat-leader?"
    return _HINT
