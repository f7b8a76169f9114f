"""Bearer tokens of people: `kat_<id>_<secret>`. The store has only the secret's hash."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen.leader.store import Store

PREFIX: Final = "tokens/"
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"kat_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY: Final = "0" * 64


class Token(msgspec.Struct, frozen=True):
    """What is known of a token. `hash` is SHA-256 of the random secret, hex."""

    hash: str
    role: str
    name: str
    created: str


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that its owner has not got yet. `text` exists nowhere else."""

    text: str = field(repr=False)
    path: str
    token: Token

    @property
    def value(self) -> bytes:
        """Return what the store keeps under `path`."""
        return msgspec.json.encode(self.token)


def make_token(name: str, role: str, created: str) -> NewToken:
    """Return a new token, not stored yet."""
    number, secret = secrets.token_hex(6), secrets.token_bytes(_SECRET_BYTES)
    shown = urlsafe_b64encode(secret).rstrip(b"=").decode()
    token = Token(_hash(shown), role, name, created)
    return NewToken(f"kat_{number}_{shown}", f"{PREFIX}{number}", token)


class Tokens:
    """The tokens that are stored."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, text: str) -> Token | None:
        """Return what a token stands for, or None. The time taken tells nothing of the secret."""
        match = _TOKEN.fullmatch(text)
        item = await self._store.get(f"{PREFIX}{match[1]}") if match else None
        token = msgspec.json.decode(item.value, type=Token) if item else None
        given = _hash(match[2]) if match else _NOBODY[::-1]
        is_right = hmac.compare_digest(given, token.hash if token else _NOBODY)
        return token if token and is_right else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
