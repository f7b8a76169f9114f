"""Schedules of jobs that a timer can keep, in time zones that nodes know."""

from collections.abc import Iterator

from katgen.errors import Problem
from katgen.model.calendar import on_calendar
from katgen.model.objects import JobDefinition
from katgen.model.zones import ZONES
from katgen.validate.load import Written
from katgen.validate.objects import Objects
from katgen.validate.translate import nearest


def schedules(objects: Objects) -> Iterator[Problem]:
    """Check that a timer can keep each schedule, and that nodes know its time zone."""
    for one in objects.jobs.values():
        yield from _schedule(one)
        yield from _zone(one)


def _schedule(one: Written[JobDefinition]) -> Iterator[Problem]:
    spec = one.object.spec
    if spec.schedule is None:
        return
    try:
        on_calendar(spec.schedule, spec.time_zone)
    except ValueError as err:
        what, _, hint = str(err).partition("; ")
        yield Problem(one.at("spec", "schedule"), what, hint)


def _zone(one: Written[JobDefinition]) -> Iterator[Problem]:
    zone = one.object.spec.time_zone
    if zone is None:
        return
    if one.object.spec.schedule is None:
        at = one.at("spec", "timeZone")
        yield Problem(at, "a time zone goes with a schedule", "add one, or remove timeZone")
    if zone not in ZONES:
        near = nearest(zone, sorted(ZONES))
        hint = f"did you mean {near!r}?" if near else "write it as Europe/Berlin"
        yield Problem(one.at("spec", "timeZone"), f"unknown time zone {zone!r}", hint)
