"""Whether a commit record is the cluster's word, and not older than what this node knows."""

import hashlib
from typing import Any, Final

import msgspec

from agent.ports import UnfitError
from agent.signatures import is_signed
from agent.state import HighWater, Trust
from katgen.errors import KatError
from katgen.protocol import (
    RECORD_FIELDS,
    RECORD_FORMAT,
    SIGNING_CONTEXT,
    CommitRecord,
    SignedRecord,
)

_KEY_ID: Final = 16


class RecordError(KatError):
    """A commit record that this node does not take, and why. Nothing on the node changes."""


def verify(signed: SignedRecord, trust: Trust, mark: HighWater) -> CommitRecord:
    """Return the record if it is signed, of this cluster, and not below the mark.

    The same record again is fine; another with the same number is not. Raises RecordError, or
    UnfitError for one of a newer KAT that this one must not act on.
    """
    _check_signature(signed, trust)
    fields = _fields(signed.record)
    _check_known(fields)
    try:
        record = msgspec.convert(fields, CommitRecord)
    except msgspec.ValidationError as err:
        raise RecordError(f"the commit record makes no sense: {err}") from err
    if record.cluster != trust.cluster:
        raise RecordError(
            f"the commit record is of cluster {record.cluster}, this node of {trust.cluster}"
        )
    _check_order(record, mark)
    return record


def unknown_fields(signed: SignedRecord) -> tuple[str, ...]:
    """Return the fields that a newer leader wrote and this agent ignores; for the report."""
    return tuple(sorted(_fields(signed.record).keys() - RECORD_FIELDS))


def key_id(public_key: bytes) -> str:
    """Return the id under which records name a key."""
    return hashlib.sha256(public_key).hexdigest()[:_KEY_ID]


def _check_signature(signed: SignedRecord, trust: Trust) -> None:
    keys = [one for one in trust.signing_keys if one.id == signed.key_id]
    if not keys:
        raise RecordError(
            f"the commit record is signed with a key that is unknown: {signed.key_id}"
        )
    text = SIGNING_CONTEXT + signed.record.encode()
    if not is_signed(keys[0].public_key, signed.signature, text):
        raise RecordError("the signature of the commit record is wrong")


def _fields(text: str) -> dict[str, Any]:
    """Return the record's fields as they are. Raises RecordError unless it has one reading only."""
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as err:
        raise RecordError(f"the commit record is not JSON: {err}") from err
    # A field twice, or two spellings of one value, would let two readers see two records.
    if not isinstance(fields, dict) or msgspec.json.encode(fields) != text.encode():
        raise RecordError("the commit record is not in its canonical form")
    return fields


def _check_known(fields: dict[str, Any]) -> None:
    """Refuse to act on what only a newer KAT understands."""
    wanted = fields.get("formatVersion", RECORD_FORMAT)
    if isinstance(wanted, int) and wanted > RECORD_FORMAT:
        raise UnfitError(
            f"the commit record has format {wanted}, this agent knows {RECORD_FORMAT}; update KAT"
        )
    critical = fields.get("critical", [])
    named = critical if isinstance(critical, list) else []
    unknown = sorted(name for name in named if name not in RECORD_FIELDS)
    if unknown:
        raise UnfitError(
            f"the commit record needs {', '.join(map(str, unknown))}, "
            "which this agent does not know; update KAT"
        )


def _check_order(record: CommitRecord, mark: HighWater) -> None:
    number, known = (record.epoch, record.generation), (mark.epoch, mark.generation)
    if number < known:
        raise RecordError(
            f"the commit record {record.epoch}-{record.generation} is older than "
            f"{mark.epoch}-{mark.generation}, which this node has accepted"
        )
    if number == known and mark.root not in ("", record.root):
        raise RecordError(
            f"there are two commit records {record.epoch}-{record.generation}; "
            "this node keeps the first"
        )
