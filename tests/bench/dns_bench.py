"""kat-dns beside knot, nsd and unbound: `python -m tests.bench.dns_bench`, as root.

All serve the same 10,000 names on the loopback of a network of their own, one process or thread
each, and Debian's dnsperf asks from the same two cores. Rounds alternate between the servers.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from re import findall, search, sub

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
PAGE = """
## Names

`python -m tests.bench.dns_bench`: {names} names, one process or thread each. dnsperf asks from the
same two cores; the median of {rounds} rounds of {seconds} s. The load of the machine was {load:.1f}
before.

| server | queries/s | in a second of its CPU | of knot's | p50, p99 | at 1,000/s: p50, p99 \
| lost | a change is visible after | memory (PSS) | start |
|---|{columns}
"""
RUN_KAT = "from agent.dns.main import main; main()"
SERVERS: dict[str, Sequence[str]] = {
    "kat-dns": ("python3", "-c", RUN_KAT, "--root", "/mnt/root", "--listen", "127.0.0.1:53"),
    "knot": ("knotd", "-c", "/mnt/knot.conf"),
    "nsd": ("nsd", "-d", "-c", "/mnt/nsd.conf"),
    "unbound": ("unbound", "-d", "-c", "/mnt/unbound.conf"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What dnsperf saw in one round; within `late_ms` came 99 % of the answers."""

    per_second: float
    middle_ms: float
    late_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Row:
    """One server: its round at full load, at 1,000/s, and what it took.

    `per_cpu_s` are the questions that it answers in a second of its own, whatever else runs.
    """

    full: Load
    per_cpu_s: float
    calm: Load
    visible_ms: float
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
    serial = time.monotonic_ns() // 10**8
    lines = [
        f"{ZONE}. 30 IN SOA {DOMAIN}. hostmaster.{DOMAIN}. {serial} 3600 600 86400 5",
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
    load = os.getloadavg()[0]
    rows = _measured(scratch)
    knot = rows["knot"].per_cpu_s
    yield PAGE.format(
        names=f"{WORKLOADS * 4:,}", rounds=ROUNDS, seconds=SECONDS, load=load, columns="---:|" * 9
    )
    for name, row in rows.items():
        yield (
            f"| {name} | {row.full.per_second:,.0f} | {row.per_cpu_s:,.0f} "
            f"| {row.per_cpu_s / knot:.2f} | {row.full.middle_ms:.2f}, {row.full.late_ms:.2f} ms "
            f"| {row.calm.middle_ms:.2f}, {row.calm.late_ms:.2f} ms | {row.full.lost} "
            f"| {row.visible_ms:.1f} ms | {row.pss_mib:.0f} MiB | {row.start_s:.2f} s |\n"
        )


def _measured(scratch: Path) -> dict[str, Row]:
    found: dict[str, list[Row]] = {name: [] for name in SERVERS}
    for _ in range(ROUNDS):
        for name, argv in SERVERS.items():
            with _running(argv) as (process, start_s):
                before = _cpu_s(process.pid)
                full = _load()
                per_cpu_s = full.per_second * SECONDS / (_cpu_s(process.pid) - before)
                calm = _load("-Q", "1000")
                visible_ms = _visible_ms(scratch, name, process)
                pss_mib = _pss_mib(process.pid)
                found[name].append(Row(full, per_cpu_s, calm, visible_ms, pss_mib, start_s))
    middle: Callable[[Row], float] = lambda row: row.full.per_second  # noqa: E731 -- a key
    return {name: sorted(rows, key=middle)[ROUNDS // 2] for name, rows in found.items()}


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
    argv = ["dnsperf", "-s", "127.0.0.1", "-d", "/mnt/questions", "-l", str(SECONDS)]
    command = ["chroot", str(rootfs_path()), *argv, "-O", "latency-histogram", *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    per_second = search(r"Queries per second:\s+([\d.]+)", said)
    lost = search(r"Queries lost:\s+(\d+)", said)
    if per_second is None or lost is None:
        raise ValueError(f"dnsperf says {said}")
    parts = [(float(end), int(count)) for end, count in findall(r"- ([\d.]+):\s+(\d+)", said)]
    return Load(float(per_second[1]), _late_ms(parts, 0.5), _late_ms(parts, 0.99), int(lost[1]))


def _late_ms(parts: Sequence[tuple[float, int]], part: float) -> float:
    """Return within which time this part of the answers came."""
    left = part * sum(count for _, count in parts)
    for end, count in parts:
        left -= count
        if left <= 0:
            return end * 1000
    raise ValueError("no answer came")


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


def _visible_ms(scratch: Path, server: str, process: subprocess.Popen[bytes]) -> float:
    """Return how long it takes until what was changed on disk is answered.

    kat-dns is given an endpoint state, as the agent does, and the others the whole zone anew. All
    are told by SIGHUP; the agent's datagram has kat-dns look at less.
    """
    path, text = _changed(scratch, server)
    with _client() as channel:
        before = _answer(channel, f"ep.w7.{ZONE}")
        began = time.monotonic()
        new = path.with_suffix(".new")
        new.write_text(text, encoding="ascii")
        new.rename(path)
        os.kill(process.pid, signal.SIGHUP)
        while (answer := _answer(channel, f"ep.w7.{ZONE}")) is None or answer == before:
            if time.monotonic() - began > READY_S:
                raise TimeoutError("the change is not answered")
        took_ms = (time.monotonic() - began) * 1000
    path.unlink()
    _write(scratch)
    return took_ms


def _changed(scratch: Path, server: str) -> tuple[Path, str]:
    """Return the file of a server in which an address changes, and its new text."""
    if server == "kat-dns":
        path = scratch / "root/run/kat/endpoints/big.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path, '{"format":1,"withdrawn":{"w7":["10.100.0.7"]}}'
    path = scratch / ("data.conf" if server == "unbound" else f"{ZONE}.zone")
    record = f"ep.w7.{ZONE}. 5 IN A 10.100.0"
    text = path.read_text(encoding="ascii").replace(f"{record}.7", f"{record}.77")
    return path, sub(r"\d+ 3600", f"{time.monotonic_ns() // 10**8} 3600", text)


if __name__ == "__main__":
    sys.exit(main())
