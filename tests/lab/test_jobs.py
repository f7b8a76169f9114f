"""Jobs, schedules and builds on a real host: what plain systemd does with their units."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

import pytest
from cronsim import CronSim

from katgen.model.calendar import on_calendar
from katgen.render.quadlet import build
from tests.lab import Node, bridge, host
from tests.lab.images import BUSYBOX, import_busybox
from tests.oracles.cell import static_units
from tests.unit.render.planned import CLUSTER, FIRST, Fields, planned, template

UNIT = "kat.shop.web.0-1.service"
RUNS = "/var/lib/kat/runs/kat.shop.web.0-1"
CRON = (
    *("30 4 * * *", "*/15 9-17/2 * * 1-5", "0 0 1,15 * Mon", "0 0 */2 * 1", "0 0 L * *"),
    *("0 0 LW * *", "0 0 * * 5#2", "0 0 * * 5L", "0 0 15,L * Fri", "5 4 31 1-3 sun", "7 7 29 2 *"),
)
NAMED = ("hourly", "weekly Pacific/Auckland", "Mon..Fri 10:00", "Mon *-05~03/1", "0/2:00:00.5")
START = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with host(files={**bridge.FILES, **static_units()}) as booted:
        import_busybox(booted)
        yield booted


def job(node: Node, script: str, spec: Mapping[str, object]) -> None:
    """Put a job that runs a script on the host, in place of the one before."""
    container: Fields = {"command": ["/bin/sh", "-c", script]}
    full = {"type": "Job", "source": {"image": BUSYBOX}, "container": container}
    made = template(full, job=spec).artifacts(FIRST)
    node.run(["sh", "-c", f"rm -rf /etc/containers/systemd/kat {RUNS}"])
    node.put_tree({one.path: one.content for one in made})
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "reset-failed", UNIT], check=False)


def runs(node: Node, since: str) -> int:
    """Return how many times the job's program has said `ran` since a cursor."""
    shown = node.run(["journalctl", "-o", "cat", "--after-cursor", since, "-u", UNIT]).stdout
    return shown.splitlines().count("ran")


def cursor(node: Node) -> str:
    shown = node.run(["journalctl", "-n", "0", "--show-cursor"]).stdout
    return shown.partition("cursor: ")[2].strip()


def state(node: Node, *names: str) -> list[str]:
    shown = node.run(["systemctl", "show", "--value", "-p", ",".join(names), UNIT]).stdout
    return sorted(shown.split())


def test_a_finished_run_is_not_repeated(node: Node) -> None:
    job(node, "echo ran", {})
    before = cursor(node)
    node.run(["systemctl", "start", UNIT])
    node.run(["systemctl", "start", UNIT])
    assert runs(node, before) == 1


def test_a_failing_run_is_tried_again_until_the_limit(node: Node) -> None:
    job(node, "echo ran; exit 3", {"backoffLimit": 2, "backoffSeconds": 0})
    before = cursor(node)
    assert node.run(["systemctl", "start", "--wait", UNIT], check=False).code != 0
    node.run(["sh", "-c", f"until systemctl is-failed -q {UNIT}; do sleep 0.1; done"])
    assert runs(node, before) == 3
    assert node.run(["test", "-e", RUNS], check=False).code == 1


def test_a_scheduled_run_has_its_retries_at_every_start(node: Node) -> None:
    job(node, "echo ran; exit 3", {"schedule": "@yearly", "backoffLimit": 1, "backoffSeconds": 0})
    for _ in range(2):
        before = cursor(node)
        node.run(["systemctl", "start", UNIT], check=False)
        waits = (
            f"while systemctl show -P ActiveState {UNIT} | grep -qv inactive; do sleep 0.1; done"
        )
        node.run(["sh", "-c", waits])
        assert runs(node, before) == 2


def test_a_run_beyond_its_deadline_is_ended(node: Node) -> None:
    endless = "trap 'exit 1' TERM; while :; do sleep 1; done"
    job(node, endless, {"activeDeadlineSeconds": 1, "backoffLimit": 0})
    node.run(["systemctl", "start", UNIT], check=False)
    assert state(node, "ActiveState", "Result") == ["failed", "timeout"]


def test_an_image_that_is_there_is_not_built_again(node: Node) -> None:
    source = {"git": {"url": "https://git.example/x.git", "commit": "a" * 40}}
    (made,) = build(planned({"source": source}), CLUSTER)
    node.put(made.path, made.content)
    node.run(["systemctl", "daemon-reload"])
    assert node.run(["systemctl", "start", made.unit], check=False).code != 0
    image = re.search(r"ImageTag=(\S+)", made.content.decode())
    assert image is not None
    node.run(["podman", "tag", BUSYBOX, image[1]])
    node.run(["systemctl", "start", made.unit])


@pytest.mark.parametrize("cron", CRON)
def test_systemd_fires_when_cron_would(node: Node, cron: str) -> None:
    asked = ["--iterations=12", f"--base-time={START:%Y-%m-%d %H:%M:%S} UTC"]
    shown = node.run(["env", "TZ=UTC", "systemd-analyze", "calendar", *asked, *on_calendar(cron)])
    found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", shown.stdout)
    times = sorted({datetime.fromisoformat(f"{one}+00:00") for one in found})
    assert times[:12] == list(islice(CronSim(cron, START), 12))


@pytest.mark.parametrize("expression", NAMED)
def test_systemd_takes_what_the_model_takes(node: Node, expression: str) -> None:
    assert node.run(["systemd-analyze", "calendar", *on_calendar(expression)]).code == 0
