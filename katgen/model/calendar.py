"""Schedules of jobs: five-field cron, its @names, or systemd's own calendar, as OnCalendar= values.

Sources: crontab(5) of Debian, read by cronsim; systemd.time(7) "Calendar Events".
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

LONGEST: Final = 200
CRON_FIELDS: Final = 5
NAMES: Final = {
    "@yearly": "*-01-01 00:00:00",
    "@annually": "*-01-01 00:00:00",
    "@monthly": "*-*-01 00:00:00",
    "@weekly": "Sun *-*-* 00:00:00",
    "@daily": "*-*-* 00:00:00",
    "@midnight": "*-*-* 00:00:00",
    "@hourly": "*-*-* *:00:00",
}
"""crontab(5); systemd's own word `weekly` is Monday."""
WORDS: Final = frozenset(
    {
        "minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly",
        "annually",
    }
)  # fmt: skip
_WEEKDAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_FULL_WEEKDAYS: Final = (
    "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
)  # fmt: skip
_WEEK: Final = frozenset(range(7))
_DAYS: Final = frozenset(range(1, 32))
_SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""cronsim wants a start; what KAT reads of it does not depend on one."""
_TERM: Final = re.compile(r"(\*|\d{1,4}(\.\.\d{1,4})?)(/\d{1,4})?", re.ASCII)
_SECOND: Final = re.compile(r"(\d{1,2}|\*)(\.\d{1,6})?(/\d{1,2}(\.\d{1,6})?)?", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_HINT: Final = "write five-field cron (30 4 * * Mon), @daily, or systemd's Mon *-*-* 04:30:00"


def on_calendar(schedule: str, time_zone: str | None = None) -> tuple[str, ...]:
    """Return the OnCalendar= values that together mean a schedule.

    Cron with both a day of the month and a weekday means either, which takes two values. ValueError
    with a message for people if the schedule is none, or names a time zone beside `time_zone`.
    """
    if len(schedule) > LONGEST:
        raise ValueError(f"{schedule[:40]!r}… is not a schedule; {_HINT}")
    fields = schedule.split()
    values: tuple[str, ...] = (NAMES.get(schedule, schedule),)
    if len(fields) == CRON_FIELDS:
        values = _from_cron(schedule)
    elif schedule not in NAMES and _names_zone(schedule) and time_zone is not None:
        raise ValueError(f"{schedule!r} names a time zone; remove it, or timeZone")
    return tuple(f"{value} {time_zone}" if time_zone else value for value in values)


def _from_cron(expression: str) -> tuple[str, ...]:
    try:
        cron = CronSim(expression, _SOME_TIME)
    except (CronSimError, ValueError) as err:
        raise ValueError(f"{expression!r} is not a cron schedule: {err}; {_HINT}") from err
    months = _listed(cron.months, 1, 12)
    time = f"{_listed(cron.hours, 0, 23)}:{_listed(cron.minutes, 0, 59)}:00"
    plain = {d % 7 for d in cron.weekdays if isinstance(d, int)}
    weekdays = [*_plain_weekdays(plain), *_nth_weekdays(cron.weekdays)]
    days = [*_plain_days(cron.days), *_last_days(cron.days)]
    return tuple(
        f"{weekday}*-{months}{day} {time}"
        for weekday, day in _combined(weekdays, days, both=cron.day_and)
    )


def _combined(
    weekdays: list[tuple[str, str]], days: list[tuple[str, str]], *, both: bool
) -> Iterable[tuple[str, str]]:
    """Return (weekday, day) pairs: either list alone, or their intersection if it is simple."""
    any_day = ("", "-*")
    if both and any_day in days:
        return weekdays
    if both and any_day in weekdays:
        return days
    if not both:
        return [*weekdays, *days]
    if any(day != "-*" for _, day in weekdays) or any(name for name, _ in days):
        raise ValueError(f"L, LW and # do not go with a step in the other day field; {_HINT}")
    return [(weekday, day) for weekday, _ in weekdays for _, day in days]


def _plain_weekdays(numbers: set[int]) -> list[tuple[str, str]]:
    if not numbers:
        return []
    if numbers == _WEEK:
        return [("", "-*")]
    return [(",".join(_WEEKDAYS[n] for n in sorted(numbers)) + " ", "-*")]


def _nth_weekdays(items: Iterable[int | tuple[int, int]]) -> list[tuple[str, str]]:
    """Fri#2 is a Friday from the 8th to the 14th; 5L is one in the last seven days."""
    nth = sorted(item for item in items if isinstance(item, tuple))
    return [
        (
            f"{_WEEKDAYS[weekday % 7]} ",
            "~07/1" if n == CronSim.LAST else f"-{7 * n - 6:02}..{min(7 * n, 31):02}",
        )
        for weekday, n in nth
    ]


