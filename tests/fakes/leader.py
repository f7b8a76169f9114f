"""A leader over real TLS that answers what a test tells it to, and remembers what it was asked.

It knows every route of the API that `katcall` uses; `SHOP` is what it has at first.
"""

import datetime as dt
import ipaddress
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.shop import LOGS, shop

TOKEN = f"kat_000000000001_{'c2VjcmV0' * 5}abc"
API = "/v1alpha1"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    media: str

    @property
    def line(self) -> str:
        """Return `GET /n/default/workloads labelSelector=a=b`."""
        return " ".join((self.method, self.path, *(f"{k}={v}" for k, v in self.query.items())))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `lines` are sent one by one; with `is_open` the last of them is not the end.

    With `is_cut` the connection breaks after them.
    """

    value: object = None
    status: int = 200
    lines: tuple[object, ...] = ()
    is_open: bool = False
    is_cut: bool = False
    text: str = ""


@dataclass
class FakeLeader:
    """`replies` are by `GET /nodes`: method and path below `/v1alpha1`."""

    url: str
    ca: str
    replies: dict[str, Reply]
    later: dict[str, list[Reply]] = field(default_factory=dict)
    """Take a route's place after its answers, one after the other."""
    asked: list[Asked] = field(default_factory=list)
    sent: threading.Event = field(default_factory=threading.Event)
    """Set when the lines of an open answer have been sent."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set by the test to end open answers."""

    def answer(self, route: str, value: object = None, status: int = 200) -> None:
        """Answer a route with this JSON."""
        self.replies[route] = Reply(value, status)

    def reply_later(self, route: str, value: object) -> None:
        """Answer a route with this JSON from the second time on."""
        self.later.setdefault(route, []).append(Reply(value))

    def in_turn(self, route: str, *replies: Reply) -> None:
        """Answer a route with these, one after the other; the last stays."""
        self.replies[route], *self.later[route] = replies

    def stream(self, route: str, *lines: object, is_open: bool = False) -> None:
        """Answer a route with these JSON lines."""
        self.replies[route] = Reply(lines=lines, is_open=is_open)

    def refuse(self, route: str, status: int, detail: str, *problems: Mapping[str, str]) -> None:
        """Answer a route as RFC 9457 says."""
        self.replies[route] = refused(status, detail, *problems)

    @property
    def lines(self) -> list[str]:
        """Return what was asked, a line each."""
        return [one.line for one in self.asked]


def refused(status: int, detail: str, *problems: Mapping[str, str]) -> Reply:
    """Return a refusal as RFC 9457 says."""
    told = {
        "type": "about:blank",
        "title": "Refused",
        "status": status,
        "detail": detail,
        "requestId": "r-17",
        "problems": list(problems),
    }
    return Reply(told, status)


@contextmanager
def fake_leader() -> Iterator[FakeLeader]:
    """Run a leader on a free port of 127.0.0.1."""
    certificate, key = _certificate()
    server = _Server(("127.0.0.1", 0), _Conversation)
    server.socket = _secured(server, certificate, key)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    replies = {f"GET {path}": Reply(value) for path, value in shop().items()}
    replies["GET /n/shop/workloads/web/logs"] = Reply(lines=LOGS)
    server.leader = FakeLeader(url, certificate, replies)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="fake leader")
    thread.start()
    try:
        yield server.leader
    finally:
        server.leader.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    leader: FakeLeader

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


def _secured(server: _Server, certificate: str, key: str) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)
    return context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer any method."""
        leader = self.server.leader
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = url.path.removeprefix(API)
        media = self.headers.get("Content-Type") or ""
        leader.asked.append(Asked(self.command, path, dict(parse_qsl(url.query)), body, media))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(Reply({"detail": "this token is not known"}, 401))
            return
        missing = Reply({"detail": f"there is no {path}", "requestId": "r-17"}, 404)
        route = f"{self.command} {path}"
        reply = leader.replies.get(route, missing)
        if leader.later.get(route):
            leader.replies[route] = leader.later[route].pop(0)
        self._send(reply)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 -- http.server's names

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("X-Request-Id", "r-17")
        if reply.lines or reply.is_open or reply.is_cut:
            self._stream(reply)
            return
        content = reply.text.encode() if reply.text else json.dumps(reply.value).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, reply: Reply) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in reply.lines:
            content = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()
        if reply.is_open:
            self.server.leader.sent.set()
            self.server.leader.released.wait(60)
        if reply.is_cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


@lru_cache
def _certificate() -> tuple[str, str]:
    """Return a certificate of 127.0.0.1 that is its own CA, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake leader")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def write_context(leader: FakeLeader, path: Path, token: str = TOKEN) -> None:
    """Write the file that `kat-agent init` would write."""
    context = {"server": leader.url, "ca": leader.ca, "token": token}
    path.write_text(json.dumps({"current": "fake", "contexts": {"fake": context}}))
