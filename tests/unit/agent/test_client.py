"""The connection to a leader, against a real TLS server on this machine."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from aiohttp import WSCloseCode, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.client import Identity, Leader, MessageError, backoff_s, parse
from agent.ports import LeaderError
from katgen.names import NodeName
from katgen.protocol import Abort, Commit, Heartbeat, SignedRecord

FOREVER = timedelta(days=30)
RECORD = SignedRecord("{}", "c2ln", "0123456789abcdef")


def make_ca(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, certificate(name, key, key, name, ca=True)


def certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: str,
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, n) for n in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([names[0]]))
        .issuer_name(x509.Name([names[1]]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - FOREVER)
        .not_valid_after(now + FOREVER)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def write_identity(folder: Path, name: str, *, ca: str = "ca") -> Path:
    """Write `<name>.key`, `<name>.crt` and `ca.crt`, of a CA of its own."""
    folder.mkdir()
    ca_key, ca_crt = make_ca(ca)
    (folder / "ca.crt").write_bytes(ca_crt.public_bytes(Encoding.PEM))
    for who in (name, "server"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{who}.key").write_bytes(pem)
        crt = certificate(who, key, ca_key, ca)
        (folder / f"{who}.crt").write_bytes(crt.public_bytes(Encoding.PEM))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity(tmp_path_factory.mktemp("pki") / "node", "node")


@asynccontextmanager
async def serving(folder: Path, *routes: web.RouteDef) -> AsyncIterator[Leader]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Leader(Identity(NodeName("a"), f"https://127.0.0.1:{port}", folder))
    finally:
        await runner.cleanup()


def session(*frames: str | bytes) -> web.RouteDef:
    """Return a leader that says this, hears one message and closes."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for frame in frames:
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    return web.get("/v1alpha1/nodes/a/session", serve)


def answering(method: str, what: str, body: bytes, status: int = 200) -> web.RouteDef:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    return web.route(method, f"/v1alpha1/nodes/a/{what}", answer)


async def test_what_the_leader_says_arrives_as_messages_until_it_goes(folder: Path) -> None:
    said = [Commit(RECORD), Abort(7)]
    frames = [msgspec.json.encode(message).decode() for message in said]
    async with serving(folder, session(*frames)) as leader, leader.session() as opened:
        assert [message async for message in opened.messages()] == said


async def test_a_message_of_a_newer_leader_is_passed_over(folder: Path) -> None:
    frames = ['{"type":"dance","steps":3}', '{"type":"abort","generation":7}']
    async with serving(folder, session(*frames)) as leader, leader.session() as opened:
        assert [message async for message in opened.messages()] == [Abort(7)]


@pytest.mark.parametrize(
    "frame", ["", "null", "{}", '{"type":"abort"}', '{"type":"abort","generation":"x"}', "\ufffd"]
)
def test_what_is_no_message_is_an_error(frame: str) -> None:
    with pytest.raises(MessageError):
        parse(frame)


async def test_a_binary_frame_is_an_error(folder: Path) -> None:
    async with serving(folder, session(b"x")) as leader, leader.session() as opened:
        with pytest.raises(MessageError):
            await anext(opened.messages())


async def test_sending_to_a_leader_that_has_gone_is_an_error(folder: Path) -> None:
    async with serving(folder, session()) as leader, leader.session() as opened:
        assert [message async for message in opened.messages()] == []
        with pytest.raises(LeaderError):
            await opened.send(Heartbeat())


async def test_a_leader_of_another_ca_is_not_talked_to(folder: Path, tmp_path: Path) -> None:
    other = write_identity(tmp_path / "other", "node")
    async with serving(other, session()) as leader:
        stranger = Leader(replace(leader._identity, folder=folder))  # noqa: SLF001 -- the address of the server
        with pytest.raises(LeaderError, match="certificate verify failed"):
            async with stranger.session():
                pass


async def test_without_a_certificate_the_error_names_its_folder(tmp_path: Path) -> None:
    with pytest.raises(LeaderError, match=str(tmp_path)):
        async with Leader(Identity(NodeName("a"), "https://127.0.0.1:9", tmp_path)).session():
            pass


async def test_nobody_at_the_address_is_an_error(folder: Path) -> None:
    with pytest.raises(LeaderError, match=r"127\.0\.0\.1"):
        async with Leader(Identity(NodeName("a"), "https://127.0.0.1:9", folder)).session():
            pass


async def test_an_empty_bundle_is_an_error(folder: Path) -> None:
    routes = (session(), answering("GET", "bundle", b""))
    async with serving(folder, *routes) as leader, leader.session() as opened:
        with pytest.raises(LeaderError, match="bundle 3"):
            await opened.bundle(3)


async def test_the_text_of_a_refusal_is_in_the_error(folder: Path) -> None:
    routes = (session(), answering("GET", "bundle", b"no such generation", 404))
    async with serving(folder, *routes) as leader, leader.session() as opened:
        with pytest.raises(LeaderError, match="404 no such generation"):
            await opened.bundle(3)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_contents_come_by_their_digests(folder: Path) -> None:
    body = msgspec.msgpack.encode({digest(b"a"): b"a", digest(b"b"): b"b"})
    routes = (session(), answering("POST", "contents", body))
    async with serving(folder, *routes) as leader, leader.session() as opened:
        found = await opened.contents([digest(b"b"), digest(b"a")])
    assert dict(found) == {digest(b"a"): b"a", digest(b"b"): b"b"}


@pytest.mark.parametrize(("answer", "how"), [({}, "missing"), ({digest(b"a"): b"A"}, "corrupt")])
async def test_a_content_that_is_not_as_digested_is_an_error(
    folder: Path, answer: dict[str, bytes], how: str
) -> None:
    routes = (session(), answering("POST", "contents", msgspec.msgpack.encode(answer)))
    async with serving(folder, *routes) as leader, leader.session() as opened:
        with pytest.raises(LeaderError, match=how):
            await opened.contents([digest(b"a")])


async def test_a_status_is_answered_with_the_record(folder: Path) -> None:
    route = answering("POST", "status", msgspec.json.encode(RECORD))
    async with serving(folder, route) as leader:
        assert await leader.send_status(b"{}") == RECORD


def test_attempts_are_spread_and_grow_to_half_a_minute() -> None:
    at: Callable[[float], list[float]] = lambda chance: [backoff_s(n, chance) for n in (1, 2, 3, 9)]  # noqa: E731 -- a row of the table
    assert at(0.0) == [0.25, 0.5, 1.0, 15.0]
    assert at(1.0) == [0.5, 1.0, 2.0, 30.0]
    assert backoff_s(10_000, 1.0) == 30.0


async def test_a_session_that_is_left_closes_its_socket(folder: Path) -> None:
    closed = asyncio.Event()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        closed.set()
        return socket

    async with serving(folder, web.get("/v1alpha1/nodes/a/session", serve)) as leader:
        async with leader.session():
            assert not closed.is_set()
        await asyncio.wait_for(closed.wait(), 5)
