"""Targets and slices."""

import pytest

from katgen.bundle import Activation
from katgen.model.objects import Namespace
from katgen.render import grouping

HEADER = "# Managed by KAT. A change made here is reported as drift.\n\n"


def namespace(name: str, **spec: object) -> dict[str, str]:
    """Return the files of a namespace by path, without their header."""
    made = Namespace.model_validate(
        {
            "apiVersion": "kat/v1alpha1",
            "kind": "Namespace",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
    files = grouping.namespace(made)
    assert {one.activation for one in files} == {Activation.DAEMON_RELOAD}
    return {one.path: one.content.decode().removeprefix(HEADER) for one in files}


def test_a_namespace_is_a_target_that_kat_target_starts() -> None:
    files = namespace("shop")
    assert files["/etc/systemd/system/kat.shop.target"] == (
        "[Unit]\nDescription=Namespace shop of KAT\nPartOf=kat.target\nAfter=network.target\n"
    )
    assert files["/etc/systemd/system/kat.target.d/shop.conf"] == (
        "[Unit]\nWants=kat.shop.target\nAfter=kat.shop.target\n"
    )


def test_a_quota_is_the_slice_s() -> None:
    files = namespace("team-a", quota={"cpu": "1500m", "memory": "1Gi", "instances": 3})
    assert files[r"/etc/systemd/system/kat-team\x2da.slice"] == (
        "[Unit]\nDescription=Namespace team-a of KAT\n\n"
        "[Slice]\nCPUQuota=150%\nMemoryMax=1073741824\n"
    )


def test_a_quota_of_nothing_is_the_planner_s() -> None:
    files = namespace("shop", quota={"cpu": 0, "memory": 0, "instances": 0})
    assert files["/etc/systemd/system/kat-shop.slice"] == (
        "[Unit]\nDescription=Namespace shop of KAT\n\n[Slice]\n"
    )


def test_a_boot_starts_what_kat_runs() -> None:
    files = {one.path: one.content.decode() for one in grouping.cluster()}
    assert set(files) == {
        "/etc/systemd/system/kat.target",
        "/etc/systemd/system/multi-user.target.d/kat.conf",
        "/etc/systemd/system/kat.slice",
    }
    wanted = files["/etc/systemd/system/multi-user.target.d/kat.conf"]
    assert wanted == f"{HEADER}[Unit]\nWants=kat.target\nAfter=kat.target\n"


@pytest.mark.parametrize(
    ("milli", "shown"), [(1000, "100%"), (250, "25%"), (1255, "125.5%"), (1, "0.1%")]
)
def test_processor_shares(milli: int, shown: str) -> None:
    assert grouping.percent(milli) == shown
