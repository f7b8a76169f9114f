"""What the lab does to nodes: the mishaps themselves, seen from within and from a neighbour."""

from collections.abc import Iterator

import pytest

from tests.lab import Node, RunError, cut, disk, hosts, power
from tests.lab.boot import boot
from tests.lab.images import BUSYBOX, import_busybox

BOOT_ID = "/proc/sys/kernel/random/boot_id"
UID_MAP = ["podman", "run", "--rm", "--network=none", "--uidmap=0:200000:65536", BUSYBOX]
AT_BOOT = b"""
[Container]
Image=localhost/bb:1
Pull=never
Network=none
UIDMap=0:200000:65536
GIDMap=0:200000:65536
Exec=cat /proc/self/uid_map
[Service]
Type=oneshot
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
[Quadlet]
DefaultDependencies=false
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Node, ...]]:
    with hosts("a", "b", disks={"/": "300M", "/etc": "8M", "/srv/small": "8M"}) as booted:
        import_busybox(booted[0])
        yield booted


@pytest.fixture
def node(pair: tuple[Node, ...]) -> Node:
    return pair[0]


@pytest.fixture
def other(pair: tuple[Node, ...]) -> Node:
    return pair[1]


def answers(node: Node, other: Node) -> bool:
    return node.run(["ping", "-c1", "-w3", other.address], check=False).code == 0


def boots(node: Node) -> str:
    return node.run(["cat", BOOT_ID]).stdout


def failed(node: Node) -> str:
    return node.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout


def test_a_reboot_keeps_files_and_images(node: Node) -> None:
    before = boots(node)
    node.run(["sh", "-c", "echo kept >/etc/kept; echo gone >/run/gone; echo kept >/srv/small/kept"])
    power.reboot(node)
    assert boots(node) != before
    assert node.run(["cat", "/etc/kept", "/srv/small/kept"]).stdout == "kept\nkept\n"
    assert node.run(["test", "-e", "/run/gone"], check=False).code == 1
    assert node.run([*UID_MAP, "echo", "ran"]).stdout == "ran\n"
    assert failed(node) == ""


def test_a_container_with_a_user_namespace_starts_with_the_host(node: Node) -> None:
    node.put("/etc/containers/systemd/early.container", AT_BOOT)
    power.reboot(node)
    assert "0     200000      65536" in node.journal("early.service")
    node.run(["rm", "/etc/containers/systemd/early.container"])


def test_a_crash_runs_nothing_to_its_end_and_keeps_files(node: Node) -> None:
    node.run(["sh", "-c", "echo kept >/etc/kept"])
    node.run(["systemd-run", "-q", "-p", "ExecStop=touch /etc/orderly", "sleep", "infinity"])
    power.crash(node)
    with pytest.raises(RuntimeError, match="node a is off"):
        node.run(["true"])
    boot(node)
    assert node.run(["cat", "/etc/kept"]).stdout == "kept\n"
    assert node.run(["test", "-e", "/etc/orderly"], check=False).code == 1
    assert failed(node) == ""


def test_a_frozen_node_does_nothing_until_it_thaws(node: Node, other: Node) -> None:
    node.run(["systemd-run", "-q", "--unit=web", "python3", "-m", "http.server", "9"])
    node.run(["sh", "-c", "until nc -z 127.0.0.1 9; do sleep 0.05; done"])
    ask = ["curl", "-sSf", "-m", "2", "-o", "/dev/null", f"http://{node.address}:9/"]
    power.freeze(node)
    with pytest.raises(RunError, match="timed out"):
        other.run(ask)
    power.thaw(node)
    other.run(ask)
    node.run(["systemctl", "stop", "web"])


def test_a_partition_is_between_two_nodes_only_and_no_link_goes_down() -> None:
    with hosts("a", "b", "c") as (a, b, c):
        cut.partition(a, b)
        assert [answers(a, b), answers(b, a)] == [False, False]
        assert [answers(a, c), answers(c, b)] == [True, True]
        assert a.run(["cat", "/sys/class/net/host0/carrier"]).stdout == "1\n"
        cut.heal(a)
        cut.isolate(c)
        assert [answers(a, b), answers(a, c), answers(c, b)] == [True, False, False]
        cut.heal(a)
        assert answers(c, b)


@pytest.mark.parametrize("path", ["/etc", "/srv/small", "/var/lib"])
def test_a_full_disk_takes_no_byte_until_it_is_released(node: Node, path: str) -> None:
    write = ["sh", "-c", f"echo x >{path}/written"]
    disk.fill_disk(node, path)
    with pytest.raises(RunError):
        node.run(write)
    disk.release(node, path)
    node.run(write)


def test_a_disk_that_all_tests_share_is_not_filled() -> None:
    with hosts("a") as (node,), pytest.raises(RunError, match=r"hosts\(disks="):
        disk.fill_disk(node, "/etc")


def test_read_only_holds_for_running_units_with_mounts_of_their_own(node: Node) -> None:
    own = ["-p", "ProtectSystem=strict", "-p", "ReadWritePaths=/etc"]
    node.run(["systemd-run", "-q", "--unit=own", *own, "sleep", "infinity"])
    pid = node.run(["systemctl", "show", "-P", "MainPID", "own"]).stdout.strip()
    within = ["nsenter", "--mount", "-t", pid, "touch", "/etc/written"]
    new = ["systemd-run", "-q", "--wait", "touch", "/etc/written"]
    disk.read_only(node, "/etc")
    for write in (["touch", "/etc/written"], within, new):
        assert node.run(write, check=False).code != 0
    disk.writable(node, "/etc")
    for write in (["touch", "/etc/written"], within, new):
        node.run(write)
    node.run(["systemctl", "stop", "own"])
