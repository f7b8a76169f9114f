"""Bearer tokens of people: `kat_<id>_<secret>`. The store has only the secret's hash.

A watch of the store keeps them in memory, so that a leader knows people while its etcd is away.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen.leader.store import Change, CompactedError, Store, StoreError

PREFIX: Final = "tokens/"
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"kat_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY: Final = "0" * 64
_RETRY_S: Final = 5.0
_LOG: Final = logging.getLogger(__name__)


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
    """The tokens that are stored. `run` keeps them in memory; without it the store is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Token] = {}
        """By their paths."""
        self._is_current = False

    async def run(self) -> None:
        """Follow the store, for ever."""
        while True:
            try:
                revision = await self._load()
                async for changes in self._store.watch(PREFIX, revision):
                    self._take(changes)
            except CompactedError:
                self._is_current = False
                _LOG.info("the watch of tokens fell behind, reading them anew")
            except StoreError as err:
                self._is_current = False
                _LOG.warning("tokens cannot be watched, trying again in 5 s: %s", err)
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 -- one that was deleted must not live on in memory
                self._is_current = False
                _LOG.exception("following the tokens failed, reading them anew in 5 s")
                await asyncio.sleep(_RETRY_S)

    async def find(self, text: str) -> Token | None:
        """Return what a token stands for, or None. The time taken tells nothing of the secret.

        Raises StoreError if it was never seen, and the store is away.
        """
        match = _TOKEN.fullmatch(text)
        token = await self._at(f"{PREFIX}{match[1]}") if match else None
        return token if _is_of(match, token) else None

    def is_remembered(self, text: str) -> bool:
        """Whether a token is in memory, so that whoever has it is no stranger.

        The time taken tells nothing of the secret.
        """
        match = _TOKEN.fullmatch(text)
        return _is_of(match, self._known.get(f"{PREFIX}{match[1]}") if match else None)

    async def _at(self, path: str) -> Token | None:
        known = self._known.get(path)
        if known is not None and self._is_current:
            return known
        try:
            item = await self._store.get(path)
        except StoreError:
            if known is None:
                raise
            return known  # as it was when the store was last there
        return _read(path, item.value) if item else None

    async def _load(self) -> int:
        """Read all of them and return the store's revision. Raises StoreError."""
        listing = await self._store.list(PREFIX)
        found = {item.key: _read(item.key, item.value) for item in listing.items}
        self._known = {path: token for path, token in found.items() if token is not None}
        self._is_current = True
        return listing.revision

    def _take(self, changes: Iterable[Change]) -> None:
        for change in changes:
            token = None if change.value is None else _read(change.key, change.value)
            if token is None:
                self._known.pop(change.key, None)
            else:
                self._known[change.key] = token


def _is_of(match: re.Match[str] | None, token: Token | None) -> bool:
    """Whether a text has a token's secret; it takes as long if there is no such token."""
    given = _hash(match[2]) if match else _NOBODY[::-1]
    is_right = hmac.compare_digest(given, token.hash if token else _NOBODY)
    return token is not None and is_right


def _read(path: str, value: bytes) -> Token | None:
    try:
        return msgspec.json.decode(value, type=Token)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        _LOG.warning("the record %s cannot be read, ignoring: %s", path, err)
        return None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
