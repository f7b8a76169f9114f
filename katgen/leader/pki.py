"""The cluster's own certificates: ECDSA P-256, X.509.

Every certificate is backdated by an hour, for clocks that differ. A node is known by the URI in its
certificate: `kat://<cluster uid>/node/<name>`; people who come by certificate by `…/user/<name>`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from katgen.errors import KatError

SERVER_NAME: Final = "kat-leader"
"""In every leader's certificate, so that clients need not know which address they were given."""
AGENT_NAME: Final = "kat-agent"
"""In every node's certificate: with it agents answer who asks for metrics, under any address. No
address stands in it, nor a name of a leader, so that no node can pass for one."""
BACKDATED: Final = timedelta(hours=1)
CA_LIFE: Final = timedelta(days=20 * 365)
LEAF_LIFE: Final = timedelta(days=365)
_NAME_MAX: Final = 64
"""Of a common name, RFC 5280 appendix A."""


class PkiError(KatError):
    """A certificate or key file holds something else."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM (PKCS #8)."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def pair(self) -> Pair:
        """Return it as PEM."""
        return Pair(self.certificate.public_bytes(Encoding.PEM), _pem(self.key))

    @property
    def digest(self) -> str:
        """Return SHA-256 of the certificate, DER, hex: what a node pins."""
        return self.certificate.fingerprint(SHA256()).hex()


def make_ca(cluster_name: str, now: datetime | None = None) -> Authority:
    """Return a new CA."""
    key = generate_private_key(SECP256R1())
    name = _name(f"kat {cluster_name} CA")
    made = (
        _begun(name, key, CA_LIFE, now)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Authority(made, key)


def load_ca(pair: Pair) -> Authority:
    """Return the CA of its PEM files. Raises PkiError."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as err:
        raise PkiError("the CA's files hold no certificate and key") from err
    if not isinstance(key, EllipticCurvePrivateKey):
        raise PkiError("the CA's key is no ECDSA key")
    if key.public_key() != certificate.public_key():
        raise PkiError("the CA's key does not belong to its certificate")
    return Authority(certificate, key)


def issue_server(
    ca: Authority, names: Iterable[str], addresses: Iterable[str], now: datetime | None = None
) -> Pair:
    """Return a leader's certificate for DNS names, IP addresses and `kat-leader`."""
    alternatives: list[x509.GeneralName] = [
        x509.DNSName(name) for name in dict.fromkeys((SERVER_NAME, *names))
    ]
    alternatives += [x509.IPAddress(_address(one)) for one in dict.fromkeys(addresses)]
    return _leaf(ca, SERVER_NAME, alternatives, (ExtendedKeyUsageOID.SERVER_AUTH,), now)


def issue_node(ca: Authority, cluster: str, name: str, now: datetime | None = None) -> Pair:
    """Return a node's certificate; `cluster` is the uid."""
    uri = x509.UniformResourceIdentifier(node_uri(cluster, name))
    purposes = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    return _leaf(ca, name, [uri, x509.DNSName(AGENT_NAME)], purposes, now)


def issue_admin(ca: Authority, cluster: str, name: str, now: datetime | None = None) -> Pair:
    """Return a person's certificate; `cluster` is the uid."""
    uri = x509.UniformResourceIdentifier(user_uri(cluster, name))
    return _leaf(ca, name, [uri], (ExtendedKeyUsageOID.CLIENT_AUTH,), now)


def node_uri(cluster: str, name: str) -> str:
    """Return what names a node in its certificate."""
    return f"kat://{cluster}/node/{name}"


def user_uri(cluster: str, name: str) -> str:
    """Return what names a person in a certificate."""
    return f"kat://{cluster}/user/{name}"


def _leaf(
    ca: Authority,
    name: str,
    alternatives: Iterable[x509.GeneralName],
    purposes: Iterable[x509.ObjectIdentifier],
    now: datetime | None,
) -> Pair:
    key = generate_private_key(SECP256R1())
    made = (
        _begun(_name(name), key, LEAF_LIFE, now)
        .issuer_name(ca.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .sign(ca.key, SHA256())
    )
    return Pair(made.public_bytes(Encoding.PEM), _pem(key))


def _begun(
    name: x509.Name, key: EllipticCurvePrivateKey, life: timedelta, now: datetime | None
) -> x509.CertificateBuilder:
    moment = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_NAME_MAX])])


def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
