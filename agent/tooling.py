"""The node's own checkers, each run on files below a scratch directory.

Their complaints name the file as it will lie on the node. What a tool says about anything else is
the machine's matter: UnfitError, or nothing if the tool found no fault.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent import zonecheck
from agent.ports import NodePorts, Ran, UnfitError
from agent.quadlet import service_of
from katgen.bundle import Entry
from katgen.protocol import Complaint

UNITS: Final = "/etc/systemd/system/"
NFT: Final = "/etc/kat/"
_ETC: Final = "/etc/"
NFT_FILE: Final = "/etc/kat/kat.nft"
_TIMEOUT_S: Final = 60
_FILE: Final = re.compile(r"(?<![A-Za-z0-9_.-])/[A-Za-z0-9_.@-]+(?:/[A-Za-z0-9_.@-]+)*")
_INCLUDE: Final = re.compile(rb'^(\s*include\s+")(/etc/kat/|/var/lib/kat/endpoints/)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a tool looked at: `scratch` precedes the paths of `entries` on disk."""

    node: NodePorts
    scratch: str
    entries: Mapping[str, Entry]

    def text(self, path: str) -> str:
        """Return a file of the scratch tree."""
        return (self.node.files.read(self.scratch + path) or b"").decode(errors="replace")

    def complaint(self, tool: str, path: str, text: str) -> Complaint:
        """Return a complaint about a file."""
        digest = self.entries[path].digest if path in self.entries else ""
        return Complaint(path, text, digest, tool)

    async def run(self, argv: Sequence[str], **env: str) -> Ran:
        """Run a tool to its end."""
        return await self.node.tools.run(argv, timeout_s=_TIMEOUT_S, env=env)

    def said(self, tool: str, ran: Ran, *, silent: bool) -> Iterator[Complaint]:
        """Yield a complaint for each line that names a file of ours.

        `silent`: with nothing wrong, the tool names none even if it ends well. Raises UnfitError if
        the tool failed over something else.
        """
        if ran.code == 0 and not silent:
            return
        found = [
            self.complaint(tool, path, line.replace(self.scratch, ""))
            for line in (ran.stderr + ran.stdout).splitlines()
            if (path := self._named_in(line)) is not None
        ]
        if ran.code and not found:
            raise UnfitError(f"{tool} cannot check: {self._said_of_itself(ran)}")
        yield from found

    def _said_of_itself(self, ran: Ran) -> str:
        """Return what a tool said that is about no file, in one line.

        What follows the name of a file may be quoted from it, and the leader reads this.
        """
        text = (ran.stderr or ran.stdout).strip()
        if not text:
            return f"it ended with code {ran.code}"
        about = next((p for p in _FILE.findall(text) if not p.startswith(self.scratch + "/")), "")
        return f"it speaks of {about}" if about else text.partition("\n")[0]

    def _named_in(self, line: str) -> str | None:
        """Return the file that a tool's line is about; a service stands for its Quadlet."""
        if line.startswith("In file included from"):  # nft leads to the fault by these
            return None
        for path in self.entries:
            if self.scratch + path in line:
                return path
        for path, entry in self.entries.items():
            if entry.unit and re.search(rf"(?:^|[\s/:]){re.escape(entry.unit)}[:\s]", line):
                return path
        return None


async def units(checked: Checked, services: Iterable[str]) -> list[Complaint]:
    """Let systemd load services that Quadlet made, and every other unit that is new."""
    own = sorted(path for path in checked.entries if path.startswith(UNITS))
    generated, written = f"{checked.scratch}/generated", f"{checked.scratch}{UNITS}"
    names = [f"{generated}/{name}" for name in sorted(services)]
    names += [checked.scratch + path for path in own if ".d/" not in path]
    if not names:
        return []
    # The final colon adds the system's own folders, systemd-analyze(1).
    paths = f"{generated}:{written.rstrip('/')}:"
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names]
    ran = await checked.run(argv, SYSTEMD_UNIT_PATH=paths)
    # It ends well with an unknown key or a bad value.
    return list(checked.said("systemd-analyze verify", ran, silent=True))


async def calendars(checked: Checked) -> list[Complaint]:
    """Let systemd read every OnCalendar=."""
    found = []
    for path in (p for p in checked.entries if p.endswith(".timer")):
        for line in re.findall(r"^OnCalendar\s*=\s*(.+)$", checked.text(path), re.MULTILINE):
            ran = await checked.run(["systemd-analyze", "calendar", "--", line])
            if ran.code:
                found.append(
                    checked.complaint("systemd-analyze calendar", path, ran.stderr.strip())
                )
    return found


async def rules(checked: Checked) -> list[Complaint]:
    """Let nft read all rules as one transaction, and make none of it so.

    What is included is what is staged: the node's own endpoints are of other rules than these.
    """
    if NFT_FILE not in checked.entries:
        return []
    for path in checked.entries:
        where = checked.scratch + path
        text = checked.node.files.read(where) or b""
        moved = _INCLUDE.sub(rb"\g<1>" + checked.scratch.encode() + rb"\g<2>", text)
        if moved != text:
            checked.node.files.write(where, moved)
    ran = await checked.run(["nft", "-c", "-f", checked.scratch + NFT_FILE])
    return list(checked.said("nft", ran, silent=False))


async def directories_and_users(checked: Checked) -> list[Complaint]:
    """Let sysusers and tmpfiles read their files, and change nothing."""
    found: list[Complaint] = []
    tools = (
        ("/etc/sysusers.d/", ["systemd-sysusers", "--dry-run"]),
        ("/etc/tmpfiles.d/", ["systemd-tmpfiles", "--create", "--dry-run"]),
    )
    for folder, argv in tools:
        for path in (p for p in checked.entries if p.startswith(folder)):
            ran = await checked.run([*argv, checked.scratch + path])
            if "unrecognized option" in ran.stderr:  # before systemd 256
                continue
            found += checked.said(argv[0], ran, silent=False)
    return found


def zones(checked: Checked) -> list[Complaint]:
    """Read every zone as the name server will."""
    return [
        checked.complaint("zone", path, fault)
        for path in checked.entries
        if path.endswith(".zone")
        for fault in zonecheck.faults(
            checked.text(path), path.rpartition("/")[2].removesuffix(".zone")
        )
    ]


def networks(checked: Checked) -> list[Complaint]:
    """Parse Podman's network as JSON; a Config's file may be called so and be none."""
    found = []
    for path in (p for p in checked.entries if p.endswith(".json") and p.startswith(_ETC)):
        try:
            json.loads(checked.text(path))
        except ValueError as err:
            found.append(checked.complaint("json", path, str(err)))
    return found


def timers(checked: Checked, services: Iterable[str], there: Iterable[str]) -> list[Complaint]:
    """Complain of timers that start nothing: systemd takes a Unit= that does not exist."""
    known = {*services, *(service_of(p) for p in there if p.endswith(".container"))}
    return [
        checked.complaint("timer", path, f"Unit={unit} is not on this node")
        for path in checked.entries
        if path.endswith(".timer")
        for unit in re.findall(r"^[ \t]*Unit\s*=\s*(\S+)$", checked.text(path), re.MULTILINE)
        if unit not in known
    ]