def _plain_days(days: Iterable[int]) -> list[tuple[str, str]]:
    plain = {d for d in days if d in _DAYS}
    return [("", f"-{_listed(plain, 1, 31)}")] if plain else []


def _last_days(days: Iterable[int]) -> list[tuple[str, str]]:
    """L is the last day. LW is it too, unless it is at a weekend: then the Friday before."""
    found: list[tuple[str, str]] = []
    if CronSim.LAST in days:
        found.append(("", "~01"))
    if CronSim.LAST_WEEKDAY in days:
        found += [("Mon..Fri ", "~01"), ("Fri ", "~02"), ("Fri ", "~03")]
    return found


def _listed(numbers: Iterable[int], first: int, last: int) -> str:
    """Return numbers as `*`, `0/15`, or a list of ranges."""
    ordered = sorted(numbers)
    if ordered == list(range(first, last + 1)):
        return "*"
    step = ordered[1] - ordered[0] if len(ordered) > 2 else 0  # noqa: PLR2004 -- two show no step
    if step > 1 and ordered == list(range(ordered[0], last + 1, step)):
        return f"{ordered[0]:02}/{step}"
    return ",".join(_ranges(ordered))


def _ranges(ordered: list[int]) -> Iterable[str]:
    start = 0
    for at, number in enumerate(ordered):
        if at + 1 < len(ordered) and ordered[at + 1] == number + 1:
            continue
        first = ordered[start]
        yield f"{first:02}" if first == number else f"{first:02}..{number:02}"
        start = at + 1


def _names_zone(text: str) -> bool:
    """Return whether an expression of systemd's names a time zone. ValueError if it is none."""
    parts = text.split(" ")
    has_zone = len(parts) > 1 and _is_zone(parts[-1])
    if has_zone:
        parts.pop()
    if parts[0].lower() in WORDS:
        parts.pop(0)
    else:
        for check in (_is_weekdays, _is_date, _is_time):
            if parts and check(parts[0]):
                parts.pop(0)
    if parts:
        raise ValueError(f"{text!r} is not a schedule; {_HINT}")
    return has_zone


def _is_zone(text: str) -> bool:
    return _ZONE.fullmatch(text) is not None and not _is_weekdays(text)


def _is_weekdays(text: str) -> bool:
    names = {*(w.lower() for w in _WEEKDAYS), *_FULL_WEEKDAYS}
    ends = [end for term in text.lower().split(",") for end in term.split("..", 1)]
    return all(end in names for end in ends)


def _is_date(text: str) -> bool:
    date, tilde, from_end = text.partition("~")
    year_month, _, day = (date, "", from_end) if tilde else date.rpartition("-")
    year, dash, month = year_month.rpartition("-")
    return (
        (not dash or _is_component(year, 1970, 2199))
        and _is_component(month, 1, 12)
        and _is_component(day, 1, 31)
    )


def _is_time(text: str) -> bool:
    parts = text.split(":")
    if len(parts) not in {2, 3}:
        return False
    if not (_is_component(parts[0], 0, 23) and _is_component(parts[1], 0, 59)):
        return False
    return len(parts) == 2 or all(map(_is_second, parts[2].split(",")))  # noqa: PLR2004 -- HH:MM


def _is_component(text: str, first: int, last: int) -> bool:
    return all(_is_term(term, first, last) for term in text.split(","))


def _is_term(text: str, first: int, last: int) -> bool:
    if _TERM.fullmatch(text) is None:
        return False
    numbers, _, step = text.partition("/")
    ends = [int(end) for end in numbers.split("..") if end != "*"]
    within = all(first <= end <= last for end in ends) and ends == sorted(ends)
    return within and (not step or 0 < int(step) <= last)


def _is_second(text: str) -> bool:
    if _SECOND.fullmatch(text) is None:
        return _is_term(text, 0, 59)
    number, _, step = text.partition("/")
    if number.startswith("*."):
        return False
    within = number == "*" or float(number) < 60  # noqa: PLR2004 -- seconds
    return within and (not step or 0 < float(step) < 60)  # noqa: PLR2004 -- the same
