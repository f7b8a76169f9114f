"""Which tool judges which file of a node, and the memory of what was judged already."""

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.enclosure import Enclosure
from tests.oracles import networkd, podman, quadlet, single, traefik
from tests.oracles.cell import Cell, cell
from tests.oracles.complaint import Complaint

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Tool:
    """A judge and the paths that it judges. `alone`: each file by itself, else all together."""

    paths: re.Pattern[str]
    judge: Callable[[Cell, Files], list[Complaint]]
    alone: bool = False


TOOLS = (
    Tool(re.compile(r"/etc/(containers/systemd|systemd/system)/.*"), quadlet.judge),
    Tool(re.compile(r"/etc/systemd/system/.*\.timer"), single.calendar, alone=True),
    Tool(re.compile(r"/etc/systemd/network/.*"), networkd.judge),
    Tool(re.compile(r".*\.nft"), single.nft),
    Tool(re.compile(r".*\.zone"), single.zone, alone=True),
    Tool(re.compile(r"/etc/(tmpfiles|sysusers)\.d/.*"), single.directories_and_users),
    Tool(re.compile(r"/etc/sysctl\.d/.*\.conf"), single.kernel_settings, alone=True),
    Tool(re.compile(r".*\.json"), single.json_files, alone=True),
    Tool(re.compile(r"/etc/containers/networks/.*\.json"), podman.judge, alone=True),
    Tool(re.compile(r".*/traefik/.*\.(ya?ml|json)"), traefik.judge, alone=True),
)
# Bytes that the user wrote: no grammar of ours.
USERS_OWN = re.compile(r"/var/lib/kat/config/.*")


@dataclass(slots=True)
class Oracle:
    """Judges trees of files in one enclosure; `judged` counts what a tool was really asked."""

    enclosure: Enclosure
    judged: int = 0
    memory: dict[tuple[str, str], tuple[Complaint, ...]] = field(default_factory=dict)

    def check_tree(self, files: Files) -> list[str]:
        """Return every complaint about one node's files, by absolute path on the node."""
        complaints = [
            c for tool in TOOLS for part in _parts(tool, files) for c in self.ask(tool, part)
        ]
        complaints += [
            Complaint("oracles", path, "no tool judges this file") for path in unjudged(files)
        ]
        return [str(complaint) for complaint in sorted(set(complaints))]

    def ask(self, tool: Tool, files: Files) -> tuple[Complaint, ...]:
        """Return a tool's complaints about these files; the same bytes are judged once."""
        known = (tool.judge.__qualname__ + tool.judge.__module__, _digest(files))
        if known not in self.memory:
            self.judged += 1
            with self.cell(files) as inside:
                self.memory[known] = tuple(tool.judge(inside, files))
        return self.memory[known]

    def cell(self, files: Files) -> AbstractContextManager[Cell]:
        """Return a throw-away copy of the root file system with these files, for a tool's run."""
        return cell(self.enclosure, files)


def unjudged(files: Files) -> list[str]:
    """Return the paths that no tool looks at, but for those with the user's own bytes."""
    patterns = [USERS_OWN, *(tool.paths for tool in TOOLS)]
    return sorted(p for p in files if not any(pattern.fullmatch(p) for pattern in patterns))


def tree_from(folder: Path) -> dict[str, bytes]:
    """Return the files of a rendered `DIR/<node>` by their path on the node."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in found}


def _parts(tool: Tool, files: Files) -> list[Files]:
    mine = {path: files[path] for path in sorted(files) if tool.paths.fullmatch(path)}
    if tool.alone:
        return [{path: content} for path, content in mine.items()]
    return [mine] if mine else []


def _digest(files: Files) -> str:
    digest = hashlib.sha256()
    for path, content in files.items():
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
