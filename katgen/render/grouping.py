"""Targets and slices: what starts and stops together, and what shares a quota (spec §4).

Files only, no enablement links: a drop-in `Wants=` does the same, and is a file that a manifest can
list.
"""

from katgen import names
from katgen.bundle import Activation, Artifact, artifact
from katgen.model.objects import Namespace

SYSTEM = "/etc/systemd/system"
HEADER = "# Managed by KAT. A change made here is reported as drift.\n"


def cluster() -> tuple[Artifact, ...]:
    """Return kat.target, which boots start, and kat.slice."""
    target = """
[Unit]
Description=All that KAT runs on this node
Documentation=man:systemd.special(7)
After=network.target
"""
    slice_ = """
[Unit]
Description=All that KAT runs on this node
"""
    return (
        _unit("kat.target", target),
        _wanted_by("multi-user.target", "kat", "kat.target"),
        _unit("kat.slice", slice_),
    )


def namespace(spec: Namespace) -> tuple[Artifact, ...]:
    """Return a namespace's target, which kat.target starts, and its slice with the quota."""
    name = spec.metadata.name
    target = f"""
[Unit]
Description=Namespace {name} of KAT
PartOf=kat.target
After=network.target
"""
    quota = spec.spec.quota
    # systemd knows no quota of 0; the planner places nothing there.
    limits = [
        *([f"CPUQuota={percent(quota.cpu)}\n"] if quota.cpu else []),
        *([f"MemoryMax={quota.memory}\n"] if quota.memory else []),
    ]
    slice_ = f"""
[Unit]
Description=Namespace {name} of KAT

[Slice]
{"".join(limits)}"""
    return (
        _unit(names.namespace_target(name), target),
        _wanted_by("kat.target", name, names.namespace_target(name)),
        _unit(names.namespace_slice(name), slice_),
    )


def wanted_timer(namespace: str, job: str, timer: str) -> Artifact:
    """Return the drop-in by which a namespace's target starts a timer."""
    return _wanted_by(names.namespace_target(namespace), job, timer)


def percent(milli: int) -> str:
    """Return thousandths of a CPU as systemd writes them: 250 is `25%`, 12 is `1.2%`."""
    whole, tenth = divmod(milli, 10)
    return f"{whole}.{tenth}%" if tenth else f"{whole}%"


def _unit(name: str, body: str) -> Artifact:
    return _file(f"{SYSTEM}/{name}", body, unit=name)


def _wanted_by(target: str, what: str, unit: str) -> Artifact:
    # A target orders itself after the services that it wants, but not reliably after targets.
    text = f"\n[Unit]\nWants={unit}\nAfter={unit}\n"
    return _file(f"{SYSTEM}/{target}.d/{what}.conf", text, unit="")


def _file(path: str, body: str, unit: str) -> Artifact:
    content = HEADER + body
    return artifact(path, content, activation=Activation.DAEMON_RELOAD, unit=unit, pair_key=path)
