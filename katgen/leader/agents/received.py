"""What agents send, made harmless on receipt: cut to size, or refused with a reason. Pure.

An agent is trusted with its own node alone. None can fill the leader's memory or store, nor stop
it with a number or a name that no later step can take.
"""

import re
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec

from katgen.endpoints import STATES
from katgen.model.network import is_link
from katgen.protocol import (
    NOTE_REASONS,
    Complaint,
    Drift,
    EndpointRecord,
    EndpointRecords,
    EndpointsTaken,
    Facts,
    Failed,
    Note,
    Pulled,
    PullProgress,
    Report,
    ToLeader,
    UnitReport,
    Verdict,
)

TEXT_MAX: Final = 4096
"""Characters of what a tool or a registry says."""
WORD_MAX: Final = 256
PATH_MAX: Final = 4096
LINE_MAX: Final = 1024
LINES_MAX: Final = 50
DIFF_MAX: Final = 20_000
COMPLAINTS_MAX: Final = 64
UNITS_MAX: Final = 5000
NOTES_MAX: Final = 100
DRIFT_MAX: Final = 1000
CUSTOM_MAX: Final = 64
"""Kinds of custom resources of one node."""
NUMBER_MAX: Final = 2**53
"""What every reader of JSON takes."""
_COUNT_MAX: Final = 2**31
_TIME_MAX: Final = 2.0**33
_DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{64})?")
_KEY: Final = re.compile(r"([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)?")
_RESOURCE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?")
_SHOWN: Final = 80
N = TypeVar("N", int, float)


def bounded(message: ToLeader) -> ToLeader:
    """Return a message with nothing in it that is longer or larger than it may be.

    A digest that is none becomes the failure of its pull.
    """
    replaced = msgspec.structs.replace
    match message:
        case Verdict():
            return replaced(
                message, outcome=message.outcome[:WORD_MAX], complaints=_said(message.complaints)
            )
        case PullProgress() | Failed():
            return replaced(message, text=message.text[:TEXT_MAX])
        case Pulled() if _DIGEST.fullmatch(message.digest) is None:
            text = f"the node answers with a digest that is none: {message.digest[:_SHOWN]!r}"
            return Failed(message.id, text)
        case Report():
            return _report(message)
        case EndpointRecords() | EndpointsTaken():
            return _endpoints(message)
        case _:
            return message


def _endpoints(message: EndpointRecords | EndpointsTaken) -> ToLeader:
    if isinstance(message, EndpointsTaken):
        return EndpointsTaken(_within(message.number, NUMBER_MAX))
    records, notes = tuple(_records(message.records)), tuple(_notes(message.notes))
    return EndpointRecords(records, message.full, notes)


def _records(given: tuple[EndpointRecord, ...]) -> Iterator[EndpointRecord]:
    """Yield the records that can be meant; a node has no more instances than units."""
    for one in given[:UNITS_MAX]:
        is_short = max(len(one.instance), len(one.boot)) <= WORD_MAX
        if is_short and one.state in STATES and 0 <= one.sequence <= NUMBER_MAX:
            yield one


def _notes(given: tuple[Note, ...]) -> Iterator[Note]:
    """Yield the notes that can be meant, their words cut."""
    for one in given[:NOTES_MAX]:
        if len(one.instance) <= WORD_MAX and one.reason in NOTE_REASONS:
            yield Note(one.instance, one.reason, one.text[:LINE_MAX])


def _report(report: Report) -> Report:
    return msgspec.structs.replace(
        report,
        boot_id=report.boot_id[:WORD_MAX],
        epoch=_within(report.epoch, NUMBER_MAX),
        generation=_within(report.generation, NUMBER_MAX),
        sync=report.sync[:WORD_MAX],
        problems=_said(report.problems),
        units=tuple(map(_unit, report.units[:UNITS_MAX])),
        drift=tuple(map(_drift, report.drift[:DRIFT_MAX])),
    )


def _said(complaints: tuple[Complaint, ...]) -> tuple[Complaint, ...]:
    return tuple(
        Complaint(
            one.path[:PATH_MAX], one.text[:TEXT_MAX], one.digest[:WORD_MAX], one.tool[:WORD_MAX]
        )
        for one in complaints[:COMPLAINTS_MAX]
    )


def _unit(unit: UnitReport) -> UnitReport:
    return msgspec.structs.replace(
        unit,
        unit=unit.unit[:WORD_MAX],
        active_state=unit.active_state[:WORD_MAX],
        sub_state=unit.sub_state[:WORD_MAX],
        result=unit.result[:WORD_MAX],
        restarts=_within(unit.restarts, _COUNT_MAX),
        exit_code=_within(unit.exit_code, _COUNT_MAX),
        since=_within(unit.since, _TIME_MAX),
        image_digest=unit.image_digest[:WORD_MAX],
        health=unit.health[:WORD_MAX],
        lines=tuple(line[:LINE_MAX] for line in unit.lines[:LINES_MAX]),
    )


def _drift(one: Drift) -> Drift:
    return Drift(one.kind[:WORD_MAX], one.path[:PATH_MAX], one.unit[:WORD_MAX], one.diff[:DIFF_MAX])


def _within(number: N, most: N) -> N:
    return min(max(number, 0), most)


def problem_of(facts: Facts) -> str:
    """Return why no plan can use a machine's facts, '' if one can."""
    return "; ".join(_problems(facts))


def _problems(facts: Facts) -> Iterator[str]:
    amounts = {"cpuMillis": facts.cpu_millis, "memoryBytes": facts.memory_bytes}
    for name, amount in amounts.items():
        if not 0 <= amount <= NUMBER_MAX:
            yield f"{name} is no amount"
    if facts.interface and not is_link(facts.interface):
        yield f"{facts.interface[:_SHOWN]!r} is not the name of a link"
    if _KEY.fullmatch(facts.public_key) is None:
        yield f"{facts.public_key[:_SHOWN]!r} is not a WireGuard public key"
    yield from _problems_of_custom(facts)
    versions = msgspec.structs.astuple(facts.versions)
    if any(len(text) > WORD_MAX for text in versions) or len(facts.formats) > CUSTOM_MAX:
        yield "the versions are too long"


def _problems_of_custom(facts: Facts) -> Iterator[str]:
    if len(facts.custom) > CUSTOM_MAX:
        yield f"{len(facts.custom)} kinds of custom resources; the most is {CUSTOM_MAX}"
        return
    for name, amount in facts.custom.items():
        if _RESOURCE.fullmatch(name) is None:
            yield f"{name[:_SHOWN]!r} is not the name of a custom resource"
        elif not 0 <= amount <= NUMBER_MAX:
            yield f"{name} is no amount"
