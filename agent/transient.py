"""Transient units as StartTransientUnit takes them, org.freedesktop.systemd1(5)."""

from collections.abc import Sequence
from typing import Final

from dbus_fast import Variant

SIGNATURE: Final = "ssa(sv)a(sa(sv))"
KILL_S: Final = 1
"""From SIGTERM to SIGKILL."""
_CRITICAL: Final = 2
_US: Final = 1_000_000


def oneshot(argv: Sequence[str], timeout_s: float) -> list[list[object]]:
    """Return the properties of a service that runs a program once.

    It is forgotten once it has ended and who started it has said `UnrefUnit`, or is gone.

    Words are passed as they are: systemd expands nothing in them. The journal gets next to nothing:
    not what Podman says of each container that it enters, nor that PID 1 saw the program fail.
    """
    command = [argv[0], list(argv), ["no-env-expand"]]
    values = {
        "Description": Variant("s", "a check of KAT"),
        "Type": Variant("s", "oneshot"),
        "ExecStartEx": Variant("a(sasas)", [command]),
        "TimeoutStartUSec": Variant("t", int(timeout_s * _US)),
        "TimeoutStopUSec": Variant("t", KILL_S * _US),
        "CollectMode": Variant("s", "inactive-or-failed"),
        "AddRef": Variant("b", True),  # noqa: FBT003 -- a value of D-Bus
        "StandardOutput": Variant("s", "null"),
        "StandardError": Variant("s", "null"),
        "LogLevelMax": Variant("i", _CRITICAL),
    }
    return [[name, value] for name, value in values.items()]
