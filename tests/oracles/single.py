"""Tools that look at one file, or at a few of one kind."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from tests.lab.process import Ran
from tests.oracles.cell import Cell
from tests.oracles.complaint import Complaint, complaints_from

SYSUSERS = "/etc/sysusers.d/"
TMPFILES = "/etc/tmpfiles.d/"
INCLUDE = re.compile(rb'^\s*include\s+"([^"]+)"', re.MULTILINE)
SYSCTL = re.compile(r"^[ \t]*-?([^#;\s=][^\s=]*)", re.MULTILINE)
ZONE_IS_FINE = re.compile(r"zone \S+/IN: loaded serial \d+|OK")
CALENDAR = re.compile(r"^OnCalendar\s*=\s*(.+)$", re.MULTILINE)


def calendar(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Let systemd read every OnCalendar= on its own."""
    complaints = []
    for path, content in files.items():
        for expression in CALENDAR.findall(content.decode()):
            ran = cell.run(["systemd-analyze", "calendar", "--", expression])
            complaints += _silent("systemd-analyze calendar", path, ran)
    return complaints


def nft(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Check every file that no other one includes; included ones are checked through these."""
    included = [p.decode() for text in files.values() for p in INCLUDE.findall(text)]
    complaints = []
    for path in files:
        if not any(PurePosixPath(path).match(pattern) for pattern in included):
            complaints += _silent("nft", path, cell.run(["nft", "-c", "-f", path]))
    return complaints


def zone(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Load each `<origin>.zone`; a warning is a complaint too."""
    complaints = []
    for path in files:
        origin = PurePosixPath(path).name.removesuffix(".zone")
        ran = cell.run(["named-checkzone", "-i", "none", "-k", "fail", origin, path])
        said = complaints_from("named-checkzone", path, ran.stdout + ran.stderr)
        complaints += [line for line in said if not ZONE_IS_FINE.fullmatch(line.text)]
    return complaints


def directories_and_users(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Make the users first, really, since the directories' owners are looked up."""
    users = [path for path in files if path.startswith(SYSUSERS)]
    folders = [path for path in files if path.startswith(TMPFILES)]
    complaints = []
    for path in users:
        complaints += _accepted("systemd-sysusers", path, cell.run(["systemd-sysusers", path]))
    for path in folders:
        ran = cell.run(["systemd-tmpfiles", "--create", "--dry-run", path])
        complaints += _accepted("systemd-tmpfiles", path, ran)
    return complaints


def kernel_settings(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Make them, really: a cell has a network of its own, so other settings are refused here."""
    complaints = []
    for path, content in files.items():
        foreign = [key for key in SYSCTL.findall(content.decode()) if not key.startswith("net.")]
        complaints += [Complaint("systemd-sysctl", path, f"{key} is not net.*") for key in foreign]
        if not foreign:
            ran = cell.run(["/usr/lib/systemd/systemd-sysctl", "--strict", path])
            complaints += _silent("systemd-sysctl", path, ran)
    return complaints


def json_files(_: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Parse each file as JSON without duplicate keys."""
    complaints = []
    for path, content in files.items():
        try:
            json.loads(content, object_pairs_hook=_unique)
        except ValueError as err:
            complaints.append(Complaint("json", path, str(err)))
    return complaints


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key stands twice among {', '.join(key for key, _ in pairs)}")
    return found


def _silent(tool: str, path: str, ran: Ran) -> list[Complaint]:
    """Complain of what a tool wrote to standard error, or of its exit code if it wrote nothing."""
    return complaints_from(tool, path, ran.stderr) or _accepted(tool, path, ran)


def _accepted(tool: str, path: str, ran: Ran) -> list[Complaint]:
    """Complain of what a tool said if it failed."""
    if ran.code == 0:
        return []
    said = complaints_from(tool, path, ran.stderr)
    return said or [Complaint(tool, path, f"exit {ran.code}")]
