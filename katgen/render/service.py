"""The sections of an instance that systemd itself reads: order, restarts, limits, jobs."""

from collections.abc import Iterator
from typing import Final

from katgen import names
from katgen.model.container import Resources
from katgen.model.objects import JobSpec
from katgen.model.text import DESCRIPTION
from katgen.model.workload import RestartPolicy, WorkloadSpec
from katgen.render import unitfile
from katgen.render.grouping import percent
from katgen.render.lines import Line, Slots, section
from katgen.render.mounts import SECRETS
from katgen.render.unitfile import command
from katgen.render.view import PlannedWorkload

RUNS: Final = "/var/lib/kat/runs"
"""Holds an empty file for every finished run of a job without schedule."""
STOP_SLACK_S: Final = 10
"""From Podman's own SIGKILL to systemd's."""
_RESTART: Final = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}
_SIGNALS: Final = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGUSR1": 10, "SIGUSR2": 12, "SIGTERM": 15,
}  # fmt: skip
"""signal(7), x86 and ARM."""
_RETRIES_LEFT: Final = 'test "$(systemctl show -P NRestarts "$1")" -le "$2"'


def lines(workload: PlannedWorkload, slots: Slots) -> Iterator[Line]:
    """Return the lines of a workload's instances."""
    spec = workload.objects.workload.spec
    job = workload.objects.job
    yield "Quadlet", "DefaultDependencies=false"
    yield from section("Unit", _unit(workload, slots))
    if spec.type == "Job" and job is not None:
        yield from _job(job.spec, _retries(spec, job.spec), slots)
    else:
        yield from _service(spec)
        yield "Install", f"WantedBy={_target(workload)}"
    yield "Service", f"Slice={names.namespace_slice(names.split_key(workload.key)[0])}"
    yield "Service", f"TimeoutStopSec={spec.container.stop_timeout_seconds + STOP_SLACK_S}"
    yield from section("Service", _resources(spec.container.resources))


def _target(workload: PlannedWorkload) -> str:
    return names.namespace_target(names.split_key(workload.key)[0])


def _unit(workload: PlannedWorkload, slots: Slots) -> Iterator[str]:
    metadata = workload.objects.workload.metadata
    text = metadata.annotations.get(DESCRIPTION) or f"{workload.key} of KAT"
    yield unitfile.description(text)
    yield f"PartOf={_target(workload)}"
    needs = ["kat-nft.service"]
    if workload.objects.workload.spec.source.git is not None:
        needs.append(f"{names.workload_stem(workload.key)}-build.service")
    yield f"Requires={' '.join(needs)}"
    yield "Wants=kat-network.service"
    yield f"After=network.target kat-network.service {' '.join(needs)}"
    for one in workload.objects.workload.spec.container.env:
        if one.value_from is not None:
            yield f"AssertPathExists={SECRETS}/{slots.stem}/env/{one.name}"


def _service(spec: WorkloadSpec) -> Iterator[Line]:
    yield from section("Unit", _start_limit(spec.restart_policy))
    yield "Service", f"Restart={_RESTART[spec.restart_policy.condition]}"
    yield "Service", f"RestartSec={spec.restart_policy.backoff_seconds}"
    yield "Service", f"TimeoutStartSec={spec.update_strategy.progress_deadline_seconds}"
    # Podman's monitor ends with the container's exit code; to systemd only the signal is clean.
    number = _SIGNALS.get(spec.container.stop_signal)
    if number is not None:
        yield "Service", f"SuccessExitStatus={128 + number}"


def _start_limit(policy: RestartPolicy) -> Iterator[str]:
    if policy.max_restarts == 0:
        yield "StartLimitIntervalSec=0"
    else:
        yield f"StartLimitIntervalSec={policy.reset_seconds}"
        yield f"StartLimitBurst={policy.max_restarts + 1}"


def _retries(spec: WorkloadSpec, job: JobSpec) -> int:
    return 0 if spec.restart_policy.condition == "Never" else job.backoff_limit


def _job(job: JobSpec, retries: int, slots: Slots) -> Iterator[Line]:
    """Return a job's lines. A run without schedule leaves a mark, so that nothing repeats it.

    Retries: systemd counts starts, which for a scheduled job are not only retries; so there a
    condition asks how many automatic restarts there were since the timer's start.
    """
    yield "Service", "Type=oneshot"
    yield "Service", f"Restart={'on-failure' if retries else 'no'}"
    yield "Service", f"RestartSec={job.backoff_seconds}"
    deadline = job.active_deadline_seconds
    yield "Service", f"TimeoutStartSec={'infinity' if deadline is None else deadline}"
    if job.schedule is None:
        mark = f"{RUNS}/{slots.stem}"
        yield "Unit", f"ConditionPathExists=!{mark}"
        yield "Unit", "StartLimitIntervalSec=infinity"
        yield "Unit", f"StartLimitBurst={retries + 1}"
        done = command("/usr/bin/install", "-D", "-m", "0600", "/dev/null", mark)
        yield "Service", f"ExecStartPost={done}"
    else:
        yield "Unit", "StartLimitIntervalSec=0"
        asks = command("/bin/sh", "-c", _RETRIES_LEFT, "sh")
        yield "Service", f"ExecCondition={asks} %n {retries}"


def _resources(resources: Resources) -> Iterator[str]:
    """Limits are the unit's, so that `systemctl status` shows them; requests are its share."""
    limits, requests = resources.limits, resources.requests
    if limits.cpu is not None:
        yield f"CPUQuota={percent(limits.cpu)}"
    if limits.memory is not None:
        yield f"MemoryMax={limits.memory}"
    if requests.cpu is not None:
        yield f"CPUWeight={min(max(requests.cpu // 10, 1), 10000)}"
    if requests.memory is not None:
        yield f"MemoryLow={requests.memory}"
