"""Run on a host whose kat-agent is `cut_agent`: changes, each with a cut, and what is then wrong.

Reads JSON from standard input: rounds, each a `change` (a folder of files to apply, `delete` for
those of the one before) and `at`, after how many actions the agent is killed (0: never). Writes a
JSON line for each: the action after which it was cut, all actions, and the faults.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, "/usr/lib/kat")
from agent import state
from agent.drift import file_drift
from agent.files import DiskFiles
from agent.ports import Stat
from agent.stage import SCRATCH

FOLDER = Path("/run/kat/lab")
ARMED, TRACE = FOLDER / "armed", FOLDER / "trace"
AGENT = "kat-agent.service"
FILES = DiskFiles()
WAIT_S = 90
OURS = (
    *("/etc/containers/systemd/kat", "/etc/kat/services", "/var/lib/kat/dns"),
    *("/var/lib/kat/config", "/run/systemd/system"),
)
OUR_FILES = (*OURS[:-1], "/run/systemd/system/kat.")
# Below content and generations one may stay: it is swept when its directory is next written to.
TEMPORARY = ["find", "/etc", "/run/systemd", "/var/lib/kat", "-name", ".*.kat-new"]
TEMPORARY += ["-not", "-path", f"{state.CONTENT}/*", "-not", "-path", f"{state.GENERATIONS}/*"]
UNITS = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "kat.*", "kat-*.slice"]


def main() -> None:
    """Do the rounds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for one in json.load(sys.stdin):
        print(json.dumps(round_of(one["change"], one["at"])), flush=True)  # noqa: T201 -- its answer


def round_of(change: list[str], at: int) -> dict[str, object]:
    """Make a change, cut the agent in it, start it again, and look at everything."""
    before, pids = entries(), containers()
    TRACE.write_text("", encoding="utf-8")
    ARMED.write_text(str(at), encoding="utf-8")
    agent = int(said("systemctl", "show", "-P", "MainPID", AGENT))
    asked = subprocess.Popen(["katcall", *change], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    is_cut = died(agent, asked.pid)
    trace = TRACE.read_text(encoding="utf-8").splitlines()
    ARMED.unlink()
    faults: list[str] = []
    if is_cut:
        faults += [*unreadable(), *torn(before)]
        said("systemctl", "reset-failed", AGENT)
        said("systemctl", "start", AGENT)
    out, _ = asked.communicate(timeout=WAIT_S)
    if asked.returncode:
        faults.append(f"katcall ended with {asked.returncode}: {out.decode()[-2000:]}")
    faults += settled()
    faults += wrong(pids)
    cut = trace[-1] if is_cut and trace else ""
    return {
        "change": change[0],
        "at": at,
        "cut": cut,
        "trace": [] if at else trace,
        "faults": faults,
    }


def died(agent: int, other: int) -> bool:
    """Wait until one of two processes ends; whether it was the agent."""
    ends = [os.pidfd_open(agent), os.pidfd_open(other)]
    ready, _, _ = select.select(ends, [], [], WAIT_S)
    for one in ends:
        os.close(one)
    return ends[0] in ready


def entries() -> dict[str, Stat]:
    """Return the files that shall be in place."""
    applied = state.load(FILES, state.APPLIED, state.Applied)
    assert applied is not None
    return {e.path: Stat(e.digest, e.mode, e.owner) for e in applied.entries}


def below(folders: Iterable[str]) -> Iterator[str]:
    """Yield the files of KAT's folders, but for those that are being written."""
    for folder in folders:
        for path in Path(folder).rglob("*"):
            if path.is_file() and not path.name.endswith(".kat-new"):
                yield str(path)


def unreadable() -> Iterator[str]:
    """Yield which of the agent's own files are no whole JSON."""
    for path in Path(state.AGENT).glob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError as err:
            yield f"at the cut: {path}: {err}"


def torn(before: Mapping[str, Stat]) -> Iterator[str]:
    """Yield which files are no whole content that this node has fetched, or had in place before."""
    for path in (*before, *below(OURS[:-1])):
        stat = FILES.stat(path)
        if stat is None or stat == before.get(path):
            continue
        if FILES.stat(state.content_path(stat.digest)) is None:
            yield f"at the cut: {path} is half written, or foreign"


def settled() -> Iterator[str]:
    """Wait until the agent has nothing left to do; units may run before it has written so."""
    end = time.monotonic() + WAIT_S
    while FILES.stat(state.JOURNAL) is not None or FILES.folders(SCRATCH):
        if time.monotonic() > end:
            yield "the agent does not come to an end"
            return
        time.sleep(0.02)


def wrong(pids: Mapping[str, int]) -> Iterator[str]:
    """Yield what is not as it should be now."""
    applied = state.load(FILES, state.APPLIED, state.Applied)
    assert applied is not None
    yield from (f"{one.kind}: {one.path}" for one in file_drift(FILES, applied))
    yield from (f"left: {path}" for path in said(*TEMPORARY).split())
    paths = {entry.path for entry in applied.entries}
    own = {e.unit for e in applied.entries if e.path.endswith(".container")}
    for path in below(OURS):
        known = path in paths or path.rpartition("/")[2] in own or not path.startswith(OUR_FILES)
        if not known:
            yield f"left: {path}"
    yield from _units({e.unit for e in applied.entries if e.unit})
    yield from _containers({u.removesuffix(".service") for u in own if ".sum." not in u}, pids)


def _units(own: set[str]) -> Iterator[str]:
    loaded = {line.split()[0]: line for line in said(*UNITS).splitlines()}
    yield from (f"left: {line}" for name, line in loaded.items() if name not in own)
    yield from (f"failed: {line}" for line in loaded.values() if " failed " in line)
    if loaded:
        words = said("systemctl", "show", "-P", "Id", "-P", "NeedDaemonReload", *loaded).split()
        pairs = zip(words[::2], words[1::2], strict=True)
        yield from (f"in need of a reload: {name}" for name, need in pairs if need != "no")


def _containers(wanted: set[str], before: Mapping[str, int]) -> Iterator[str]:
    there = containers()
    if there.keys() != wanted:
        yield f"containers are {sorted(there)}, not {sorted(wanted)}"
    for name, pid in before.items():
        if there.get(name, pid) != pid:
            yield f"{name} was restarted"
    links = [one for one in os.listdir("/sys/class/net") if one.startswith("kat-0a")]  # noqa: PTH208 -- names
    spaces = os.listdir("/run/netns") if Path("/run/netns").exists() else []  # noqa: PTH208 -- names
    if not len(links) == len(spaces) == len(there):
        yield f"{len(there)} containers have the links {links} and namespaces {spaces}"


def containers() -> dict[str, int]:
    """Return every container with its process; 0 if it does not run."""
    listed = said("podman", "ps", "-a", "--format", "{{.Names}} {{.Pid}}").splitlines()
    return {name: int(pid) for name, pid in map(str.split, listed) if name.startswith("kat.")}


def said(*argv: str) -> str:
    """Return what a program says."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
