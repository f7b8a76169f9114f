"""Run on a node by its own Python: what the processes of units use. Prints JSON.

Bytes are MiB. CPU seconds have those of children that ended; so they are whole as long as who
begets children stays.
"""

import json
import os
import sys
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1024


def used(unit: str) -> dict[str, float]:
    group = Path(f"/sys/fs/cgroup/system.slice/{unit}.service")
    pids = [pid for one in group.rglob("cgroup.procs") for pid in one.read_text().split()]
    found = {"processes": float(len(pids)), "cpu": 0.0, "pss": 0.0, "rss": 0.0}
    for pid in pids:
        folder = Path("/proc", pid)
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        found["cpu"] += sum(map(int, stat[11:15])) * TICK_S
        for line in (folder / "smaps_rollup").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.lower() in {"pss", "rss"}:
                found[key.lower()] += int(value.split()[0]) / MIB
    return found


def main() -> None:
    sys.stdout.write(json.dumps({unit: used(unit) for unit in sys.argv[1:]}))


main()
