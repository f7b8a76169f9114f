"""One nspawn host: boot it, run commands on it, put files on it."""

import hashlib
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.archive import tar
from tests.lab.enclosure import SCRATCH, Enclosure
from tests.lab.process import RUN_S, Ran, finish, wait_ready

BOOT_S = 60
WAIT_ONLINE = "/usr/lib/systemd/systemd-networkd-wait-online"
NO_PIDS = b"# cgroup v1 outside: no pids controller in here\n[containers]\npids_limit=0\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Node:
    """A running host: its underlay address, and its PID 1 (`leader`) as the enclosure sees it."""

    name: str
    address: str
    leader: int
    enclosure: Enclosure

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` on this node, as root."""
        enter = ["nsenter", "-t", str(self.leader), "--all", "--root", "--wd", "--"]
        return self.enclosure.command([*enter, "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", *argv])

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = RUN_S,
    ) -> Ran:
        """Run a command and wait for it. RunError if it fails, unless `check` is off."""
        ran = finish(self.command(argv), stdin, timeout_s)
        return ran.checked([f"{self.name}:", *argv]) if check else ran

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write one file, with the directories above it."""
        self.put_tree({path: content}, mode)

    def put_tree(self, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write files by absolute path, in one go."""
        self.run(["tar", "-x", "-C", "/"], stdin=tar(files, mode))

    def journal(self, unit: str) -> str:
        """Return what a unit has logged, messages only."""
        return self.run(["journalctl", "-o", "cat", "--no-pager", "-u", unit]).stdout


@dataclass(frozen=True, slots=True)
class Booting:
    """A node that has been started and may not be up yet."""

    name: str
    address: str
    enclosure: Enclosure
    nspawn: subprocess.Popen[bytes]
    notify: socket.socket


def start(
    enclosure: Enclosure,
    name: str,
    address: str,
    groups: Sequence[Path],
    files: Mapping[str, bytes],
) -> Booting:
    """Start a node whose root is mounted on `<SCRATCH>/<name>/root`."""
    enclosure.unpack(f"{SCRATCH}/{name}/root", {**_settings(name, address), **files})
    ready = f"{SCRATCH}/{name}/notify"
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(enclosure.outside(ready)))
    with _console(enclosure, name).open("wb") as log:
        nspawn = enclosure.start(_nspawn(name, groups, ready), log)
    return Booting(name, address, enclosure, nspawn, notify)


def wait_until_up(booting: Booting) -> Node:
    """Return the node once systemd says that it is up. RuntimeError with its console if never."""
    with booting.notify:
        try:
            said = wait_ready(booting.notify, booting.nspawn, BOOT_S)
        except TimeoutError as err:
            console = _console(booting.enclosure, booting.name).read_text(errors="replace")
            raise RuntimeError(f"node {booting.name} does not boot:\n{console[-4000:]}") from err
    leader = int(said.partition("X_NSPAWN_LEADER_PID=")[2].split()[0])
    node = Node(booting.name, booting.address, leader, booting.enclosure)
    node.run([WAIT_ONLINE, "--interface=host0", f"--timeout={BOOT_S}"])
    # Podman with a user namespace fails while anything is mounted below /sys/kernel.
    node.run(["umount", "-R", "/sys/kernel"], check=False)
    if "pids" not in node.run(["cat", "/sys/fs/cgroup/cgroup.controllers"]).stdout.split():
        node.put("/etc/containers/containers.conf.d/50-no-pids.conf", NO_PIDS)
    return node


def _console(enclosure: Enclosure, name: str) -> Path:
    return enclosure.outside(f"{SCRATCH}/{name}/console")


def _settings(name: str, address: str) -> dict[str, bytes]:
    """Return the files that make a copy of the root file system this node."""
    machine = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    network = f"[Match]\nName=host0\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\n"
    wanted = "[Unit]\nWants=systemd-networkd.service\n"
    return {
        "/etc/hostname": f"{name}\n".encode(),
        "/etc/machine-id": f"{machine}\n".encode(),
        "/etc/systemd/network/10-host0.network": network.encode(),
        "/etc/systemd/system/multi-user.target.d/lab.conf": wanted.encode(),
    }


def _nspawn(name: str, groups: Sequence[Path], ready: str) -> list[str]:
    """Return nspawn's command line, in a shell that first moves into the node's cgroups."""
    own = [group / name for group in groups]
    for group in own:
        group.mkdir()
    join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in own)
    nspawn = f"""
        exec systemd-nspawn -D {SCRATCH}/{name}/root --boot -M {name} --network-bridge=br0
        --register=no --keep-unit --capability=all --system-call-filter='bpf keyctl'
        --notify-ready=yes --console=pipe --bind={SCRATCH}/{name}/containers:/var/lib/containers
    """
    settings = [
        f"NOTIFY_SOCKET={ready}",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1",
    ]
    return ["env", *settings, "sh", "-c", join + " ".join(nspawn.split())]
