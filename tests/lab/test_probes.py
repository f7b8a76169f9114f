"""Every kind of check on a real node: what turns bad is found out and acted on, and comes back."""

import re
from collections.abc import Iterator

import pytest

from tests.lab.cluster import OneNode, one_node
from tests.lab.settled import until

RECORDS = "/run/kat/endpoints.json"
SERVE = """
touch /tmp/ok /tmp/ready
httpd -p 8080 -h /tmp
while :; do
    if test -e /tmp/ok; then pidof nc >/dev/null || nc -ll -p 8081 -e true &
    else killall -q nc; fi
    sleep 0.1
done
"""
WORKLOAD = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: {name}}}
spec:
  type: Service
  source: {{image: "{image}"}}
  restartPolicy: {{condition: {policy}}}
  container:
    command: [sh, -c]
    args: [{script}]
    stopTimeoutSeconds: 1
    {checks}
---
"""
HTTP = "{http: {path: /ok, port: 8080}, periodSeconds: 1, failureThreshold: 1}"
TCP = "{tcp: {port: 8081}, periodSeconds: 1, failureThreshold: 1}"
EXEC = "{exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}"
# What serves only after a second, on a busy machine, is not dead.
LATE = "initialDelaySeconds: 3, periodSeconds"
ALIVE = HTTP.replace("periodSeconds", LATE)
BY_PODMAN = f"{{exec: {{command: [test, -e, /tmp/ok]}}, {LATE}: 2, failureThreshold: 1}}"
IS_READY = "{exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}"
SLOW = f"{{tcp: {{port: 8081}}, {LATE}: 1, failureThreshold: 2}}"
HANGS = "echo >>/tmp/tried; trap : TERM; sleep 4321; sleep 4321; :"
HANGING = (
    f"{{exec: {{command: [sh, -c, '{HANGS}']}},"
    " periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}"
)
CHECKS = {
    "ready-http": f"readiness: {HTTP}",
    "ready-tcp": f"readiness: {TCP}",
    "ready-exec": f"readiness: {EXEC}",
    "live-http": f"liveness: {ALIVE}",
    "live-tcp": f"liveness: {SLOW}",
    "live-exec": f"liveness: {BY_PODMAN}",
    "both": f"readiness: {IS_READY}\n    liveness: {BY_PODMAN}",
    "last": f"liveness: {ALIVE}",
}


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply("".join(document(made, name, checks) for name, checks in CHECKS.items()))
        for name in CHECKS:
            until(made.node, told(name, "ready"))
        yield made


def document(kat: OneNode, name: str, checks: str) -> str:
    script = '"' + SERVE.strip().replace("\n", "\\n") + '"'
    policy = "Never" if name == "last" else "Always"
    return WORKLOAD.format(name=name, image=kat.image, policy=policy, script=script, checks=checks)


def told(name: str, state: str) -> str:
    """Return a command that succeeds if this is what the node says of the instance."""
    return f'grep -Eq \'"default/{name}/0-1"[^}}]*"state": ?"{state}"\' {RECORDS}'


def inside(kat: OneNode, name: str, script: str) -> None:
    kat.node.run(["podman", "exec", f"kat.default.{name}.0-1", "sh", "-c", script])


def shown(kat: OneNode, name: str, what: str) -> str:
    unit = f"kat.default.{name}.0-1.service"
    return kat.node.run(["systemctl", "show", "-P", what, unit]).stdout.strip()


@pytest.mark.parametrize("name", ["ready-http", "ready-tcp", "ready-exec"])
def test_readiness_goes_and_comes_and_restarts_nothing(kat: OneNode, name: str) -> None:
    before = shown(kat, name, "MainPID")
    inside(kat, name, "rm /tmp/ok")
    until(kat.node, told(name, "notready"))
    inside(kat, name, "touch /tmp/ok")
    until(kat.node, told(name, "ready"))
    assert shown(kat, name, "MainPID") == before


@pytest.mark.parametrize("name", ["live-http", "live-tcp", "live-exec"])
def test_what_is_not_alive_is_restarted_and_ready_again(kat: OneNode, name: str) -> None:
    before = shown(kat, name, "MainPID")
    inside(kat, name, "rm /tmp/ok")
    unit = f"kat.default.{name}.0-1.service"
    again = f'test "$(systemctl show -P MainPID {unit})" != {before}'
    until(kat.node, f"{again} && systemctl is-active {unit} && {told(name, 'ready')}")


def test_why_it_was_restarted_is_told_and_counted(kat: OneNode) -> None:
    kat.apply(document(kat, "told", f"liveness: {ALIVE}"))
    until(kat.node, told("told", "ready"))
    inside(kat, "told", "rm /tmp/ok")
    until(kat.node, "katcall get events | grep -q 'Killing.*workload/told'")
    until(kat.node, "katcall get instances | grep -Eq 'told/0-1 +(yes|no) +running +1 '")
    every = kat.ask("get", "events")["items"]
    why = "GET http://10.100.0.N:8080/ok: status 404"
    said = [(e["reason"], re.sub(r"0\.[0-9]+:8080", "0.N:8080", e["message"])) for e in every]
    assert ("Unhealthy", f"default/told/0-1: liveness probe failed: {why}") in said
    assert ("Killing", f"default/told/0-1: was not alive ({why}): restarted") in said


def test_readiness_by_command_is_apart_from_liveness_by_command(kat: OneNode) -> None:
    before = shown(kat, "both", "MainPID")
    inside(kat, "both", "rm /tmp/ready")
    until(kat.node, told("both", "notready"))
    assert shown(kat, "both", "MainPID") == before
    inside(kat, "both", "rm /tmp/ok")
    unit = "kat.default.both.0-1.service"
    until(kat.node, f'test "$(systemctl show -P MainPID {unit})" != {before}')
    until(kat.node, told("both", "ready"))


def test_what_is_never_started_again_stays_down(kat: OneNode) -> None:
    inside(kat, "last", "rm /tmp/ok")
    unit = "kat.default.last.0-1.service"
    until(kat.node, f"systemctl show -P ActiveState {unit} | grep -E 'inactive|failed'")
    until(kat.node, told("last", "notready"))


def test_why_a_command_failed_is_told_with_its_code(kat: OneNode) -> None:
    inside(kat, "ready-exec", "rm /tmp/ok")
    said = "readiness probe failed: test has ended with 1"
    until(kat.node, f"katcall get events | grep -q 'Unhealthy.*ready-exec.*{said}'")
    inside(kat, "ready-exec", "touch /tmp/ok")
    until(kat.node, told("ready-exec", "ready"))


def test_commands_that_hang_and_take_no_sigterm_do_not_add_up(kat: OneNode) -> None:
    kat.apply(document(kat, "hanging", f"readiness: {HANGING}"), "--no-wait")
    container = "kat.default.hanging.0-1"
    tried = f"podman exec {container} sh -c 'test $(wc -l </tmp/tried) -ge 4'"
    until(kat.node, tried)
    left = kat.node.run(["pgrep", "-fxc", "sleep 4321"], check=False).stdout.strip()
    assert int(left) <= 1
    sessions = ["podman", "inspect", "-f", "{{len .ExecIDs}}", container]
    assert int(kat.node.run(sessions).stdout) <= 1
    until(kat.node, "katcall get events | grep -q 'Unhealthy.*sh has not ended within 1 s'")
    kat.katcall("delete", "workload", "hanging")


def test_checks_by_command_leave_no_line_in_the_journal(kat: OneNode) -> None:
    said = kat.node.run(["journalctl", "--no-pager", "-g", "check-.*ready-exec"], check=False)
    assert said.stdout.splitlines() in ([], ["-- No entries --"])
