"""What the agent remembers over restarts: small JSON files below /var/lib/kat, each written whole.

| file | what |
|---|---|
| `agent/node.json` | which node of which cluster this is, and where its leader listens |
| `agent/trust.json` | whose signatures count |
| `agent/high-water.json` | the newest record ever accepted; never lowered |
| `agent/applied.json` | whose files are in place, and those files |
| `agent/journal.json` | there while files are being changed |
| `agent/hold` | there after a rollback: leaders are listened to, not followed |
| `generations/<epoch>-<generation>/` | what was applied: record, manifest, sets |
| `content/<2 hex>/<digest>` | contents of files, by SHA-256 |

A file that cannot be read is UnfitError, never "nothing applied" (promise 1 of spec §1).
"""

import hashlib
from typing import Final, TypeVar

import msgspec

from agent.ports import Files, UnfitError
from katgen.bundle import Entry, Manifest
from katgen.names import NodeName
from katgen.protocol import SignedRecord

ROOT: Final = "/var/lib/kat"
DAMAGED: Final = "is damaged: its digest is another; is the disk sound?"
AGENT: Final = f"{ROOT}/agent"
NODE: Final = f"{AGENT}/node.json"
TRUST: Final = f"{AGENT}/trust.json"
HIGH_WATER: Final = f"{AGENT}/high-water.json"
APPLIED: Final = f"{AGENT}/applied.json"
JOURNAL: Final = f"{AGENT}/journal.json"
HOLD: Final = f"{AGENT}/hold"
GENERATIONS: Final = f"{ROOT}/generations"
CONTENT: Final = f"{ROOT}/content"
POLICY: Final = "/etc/kat/policy"
PRIVATE: Final = 0o600


class NodeConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Which node this is. `leader` is `https://ADDRESS:PORT`, `cluster` the cluster's uid."""

    node: NodeName
    leader: str
    cluster: str
    advertise_address: str = ""
    agent_port: int = 9116


class SigningKey(msgspec.Struct, frozen=True, rename="camel"):
    """An Ed25519 public key: its 32 raw bytes in base64; `id` as `SignedRecord.key_id`."""

    id: str
    public_key: str


class Trust(msgspec.Struct, frozen=True, rename="camel"):
    """Whose records count. `root_key` signs the next version of this document."""

    version: int
    cluster: str
    signing_keys: tuple[SigningKey, ...]
    root_key: str = ""


class HighWater(msgspec.Struct, frozen=True):
    """The newest record accepted, by (epoch, generation); `root` is its root digest."""

    epoch: int = 0
    generation: int = 0
    root: str = ""


class Applied(msgspec.Struct, frozen=True, rename="camel"):
    """What is in place.

    `files` is the folder below `generations` whose manifest it is: several generations in a row may
    be the same for this node. `entries` are the files as they were written: an instance's file is
    written once for its id, so that one may differ from the manifest's.
    """

    signed: SignedRecord
    epoch: int
    generation: int
    root: str
    files: str
    manifest: Manifest
    entries: tuple[Entry, ...]


class Journal(msgspec.Struct, frozen=True):
    """An apply that has begun: `base` are the files that may have been there, `to` where it goes.

    `to` is a folder below `generations`.
    """

    to: str
    base: tuple[Entry, ...]


S = TypeVar("S", bound=msgspec.Struct)
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def load(files: Files, path: str, kind: type[S]) -> S | None:
    """Return what a file says, or None if it is not there. Raises UnfitError if it makes no sense.

    That is never taken for a missing one.
    """
    content = files.read(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise UnfitError(f"{path} is damaged: {err}; restore it from a backup") from err


def save(files: Files, path: str, value: msgspec.Struct) -> None:
    """Write a file of the agent's own, durably."""
    files.write(path, _ENCODER.encode(value), PRIVATE)
    files.flush([path.rpartition("/")[0]])


def forget(files: Files, path: str) -> None:
    """Delete a file of the agent's own, durably."""
    files.delete(path)
    files.flush([path.rpartition("/")[0]])


def high_water(files: Files) -> HighWater:
    """Return the mark; without a file it is that of what is applied, and else the lowest."""
    mark = load(files, HIGH_WATER, HighWater)
    if mark is not None:
        return mark
    applied = load(files, APPLIED, Applied)
    if applied is None:
        return HighWater()
    return HighWater(applied.epoch, applied.generation, applied.root)


def raise_high_water(files: Files, mark: HighWater) -> None:
    """Remember a record as accepted, durably; a lower one changes nothing."""
    known = high_water(files)
    if (mark.epoch, mark.generation) > (known.epoch, known.generation):
        save(files, HIGH_WATER, mark)


def is_held(files: Files) -> bool:
    """Whether leaders are not followed, since somebody rolled back by hand."""
    return files.stat(HOLD) is not None


def content_path(digest: str) -> str:
    """Return where a content lies."""
    return f"{CONTENT}/{digest[:2]}/{digest}"


def content(files: Files, digest: str) -> bytes:
    """Return a content. Raises UnfitError if it is missing or not what its name says."""
    path = content_path(digest)
    data = files.read(path)
    if data is None:
        raise UnfitError(f"{path} is missing; the next proposal fetches it")
    if hashlib.sha256(data).hexdigest() != digest:
        raise UnfitError(f"{path} {DAMAGED}")
    return data
