"""kat-dns beside knot, nsd and unbound: `python -m tests.bench.dns_bench`, as root.

All serve the same 10,000 names on the loopback of a network of their own, one process or thread
each, and Debian's dnsperf asks from the same two cores. Rounds alternate between the servers.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from re import search

from tests.environment import CACHE, REPOSITORY, rootfs_path
from tests.lab.resolving import ask

WORKLOADS = 2_500
ROUNDS = 3
SECONDS = 5
READY_S = 20
DOMAIN = "kat.cluster.local"
ZONE = f"big.{DOMAIN}"
# The private mounts end with this process; nothing is written to the root file system.
INSIDE = """
mount -t proc proc /proc; mount --bind "$1" "$2/mnt"; mkdir "$1/kat"
mount --bind "$3" "$2/mnt/kat"; mount -t tmpfs tmp "$2/run"; mount --rbind /dev "$2/dev"
ip link set lo up; shift 3; exec "$@"
"""
NSD = f"""\
server:
  server-count: 1
  ip-address: 127.0.0.1@53
  username: ""
  zonesdir: /mnt
  pidfile: ""
  xfrdfile: /run/xfrd
  zonelistfile: /run/zones
remote-control:
  control-enable: no
zone:
  name: {ZONE}
  zonefile: {ZONE}.zone
"""
KNOT = f"""\
server:
  listen: 127.0.0.1@53
  rundir: /run
  udp-workers: 1
  background-workers: 1
database:
  storage: /run
zone:
  - domain: {ZONE}
    file: /mnt/{ZONE}.zone
    zonefile-sync: -1
"""
UNBOUND = f"""\
server:
  interface: 127.0.0.1
  num-threads: 1
  username: ""
  chroot: ""
  directory: /run
  pidfile: ""
  do-daemonize: no
  use-syslog: no
  module-config: iterator
  local-zone: "{ZONE}." static
  include: /mnt/data.conf
remote-control:
  control-enable: no
"""
SETTINGS = {
    "format": 1,
    "domain": DOMAIN,
    "address": "127.0.0.1",
    "clusterCIDR": "127.0.0.0/8",
    "serviceCIDR": "10.101.0.0/16",
    "upstreams": [],
}
RUN_KAT = "from agent.dns.main import main; main()"
SERVERS: dict[str, Sequence[str]] = {
    "kat-dns": ("python3", "-c", RUN_KAT, "--root", "/mnt/root", "--listen", "127.0.0.1:53"),
    "knot": ("knotd", "-c", "/mnt/knot.conf"),
    "nsd": ("nsd", "-d", "-c", "/mnt/nsd.conf"),
    "unbound": ("unbound", "-d", "-c", "/mnt/unbound.conf"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What dnsperf saw in one round."""

    per_second: float
    latency_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Row:
    """One server: its round at full load, at 1,000/s, and what it took.

    `per_cpu_s` are the questions that it answers in a second of its own, whatever else runs.
    """

    full: Load
    per_cpu_s: float
    calm: Load
    pss_mib: float
    start_s: float


def main() -> int:
    """Measure and print the table; `inside` is what this runs in the network of its own."""
    if sys.argv[1:2] == ["inside"]:
        sys.stdout.write("".join(_lines(Path(sys.argv[2]))))
        return 0
    for line in page():
        sys.stdout.write(line)
    return 0


def page() -> Iterator[str]:
    """Yield the section of docs/figures.md, a piece at a time."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        _write(Path(scratch))
        script = ["sh", "-ec", INSIDE, "sh", scratch, str(rootfs_path()), str(REPOSITORY)]
        own = [sys.executable, "-m", "tests.bench.dns_bench", "inside", scratch]
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        done = subprocess.run([*unshare, *script, *own], check=True, stdout=subprocess.PIPE)
        yield done.stdout.decode()


def _write(scratch: Path) -> None:
    """Write zone, questions and everybody's settings."""
    scratch.chmod(0o755)
    lines = [
        f"{ZONE}. 30 IN SOA {DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 5",
        f"{ZONE}. 30 IN NS {DOMAIN}.",
        *_records(),
    ]
    files = {
        f"{ZONE}.zone": "\n".join((*lines, "")),
        f"root/var/lib/kat/dns/{ZONE}.zone": "\n".join((*lines, "")),
        "root/etc/kat/dns.json": json.dumps(SETTINGS),
        "questions": "".join(f"{line.split()[0]} A\n" for line in lines[2:]),
        "data.conf": "".join(f'local-data: "{line}"\n' for line in lines[2:]),
        "nsd.conf": NSD,
        "knot.conf": KNOT,
        "unbound.conf": UNBOUND,
    }
    for name, text in files.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def _records() -> Iterator[str]:
    for number in range(WORKLOADS):
        host = f"w{number}.{ZONE}."
        at = f"10.100.{number // 250}.{number % 250}"
        yield f"{host} 30 IN A 10.101.{number // 250}.{number % 250}"
        yield f"vip.{host} 30 IN A 10.101.{number // 250}.{number % 250}"
        yield from (f"{name}.{host} 5 IN A {at}" for name in ("ep", "0"))


