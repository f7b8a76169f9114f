"""Schedules: one timer per scheduled job, which PID 1 runs with no help of KAT's.

The timer's name belongs to the workload and not to an instance, so that `Persistent=` still knows
after a new revision when the job ran last.
"""

from katgen import names
from katgen.bundle import Activation, Artifact, artifact
from katgen.model.calendar import on_calendar
from katgen.model.objects import JobSpec
from katgen.names import WorkloadKey
from katgen.render import grouping


def timer(key: WorkloadKey, job: JobSpec, service: str) -> tuple[Artifact, ...]:
    """Return the timer of a scheduled job and the drop-in that starts it; none if unscheduled.

    A run that the node slept through is made up for once. A run still going on when the next is
    due takes its place (`concurrencyPolicy: Forbid`): systemd starts no unit twice.
    """
    if job.schedule is None:
        return ()
    namespace, name = names.split_key(key)
    unit = f"{names.workload_stem(key)}.timer"
    calendar = "".join(f"OnCalendar={v}\n" for v in on_calendar(job.schedule, job.time_zone))
    text = f"""{grouping.HEADER}
[Unit]
Description=Schedule of job {key} of KAT
PartOf={names.namespace_target(namespace)}

[Timer]
Unit={service}
{calendar}AccuracySec=1s
Persistent=true
"""
    path = f"{grouping.SYSTEM}/{unit}"
    return (
        artifact(
            path, text, activation=Activation.DAEMON_RELOAD, unit=unit, pair_key=f"{key}/timer"
        ),
        grouping.wanted_timer(namespace, name, unit),
    )
