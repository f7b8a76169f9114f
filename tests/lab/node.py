"""One nspawn host: boot it, run commands on it, put files on it."""

import hashlib
import io
import re
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.enclosure import SCRATCH, Enclosure

BOOT_S = 60
RUN_S = 60
NO_PIDS = b"# cgroup v1 outside: no pids controller in here\n[containers]\npids_limit=0\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class RunError(AssertionError):
    """A command on a node failed; its text is in the message."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Node:
    """A running host: its underlay address, and its PID 1 (`leader`) as the enclosure sees it."""

    name: str
    address: str
    leader: int
    enclosure: Enclosure

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` on this node, as root."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
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
        done = subprocess.run(
            self.command(argv), input=stdin, capture_output=True, check=False, timeout=timeout_s
        )
        ran = Ran(done.returncode, _text(done.stdout), _text(done.stderr))
        if check and ran.code != 0:
            raise RunError(
                f"{self.name}: {' '.join(argv)}: exit {ran.code}\n{ran.stdout}{ran.stderr}"
            )
        return ran

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write one file, with the directories above it."""
        self.put_tree({path: content}, mode)

    def put_tree(self, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write files by absolute path, in one go."""
        self.run(["tar", "-x", "-C", "/"], stdin=_tar(files, mode))

    def journal(self, unit: str) -> str:
        """Return what a unit has logged, messages only."""
        return self.run(["journalctl", "-o", "cat", "--no-pager", "-u", unit]).stdout


def boot(
    enclosure: Enclosure,
    name: str,
    address: str,
    groups: Sequence[Path],
    files: Mapping[str, bytes],
) -> Node:
    """Boot a node whose root is mounted on `<SCRATCH>/<name>/root`, and wait until it is up."""
    root = f"{SCRATCH}/{name}/root"
    seed = _tar({**_settings(name, address), **files}, 0o644)
    enclosure.run(["chroot", root, "tar", "-x", "-C", "/"], stdin=seed)
    with tempfile.TemporaryDirectory(prefix="kat-lab-") as folder:
        leader = _start_nspawn(enclosure, name, groups, Path(folder))
    node = Node(name, address, leader, enclosure)
    # Podman with a user namespace fails while anything is mounted below /sys/kernel.
    node.run(["umount", "-R", "/sys/kernel"], check=False)
    if "pids" not in node.run(["cat", "/sys/fs/cgroup/cgroup.controllers"]).stdout.split():
        node.put("/etc/containers/containers.conf.d/50-no-pids.conf", NO_PIDS)
    return node


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


def _start_nspawn(enclosure: Enclosure, name: str, groups: Sequence[Path], folder: Path) -> int:
    """Start nspawn and return its PID 1. RuntimeError with the console if it does not boot."""
    console = folder / "console"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, console.open("wb") as log:
        notify.bind(str(folder / "notify"))
        child = enclosure.start(_nspawn(name, groups, folder / "notify"), log)
        try:
            return _wait_until_up(notify, child)
        except TimeoutError as err:
            text = console.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"node {name} does not boot:\n{text}") from err


def _nspawn(name: str, groups: Sequence[Path], notify: Path) -> list[str]:
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
        f"NOTIFY_SOCKET={notify}",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1",
    ]
    return ["env", *settings, "sh", "-c", join + " ".join(nspawn.split())]


def _wait_until_up(notify: socket.socket, child: "subprocess.Popen[bytes]") -> int:
    """Return the leader's pid once the node says READY=1, sd_notify(3).

    TimeoutError if nspawn ends or takes too long.
    """
    leader = 0
    deadline = time.monotonic() + BOOT_S
    notify.settimeout(1)
    while time.monotonic() < deadline and child.poll() is None:
        try:
            message = notify.recv(4096).decode(errors="replace")
        except TimeoutError:
            continue
        if found := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", message, re.MULTILINE):
            leader = int(found[1])
        if "READY=1" in message.splitlines():
            return leader
    raise TimeoutError


def _tar(files: Mapping[str, bytes], mode: int) -> bytes:
    """Return files by absolute path as a tar archive owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
