"""Certificates: what stands in them, and that TLS takes them."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from katgen.leader.pki import (
    Authority,
    Pair,
    PkiError,
    issue_admin,
    issue_node,
    issue_server,
    load_ca,
    make_ca,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return make_ca("kat")


def certificate(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def alternatives(pair: Pair) -> list[str]:
    extension = certificate(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(one.value) for one in extension.value]


def test_a_leaf_lives_a_year_and_is_backdated_by_an_hour(ca: Authority) -> None:
    made = certificate(issue_node(ca, "u", "n1", NOW))
    assert made.not_valid_before_utc == NOW - timedelta(hours=1)
    assert made.not_valid_after_utc == NOW + timedelta(days=365)


def test_keys_are_p_256(ca: Authority) -> None:
    key = certificate(issue_node(ca, "u", "n1")).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert isinstance(key.curve, SECP256R1)


def test_a_leader_is_known_by_its_names_and_addresses(ca: Authority) -> None:
    pair = issue_server(ca, ["n1", "localhost"], ["192.0.2.1", "127.0.0.1"])
    assert alternatives(pair) == ["kat-leader", "n1", "localhost", "192.0.2.1", "127.0.0.1"]


def test_nodes_and_people_are_known_by_a_uri(ca: Authority) -> None:
    assert alternatives(issue_node(ca, "u", "n1")) == ["kat://u/node/n1", "kat-agent"]
    assert alternatives(issue_admin(ca, "u", "admin")) == ["kat://u/user/admin"]


def test_a_ca_comes_back_from_its_files(ca: Authority) -> None:
    assert load_ca(ca.pair).digest == ca.digest


def test_a_ca_with_another_s_key_is_refused(ca: Authority) -> None:
    with pytest.raises(PkiError, match="does not belong to its certificate"):
        load_ca(Pair(ca.pair.certificate, make_ca("kat").pair.key))


async def test_tls_takes_them_on_both_sides(ca: Authority, tmp_path: Path) -> None:
    server = context(ssl.Purpose.CLIENT_AUTH, ca, issue_server(ca, [], ["127.0.0.1"]), tmp_path)
    server.verify_mode = ssl.CERT_REQUIRED
    client = context(ssl.Purpose.SERVER_AUTH, ca, issue_node(ca, "u", "n1"), tmp_path)
    assert await uri_seen_by(server, client) == "kat://u/node/n1"


@pytest.mark.parametrize("leader", ["127.0.0.1", "kat-leader", "n1"])
async def test_a_node_cannot_pass_for_a_leader(ca: Authority, tmp_path: Path, leader: str) -> None:
    server = context(ssl.Purpose.CLIENT_AUTH, ca, issue_node(ca, "u", leader), tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, ca, issue_node(ca, "u", "n2"), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        await uri_seen_by(server, client, leader)


async def test_a_node_is_an_agent_to_who_asks_for_metrics(ca: Authority, tmp_path: Path) -> None:
    server = context(ssl.Purpose.CLIENT_AUTH, ca, issue_node(ca, "u", "n1"), tmp_path)
    server.verify_mode = ssl.CERT_REQUIRED
    client = context(ssl.Purpose.SERVER_AUTH, ca, issue_admin(ca, "u", "ann"), tmp_path)
    assert await uri_seen_by(server, client, "kat-agent") == "kat://u/user/ann"


async def test_a_person_is_no_agent(ca: Authority, tmp_path: Path) -> None:
    server = context(ssl.Purpose.CLIENT_AUTH, ca, issue_admin(ca, "u", "ann"), tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, ca, issue_node(ca, "u", "n2"), tmp_path)
    client.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        await uri_seen_by(server, client)


def context(purpose: ssl.Purpose, ca: Authority, pair: Pair, folder: Path) -> ssl.SSLContext:
    both = folder / "pair.pem"
    both.write_bytes(pair.certificate + pair.key)
    made = ssl.create_default_context(purpose, cadata=ca.pair.certificate.decode())
    made.load_cert_chain(both)
    return made


async def uri_seen_by(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "127.0.0.1"
) -> str:
    """Connect once to a server of this name and return the URI in the client's certificate."""
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("peercert")["subjectAltName"]
        seen.set_result(found[0][1])
        writer.close()

    listening = await asyncio.start_server(served, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=name
        )
        uri = await asyncio.wait_for(seen, 5)
        writer.close()
    return uri
