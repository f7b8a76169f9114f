"""From `kat-agent init` to a service that answers, and back to nothing, on a real host."""

import re
from collections.abc import Iterator

import pytest

from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node

LEFT = ("/etc/containers/systemd/kat", "/run/systemd/system", "/etc/systemd/system")
BOTH = {"web-0", "web-1"}
TRIES = 32
"""Two copies, each missed with probability 2^-32."""


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply(made.web(replicas=2))
        yield made


def test_init_prints_the_recovery_kit_and_what_to_do_next(kat: OneNode) -> None:
    assert "katcall apply" in kat.said
    assert re.search(r"recovery", kat.said, re.IGNORECASE)


def test_init_leaves_nothing_failed(kat: OneNode) -> None:
    listed = kat.node.run(["systemctl", "--failed", "--plain", "--no-legend"])
    assert listed.stdout == ""


def test_every_copy_runs_under_systemd(kat: OneNode) -> None:
    units = [f"{name}.service" for name in kat.pids()]
    assert len(units) == 2
    active = kat.node.run(["systemctl", "is-active", *units]).stdout.split()
    assert active == ["active", "active"]


def test_the_host_reaches_every_copy_through_the_virtual_address(kat: OneNode) -> None:
    assert kat.fetch(f"http://{VIRTUAL_ADDRESS}/", tries=TRIES) == BOTH


def test_a_copy_reaches_the_other_and_itself_through_it(kat: OneNode) -> None:
    for name in kat.pids():
        assert kat.fetch(f"http://{VIRTUAL_ADDRESS}/", inside=name, tries=TRIES) == BOTH


def test_each_copy_answers_on_its_own_address(kat: OneNode) -> None:
    instances = kat.ask("get", "instances")["items"]
    answers = {one for i in instances for one in kat.fetch(f"http://{i['address']}:8080/")}
    assert answers == BOTH


def test_systemctl_shows_what_kat_wrote(kat: OneNode) -> None:
    unit = f"{min(kat.pids())}.service"
    text = kat.node.run(["systemctl", "cat", unit]).stdout
    assert "SourcePath=/etc/containers/systemd/kat/" in text
    tree = kat.node.run(["systemctl", "list-dependencies", "--plain", "kat.target"]).stdout
    assert unit in tree


def test_the_journal_has_what_a_copy_said(kat: OneNode) -> None:
    kat.apply(WORDS.format(image=kat.image))
    (name,) = (one for one in kat.pids() if one.startswith("kat.default.words."))
    assert "one small word" in kat.node.journal(f"{name}.service")
    assert "one small word" in kat.katcall("logs", "words").stdout
    kat.katcall("delete", "workload", "words")


def test_no_unit_wants_a_daemon_reload(kat: OneNode) -> None:
    shown = kat.node.run(["systemctl", "show", "-p", "Id,NeedDaemonReload", "kat*", "kat.target"])
    assert "NeedDaemonReload=yes" not in shown.stdout
    assert "NeedDaemonReload=no" in shown.stdout


def test_delete_leaves_nothing_behind(kat: OneNode) -> None:
    gone = "gone"
    before = leftovers(kat, gone)
    kat.apply(kat.web(name=gone, namespace=gone, replicas=2))
    assert leftovers(kat, gone) != before
    kat.katcall("delete", "workload", gone, "-n", gone)
    assert leftovers(kat, gone) == before


def leftovers(kat: OneNode, namespace: str) -> dict[str, str]:
    """Return everything on the node in which a namespace's instances leave a trace."""
    script = f"grep -rl 'kat[.-]{namespace}' {' '.join(LEFT)} /etc/kat /var/lib/kat/dns"
    commands = {
        "files": ["sh", "-c", f"find {' '.join(LEFT)} -name '*{namespace}*'; {script}"],
        "units": [
            "systemctl",
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            f"kat*{namespace}*",
        ],
        "containers": ["podman", "ps", "-a", "--format", "{{.Names}}"],
        "links": ["sh", "-c", "ls /sys/class/net | grep '^kat-0a'"],
        "rules": ["sh", "-c", "nft list tables; nft list ruleset | grep -c ."],
        "volumes": ["sh", "-c", "find /var/lib/kat/volumes -mindepth 1"],
    }
    return {what: kat.node.run(argv, check=False).stdout for what, argv in commands.items()}


WORDS = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: words}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ['echo one small word; exec sleep infinity']
    stopTimeoutSeconds: 1
"""