def _lines(scratch: Path) -> Iterator[str]:
    rows, visible = _measured(scratch)
    nsd = rows["nsd"].full.per_second
    yield (
        f"\n## Names\n\n{WORKLOADS * 4:,} names, one process or thread each, dnsperf on the same "
        f"machine; the median of {ROUNDS} rounds of {SECONDS} s.\n\n"
        "| server | queries/s | of NSD's | per second of CPU | latency | at 1,000/s | lost "
        "| memory (PSS) | start |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    for name, row in rows.items():
        yield (
            f"| {name} | {row.full.per_second:,.0f} | {row.full.per_second / nsd:.2f} "
            f"| {row.per_cpu_s:,.0f} | {row.full.latency_ms:.2f} ms "
            f"| {row.calm.latency_ms:.2f} ms | {row.full.lost} "
            f"| {row.pss_mib:.0f} MiB | {row.start_s:.2f} s |\n"
        )
    yield f"\nA changed endpoint state is in the answers after {visible:.1f} ms (target 50 ms).\n"


def _measured(scratch: Path) -> tuple[dict[str, Row], float]:
    found: dict[str, list[Row]] = {name: [] for name in SERVERS}
    visible: list[float] = []
    for _ in range(ROUNDS):
        for name, argv in SERVERS.items():
            with _running(argv) as (process, start_s):
                before = _cpu_s(process.pid)
                full = _load()
                per_cpu_s = full.per_second * SECONDS / (_cpu_s(process.pid) - before)
                calm = _load("-Q", "1000")
                row = Row(full, per_cpu_s, calm, _pss_mib(process.pid), start_s)
                found[name].append(row)
                if name == "kat-dns":
                    visible.append(_visible_ms(scratch, process))
    middle: Callable[[Row], float] = lambda row: row.full.per_second  # noqa: E731 -- a key
    return (
        {name: sorted(rows, key=middle)[ROUNDS // 2] for name, rows in found.items()},
        statistics.median(visible),
    )


@contextmanager
def _running(argv: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Start a server and wait for its first answer."""
    command = ["chroot", str(rootfs_path()), "env", "PYTHONPATH=/mnt/kat", *argv]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            with _client() as channel:
                while not _answer(channel, f"w1.{ZONE}"):
                    if time.monotonic() - began > READY_S:
                        raise TimeoutError(f"{argv[0]} does not answer")
            yield child, time.monotonic() - began
        finally:
            child.terminate()
            child.wait(READY_S)


def _client() -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.connect(("127.0.0.1", 53))
    channel.settimeout(0.05)
    return channel


def _answer(channel: socket.socket, name: str) -> bytes | None:
    try:
        return ask(channel, name, 1)
    except ConnectionRefusedError:
        time.sleep(0.01)
        return None


def _load(*options: str) -> Load:
    argv = ["dnsperf", "-s", "127.0.0.1", "-d", "/mnt/questions", "-l", str(SECONDS), *options]
    command = ["chroot", str(rootfs_path()), *argv]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = [
        search(pattern, said)
        for pattern in (r"Queries per second:\s+([\d.]+)", r"Average Latency \(s\):\s+([\d.]+)")
    ]
    lost = search(r"Queries lost:\s+(\d+)", said)
    per_second, latency = (float(one[1]) if one else 0.0 for one in figures)
    return Load(per_second, latency * 1000, int(lost[1]) if lost else -1)


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process and all below it have used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(_cpu_s, _children(pid)))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return list(map(int, text.split()))


def _pss_mib(pid: int) -> float:
    """Return the memory of a process and all below it."""
    own = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = search(r"\nPss:\s+(\d+) kB", own)
    return (int(found[1]) / 1024 if found else 0) + sum(map(_pss_mib, _children(pid)))


def _visible_ms(scratch: Path, process: subprocess.Popen[bytes]) -> float:
    """Return how long it takes until a state on disk is answered, after a word to the process.

    Without systemd there is no datagram; a reload has it look at all files, which takes longer.
    """
    state = scratch / "root/run/kat/endpoints/big.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    name = f"ep.w7.{ZONE}"
    with _client() as channel:
        began = time.monotonic()
        new = state.with_suffix(".new")
        new.write_text('{"format":1,"withdrawn":{"w7":["10.100.0.7"]}}', encoding="ascii")
        new.rename(state)
        os.kill(process.pid, 1)
        while (answer := _answer(channel, name)) is None or answer[5]:
            if time.monotonic() - began > READY_S:
                raise TimeoutError("the change is not answered")
        took_ms = (time.monotonic() - began) * 1000
    state.unlink()
    return took_ms


if __name__ == "__main__":
    sys.exit(main())
