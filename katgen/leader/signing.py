"""The leader's signature under commit records: Ed25519."""

import hashlib
from base64 import b64encode
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from katgen.errors import KatError
from katgen.protocol import SIGNING_CONTEXT, CommitRecord, SignedRecord


class SigningError(KatError):
    """A key file holds something else."""


class Signer:
    """Signs commit records with one key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()
        """Raw, 32 bytes."""
        self.key_id = key_id(self.public_key)

    def sign(self, record: CommitRecord) -> SignedRecord:
        """Return the record as text, and the signature over exactly that text."""
        text = msgspec.json.encode(record)
        signature = self._key.sign(SIGNING_CONTEXT + text)
        return SignedRecord(text.decode(), b64encode(signature).decode(), self.key_id)

    def pem(self) -> bytes:
        """Return the private key, PKCS #8."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_id(public_key: bytes) -> str:
    """Return the first 16 hex digits of SHA-256 over the raw public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def make_signer() -> Signer:
    """Return a signer with a new key."""
    return Signer(Ed25519PrivateKey.generate())


def load_signer(path: Path) -> Signer:
    """Return the signer of a PEM file. Raises OSError, SigningError."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as err:
        raise SigningError(f"{path} is no private key") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path} is no Ed25519 key")
    return Signer(key)


def is_signed(signature: bytes, content: bytes, public_key: bytes) -> bool:
    """Whether the signature is that of the key under the content."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True
