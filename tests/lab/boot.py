"""Make a node of a root file system, and boot it."""

import contextlib
import hashlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import cgroups
from tests.lab.enclosure import Enclosure
from tests.lab.node import Node
from tests.lab.process import wait_ready

BOOT_S = 60
WAIT_ONLINE = "/usr/lib/systemd/systemd-networkd-wait-online"
NO_PIDS = b"# cgroup v1 outside: no pids controller in here\n[containers]\npids_limit=0\n"
# Podman with a user namespace fails while anything is mounted below /sys/kernel, and containers
# may start with the host.
CLEAR_SYS = b"""
[Unit]
Description=Nothing is mounted below /sys/kernel, so that containers have user namespaces
DefaultDependencies=no
Before=sysinit.target sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
[Service]
Type=oneshot
ExecStart=umount -R /sys/kernel
"""


def make(
    enclosure: Enclosure, number: int, name: str, groups: Sequence[Path], disks: Mapping[str, str]
) -> Node:
    """Mount what a node consists of, and return it, switched off.

    `disks` are the file systems of a limited size, by path; `/` is all that is below no other.
    """
    own = tuple(group / name for group in groups)
    node = Node(name, f"192.0.2.{number}", enclosure, own)
    root = enclosure.mount_root(name, disks.get("/", ""))
    # Podman's overlay driver accepts no overlay below it.
    bind = 'mkdir -p "$1" "$2" && mount --bind "$1" "$2"'
    containers = [f"{node.home}/containers", f"{root}/var/lib/containers"]
    enclosure.run(["sh", "-c", bind, "sh", *containers])
    for path in sorted(disks.keys() - {"/"}):
        enclosure.mount_disk(name, path, disks[path])
    enclosure.unpack(root, _settings(node))
    return node


def boot(*nodes: Node) -> None:
    """Boot nodes that are off, all at once; return when all are up.

    RuntimeError with the console of one that does not boot.
    """
    with contextlib.ExitStack() as open_sockets:
        booting = [(node, open_sockets.enter_context(_start(node))) for node in nodes]
        for node, notify in booting:
            _wait_until_up(node, notify)


def _start(node: Node) -> socket.socket:
    """Start a node; return where it will say that it is up."""
    for group in node.groups:
        cgroups.remove(group)
        group.mkdir(exist_ok=True)
    # A killed node's link ends some time after it.
    clear = f"rm -f {node.home}/notify; ip link delete {node.port} 2>/dev/null || true"
    node.enclosure.run(["sh", "-c", clear])
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(node.enclosure.outside(f"{node.home}/notify")))
    with _console(node).open("ab") as log:
        node.nspawn = node.enclosure.start(_command(node), log)
    return notify


def _wait_until_up(node: Node, notify: socket.socket) -> None:
    assert node.nspawn is not None
    try:
        said = wait_ready(notify, node.nspawn, BOOT_S)
    except TimeoutError as err:
        console = _console(node).read_text(errors="replace")
        raise RuntimeError(f"node {node.name} does not boot:\n{console[-4000:]}") from err
    node.leader = int(said.partition("X_NSPAWN_LEADER_PID=")[2].split()[0])
    node.run([WAIT_ONLINE, "--interface=host0", f"--timeout={BOOT_S}"])


def _console(node: Node) -> Path:
    return node.enclosure.outside(f"{node.home}/console")


def _settings(node: Node) -> dict[str, bytes]:
    """Return the files that make a copy of the root file system this node."""
    machine = hashlib.md5(node.name.encode(), usedforsecurity=False).hexdigest()
    network = f"[Match]\nName=host0\n[Network]\nAddress={node.address}/24\nLinkLocalAddressing=no\n"
    wanted = "[Unit]\nWants=systemd-networkd.service\n"
    files = {
        "/etc/hostname": f"{node.name}\n".encode(),
        "/etc/machine-id": f"{machine}\n".encode(),
        "/etc/systemd/network/10-host0.network": network.encode(),
        "/etc/systemd/system/lab-sys.service": CLEAR_SYS,
        "/etc/systemd/system/sysinit.target.d/lab.conf": b"[Unit]\nWants=lab-sys.service\n",
        "/etc/systemd/system/multi-user.target.d/lab.conf": wanted.encode(),
    }
    if not cgroups.has_controller("pids"):
        files["/etc/containers/containers.conf.d/50-no-pids.conf"] = NO_PIDS
    return files


def _command(node: Node) -> list[str]:
    """Return nspawn's command line, in a shell that first moves into the node's cgroups."""
    join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in node.groups)
    nspawn = f"""
        exec systemd-nspawn -D {node.home}/root --boot -M {node.name} --network-bridge=br0
        --register=no --keep-unit --capability=all --system-call-filter='bpf keyctl'
        --notify-ready=yes --console=pipe
    """
    settings = [
        f"NOTIFY_SOCKET={node.home}/notify",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1",
    ]
    return ["env", *settings, "sh", "-c", join + " ".join(nspawn.split())]
