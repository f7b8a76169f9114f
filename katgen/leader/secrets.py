"""Values of Secrets at rest: AES-256-GCM under a key that is never in the store."""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from katgen.errors import KatError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class SealError(KatError):
    """A sealed value was made with another key, for another place, or was changed."""


class SecretBox:
    """Seals values for a place (the object's key and the value's name) and opens them again.

    A value that is moved to another place does not open.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, place: str, value: str) -> str:
        """Return the value encrypted, base64; every time another text."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, value.encode(), place.encode())
        return b64encode(nonce + sealed).decode()

    def open(self, place: str, sealed: str) -> str:
        """Return the value. Raises SealError, which says nothing of it."""
        try:
            raw = b64decode(sealed, validate=True)
            nonce, encrypted = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, encrypted, place.encode()).decode()
        except (InvalidTag, Base64Error, ValueError) as err:
            raise SealError(f"{place} cannot be decrypted with this cluster's key") from err


def load_box(path: Path) -> SecretBox:
    """Return the box of a key file. Raises OSError, SealError."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise SealError(f"{path} has {len(key)} bytes; the key has {KEY_BYTES}")
    return SecretBox(key)
