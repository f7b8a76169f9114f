"""Quadlet files and the services that the node's own Quadlet makes of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.ports import NodePorts, Ran, UnfitError
from katgen.protocol import Complaint

PROGRAMS: Final = (
    "/usr/libexec/podman/quadlet",
    "/usr/lib/podman/quadlet",
    "/usr/lib/systemd/system-generators/podman-system-generator",
)
TIMEOUT_S: Final = 20
SUFFIXES: Final = {".container": "", ".build": "-build"}

# A word of a command line, systemd.service(5): only a bare `;` between words separates commands.
_WORD: Final = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+""", re.DOTALL)


def is_quadlet(path: str) -> bool:
    """Whether Quadlet makes a service of this file."""
    return path.endswith(tuple(SUFFIXES))


def service_of(path: str) -> str:
    """Return the service that comes of a file: `a.container` is `a.service`."""
    stem, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return f"{stem}{SUFFIXES[dot + suffix]}.service"


def values(text: str, section: str, key: str) -> Iterator[str]:
    """Yield every value of a key, in order, continued lines joined. Units and Quadlets alike.

    Neither continues a comment, whatever it ends in.
    """
    inside = ""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith(("#", ";")))
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).split("\n"):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            inside = stripped[1:-1]
        elif inside == section:
            name, equals, value = stripped.partition("=")
            if equals and name.strip() == key:
                yield value.strip()


def last_value(text: str, section: str, key: str, default: str = "") -> str:
    """Return the value that holds: the last one."""
    return [default, *values(text, section, key)][-1]


def is_oneshot(text: str) -> bool:
    """Whether a unit's run ends by itself: a job, or a build."""
    return last_value(text, "Service", "Type") == "oneshot"


@dataclass(frozen=True, slots=True)
class Generated:
    """Services by name, as they go to `/run/systemd/system`, and what is wrong with the files."""

    services: Mapping[str, str]
    complaints: tuple[Complaint, ...]


async def generate(node: NodePorts, scratch: str, files: Mapping[str, str]) -> Generated:
    """Have Quadlet convert files that lie below `scratch`; `files` is path on the node → digest.

    Raises UnfitError if the machine cannot; a file that Quadlet refuses is a complaint.
    """
    if not files:
        return Generated({}, ())
    folders = sorted({scratch + path.rpartition("/")[0] for path in files})
    out = f"{scratch}/generated"
    ran = await _run(node, {"QUADLET_UNIT_DIRS": ":".join(folders)}, out)
    services: dict[str, str] = {}
    complaints: list[Complaint] = []
    for path, digest in files.items():
        unit = service_of(path)
        text = made(node, scratch, unit)
        if text:
            services[unit] = text
        found = one_command(text) if text else _about(ran, path, files)
        if found:
            complaints.append(Complaint(path, found, digest, "quadlet"))
    return Generated(services, tuple(complaints))


async def _run(node: NodePorts, env: Mapping[str, str], out: str) -> Ran:
    problem = UnfitError("Podman's quadlet is not installed")
    for program in PROGRAMS:
        # Not by a look at the disk: the program may be anywhere that the adapter finds it.
        try:
            return await node.tools.run(
                [program, "-no-kmsg-log", out], timeout_s=TIMEOUT_S, env=env
            )
        except UnfitError as err:
            problem = err
    raise problem


def _about(ran: Ran, path: str, files: Iterable[str]) -> str:
    """Return what Quadlet said about a file of which no service came out.

    Raises UnfitError if it failed and named none of the files: then it is Quadlet that is at fault.
    """
    lines = [line for line in ran.stderr.splitlines() if _name(path) in line]
    said = "; ".join(line.partition("]: ")[2] or line for line in lines)
    if not said and ran.code and not any(_name(one) in ran.stderr for one in files):
        what = ran.stderr.strip()
        end = f": {what}" if what else " and said nothing"
        raise UnfitError(f"quadlet ended with code {ran.code}{end}")
    return said or f"Quadlet made no {service_of(path)}"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def made(node: NodePorts, scratch: str, unit: str) -> str:
    """Return a service that was generated below `scratch`, or ''.

    It names its source where that will be, not where it was checked.
    """
    text = (node.files.read(f"{scratch}/generated/{unit}") or b"").decode()
    return re.sub(rf"^SourcePath={re.escape(scratch)}", "SourcePath=", text, flags=re.MULTILINE)


def one_command(text: str) -> str:
    """Return what is wrong unless a service has one ExecStart= with one command in it, else ''.

    Quadlet hands the word `;` of an `Exec=` on bare, and systemd would run what follows as root.
    """
    starts = list(values(text, "Service", "ExecStart"))
    commands = sum(map(_commands_in, starts))
    if len(starts) == commands == 1:
        return ""
    return f"the service has {len(starts)} ExecStart= with {commands} commands, not one of one"


def _commands_in(line: str) -> int:
    """Return how many commands a line has; 0 if its quotes do not match."""
    if _WORD.sub("", line).strip():
        return 0
    groups = "".join("\0" if word == ";" else "x" for word in _WORD.findall(line)).split("\0")
    return sum(map(bool, groups))
