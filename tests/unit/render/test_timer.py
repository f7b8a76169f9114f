"""Schedules as timers."""

import pytest

from katgen.bundle import Activation
from katgen.model.calendar import on_calendar
from katgen.model.objects import JobSpec
from katgen.names import WorkloadKey
from katgen.render.timer import timer

CRON = [
    ("30 4 * * *", ["*-*-* 04:30:00"]),
    ("30  4 *  * *", ["*-*-* 04:30:00"]),
    ("* * * * *", ["*-*-* *:*:00"]),
    ("*/15 * * * *", ["*-*-* *:00/15:00"]),
    ("0 9-17/2 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 09,11,13,15,17:00:00"]),
    ("0 0 1,15 * Mon", ["Mon *-*-* 00:00:00", "*-*-01,15 00:00:00"]),
    ("0 0 */2 * 1", ["Mon *-*-01/2 00:00:00"]),
    ("0 0 1-7,15 jan,jul *", ["*-01,07-01..07,15 00:00:00"]),
    ("5 4 * * sun", ["Sun *-*-* 04:05:00"]),
    ("5 4 * * 7", ["Sun *-*-* 04:05:00"]),
    ("0 0 L * *", ["*-*~01 00:00:00"]),
    ("0 0 LW * *", ["Mon..Fri *-*~01 00:00:00", "Fri *-*~02 00:00:00", "Fri *-*~03 00:00:00"]),
    ("0 0 * * 5#2", ["Fri *-*-08..14 00:00:00"]),
    ("0 0 * * 5L", ["Fri *-*~07/1 00:00:00"]),
    ("0 0 15,L * Fri", ["Fri *-*-* 00:00:00", "*-*-15 00:00:00", "*-*~01 00:00:00"]),
    ("@hourly", ["*-*-* *:00:00"]),
    ("@daily", ["*-*-* 00:00:00"]),
    ("@weekly", ["Sun *-*-* 00:00:00"]),
    ("@monthly", ["*-*-01 00:00:00"]),
    ("@yearly", ["*-01-01 00:00:00"]),
]
CALENDAR = [
    "hourly", "weekly Pacific/Auckland", "00:00 UTC", "Mon", "10-15", "2003-03-05", "*:0/5",
    "Mon..Fri 10:00", "*-*-* 04:00:00", "Mon *-05~03/1", "*-02~01", "03-05 08:05:40",
    "Sat,Thu,Mon..Wed,Sat..Sun 0:0:0", "12..14:10,20,30:00", "0/2:00:00.5", "monday *-12-* 17:00",
]  # fmt: skip
NEITHER = [
    "", " daily", "foo", "@reboot", "60 * * * *", "* * * * 8", "1 2 3 4", "1 2 3 4 5 6",
    "* 24 * * *", "*-13-01", "25:00", "*/0:00", "1-2-3-4", "Mon Tue", "5-2 10:00..", "x" * 201,
    "0 0 LW * */2", "*:*:60", "*-*-* 00:00\nUnit=x", "daily %n", "0 0 * * 5#6",
]  # fmt: skip


@pytest.mark.parametrize(("cron", "expected"), CRON)
def test_cron_becomes_calendar_expressions(cron: str, expected: list[str]) -> None:
    assert list(on_calendar(cron)) == expected


@pytest.mark.parametrize("expression", CALENDAR)
def test_an_expression_of_systemd_s_stays_as_it_is(expression: str) -> None:
    assert on_calendar(expression) == (expression,)


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write five-field cron \(30 4 \* \* Mon\), @daily, or "):
        on_calendar(text)


def test_a_time_zone_goes_to_every_part() -> None:
    assert on_calendar("0 0 1 * Mon", "Europe/Berlin") == (
        "Mon *-*-* 00:00:00 Europe/Berlin",
        "*-*-01 00:00:00 Europe/Berlin",
    )


def test_two_time_zones_are_refused() -> None:
    with pytest.raises(ValueError, match="names a time zone; remove it, or timeZone"):
        on_calendar("daily UTC", "Europe/Berlin")


def test_a_scheduled_job_has_a_timer_that_its_namespace_starts() -> None:
    spec = JobSpec.model_validate({"schedule": "0 0 1 * Mon", "timeZone": "Europe/Berlin"})
    made, wanted = timer(WorkloadKey("shop/report"), spec, "kat.shop.report.0-1.service")
    assert made.path == "/etc/systemd/system/kat.shop.report.timer"
    assert made.unit == "kat.shop.report.timer"
    assert made.activation is Activation.DAEMON_RELOAD
    assert made.content.decode() == (
        "# Managed by KAT. A change made here is reported as drift.\n\n"
        "[Unit]\n"
        "Description=Schedule of job shop/report of KAT\n"
        "PartOf=kat.shop.target\n\n"
        "[Timer]\n"
        "Unit=kat.shop.report.0-1.service\n"
        "OnCalendar=Mon *-*-* 00:00:00 Europe/Berlin\n"
        "OnCalendar=*-*-01 00:00:00 Europe/Berlin\n"
        "AccuracySec=1s\n"
        "Persistent=true\n"
    )
    assert wanted.path == "/etc/systemd/system/kat.shop.target.d/report.conf"
    name = "kat.shop.report.timer"
    assert wanted.content.decode().endswith(f"\n[Unit]\nWants={name}\nAfter={name}\n")


def test_a_job_without_schedule_has_no_timer() -> None:
    assert timer(WorkloadKey("shop/report"), JobSpec(), "kat.shop.report.0-1.service") == ()
