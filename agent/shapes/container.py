"""What a Quadlet file of KAT may hold, and what it asks of the machine.

Each pattern is what katgen/render writes under that key. What a user chose stands in one quoted
word, or in a variable `KAT_<n>` of the service; where Podman would read such a word as an option or
as a place on the machine, it is read here as well.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.shapes.lines import (
    DOMAIN,
    IP,
    LABEL,
    PATH,
    PLAIN,
    QUOTED,
    Setting,
    has_dots,
    is_below,
    parts,
    settings,
    shapes,
    strange_settings,
    unquoted,
)

_VARIABLE: Final = r"\$\{KAT_\d+\}"
_WORD: Final = rf"(?:{PLAIN}+|{QUOTED}|{_VARIABLE})"
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_./-]*"
_PAIR: Final = rf"(?:{_NAME}=(?:{PLAIN}*|{_VARIABLE})|\"{_NAME}={QUOTED[1:]})"
_RAW: Final = rf"(?:(?:[ -#&-~]|%%|\$\$)+|{_VARIABLE})"
"""One value as it is, of printable ASCII; or a variable."""
_ENV: Final = QUOTED.replace("%$]", "%]").replace(r"|\$\$", "")
_SYSTEM_WORD: Final = rf"(?:{PLAIN}+|{QUOTED})"
_NS: Final = rf"(?P<ns>{LABEL})"
_OF: Final = rf"kat\.(?P<ns>{LABEL})\.(?P<workload>{LABEL})"
_STEM: Final = r"(?P<stem>kat(?:\.[a-z0-9-]+){3})"
_COUNT: Final = r"\d+"
_SPAN: Final = r"\d+|infinity"
_CHECKS: Final = rf"/usr/bin/test \"!\" -L {_SYSTEM_WORD}(?: -a \"!\" -L {_SYSTEM_WORD})*"
_ENSURES: Final = rf"(?:/usr/bin/test -[dfS]|/usr/bin/mkdir -p|/usr/bin/touch -a) {_SYSTEM_WORD}"
_RETRIES: Final = re.escape(
    r"""/bin/sh -c "test \"$$(systemctl show -P NRestarts \"$$1\")\" -le \"$$2\"" sh %n """
)
_MISSING: Final = re.escape(r"""/bin/sh -c "! /usr/bin/podman image exists \"$$1\"" sh """)
_NEEDS: Final = rf"kat-nft\.service(?: {_OF}-build\.service)?"
_DESCRIPTION: Final = r"(?:%i)?(?:[^%]|%%)*"
_HEALTH: Final = {"Cmd": _RAW, "Interval": r"\d+s", "Timeout": r"\d+s"}

CONTAINER: Final = shapes(
    {
        "Quadlet.DefaultDependencies": "false",
        "Unit.Description": rf"{_DESCRIPTION} \(%N\)",
        "Unit.PartOf": rf"kat\.{_NS}\.target",
        "Unit.Requires": _NEEDS,
        "Unit.Wants": r"kat-network\.service",
        "Unit.After": rf"network\.target kat-network\.service {_NEEDS}",
        "Unit.AssertPathExists": rf"/run/kat/secrets/{_STEM}/{_NAME}",
        "Unit.RequiresMountsFor": rf'{PATH}|"/(?:[^"\\%]|%%|\\.)*"',
        "Unit.StartLimitIntervalSec": _SPAN,
        "Unit.StartLimitBurst": _COUNT,
        "Unit.ConditionPathExists": rf"!/var/lib/kat/runs/{_STEM}",
        "Container.ContainerName": _STEM,
        "Container.Image": _RAW,
        "Container.Pull": "newer|missing|never",
        "Container.Entrypoint": _RAW,
        "Container.Exec": rf"{_WORD}(?: {_WORD})*",
        "Container.WorkingDir": _RAW,
        "Container.Environment": _PAIR,
        "Container.EnvironmentFile": rf"/run/kat/secrets/{_STEM}/env/{_NAME}",
        "Container.Label": _PAIR,
        "Container.Network": (
            rf"kat:ip={IP},mac=[0-9a-f:]{{17}},host_interface_name=kat-[0-9a-f]{{8}}"
        ),
        "Container.HostName": r"[a-z0-9.-]+",
        "Container.DNS": IP,
        "Container.DNSSearch": DOMAIN,
        "Container.User": _COUNT,
        "Container.NoNewPrivileges": "true",
        "Container.DropCapability": r"[A-Z_]+(?: [A-Z_]+)*",
        "Container.AddCapability": r"[A-Z_]+(?: [A-Z_]+)*",
        "Container.ReadOnly": "true",
        "Container.AddDevice": rf"{PATH}|{_VARIABLE}|(?:nvidia|amd|intel)\.com/gpu=\d+",
        "Container.UIDMap": r"0:[1-9]\d{4,9}:65536",
        "Container.GIDMap": r"0:[1-9]\d{4,9}:65536",
        "Container.LogDriver": "passthrough|journald",
        "Container.RunInit": "true",
        "Container.StopSignal": r"SIG[A-Z0-9]+(?:[+-]\d+)?",
        "Container.StopTimeout": _COUNT,
        **{f"Container.Health{key}": value for key, value in _HEALTH.items()},
        "Container.HealthRetries": _COUNT,
        "Container.HealthStartPeriod": r"\d+s",
        "Container.HealthOnFailure": "kill",
        "Container.Volume": rf"{PATH}:{PATH}(?::ro)?",
        "Container.Mount": rf"type=tmpfs,target={PATH}(?:,tmpfs-size=\d+)?,tmpfs-mode=1777",
        "Container.PodmanArgs": rf"--mount {_VARIABLE}|--env-merge {_PAIR}",
        "Service.Environment": rf'"KAT_\d+={_ENV[1:]}',
        "Service.ExecStartPre": rf"{_CHECKS}|{_ENSURES}",
        "Service.ExecStartPost": (
            rf"/usr/bin/install -D -m 0600 /dev/null /var/lib/kat/runs/{_STEM}"
        ),
        "Service.ExecCondition": rf"{_RETRIES}\d+",
        "Service.Type": "oneshot",
        "Service.Restart": "always|on-failure|no",
        "Service.RestartSec": _COUNT,
        "Service.TimeoutStartSec": _SPAN,
        "Service.TimeoutStopSec": _COUNT,
        "Service.SuccessExitStatus": _COUNT,
        "Service.Slice": r"kat-(?P<slice>[a-z0-9\\]+)\.slice",
        "Service.CPUQuota": r"\d+(?:\.\d)?%",
        "Service.CPUWeight": _COUNT,
        "Service.MemoryMax": _COUNT,
        "Service.MemoryLow": _COUNT,
        "Install.WantedBy": rf"kat\.{_NS}\.target",
    },
    "Container.ContainerName Container.Image Container.Network Container.NoNewPrivileges "
    "Unit.PartOf Service.Slice",
)
BUILD: Final = shapes(
    {
        "Quadlet.DefaultDependencies": "false",
        "Unit.Description": _DESCRIPTION,
        "Unit.PartOf": rf"kat\.{_NS}\.target",
        "Build.ImageTag": _RAW,
        "Build.SetWorkingDirectory": _RAW,
        "Build.File": _RAW,
        "Build.PodmanArgs": rf"--build-arg (?:{_PAIR}|{_VARIABLE})",
        "Build.Target": r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        "Build.Arch": r"[a-z0-9]+",
        "Build.Variant": r"[a-z0-9]+",
        "Service.Environment": rf'"KAT_\d+={_ENV[1:]}',
        "Service.ExecCondition": rf"{_MISSING}{_SYSTEM_WORD}",
        "Service.TimeoutStartSec": "infinity",
    },
    "Build.ImageTag Build.SetWorkingDirectory Unit.PartOf",
)

_IMAGE: Final = re.compile(r"(?!.*:/)[A-Za-z0-9\[][A-Za-z0-9._:@/\[\]-]*")
_CONTEXT: Final = re.compile(r"(?:https?|git)://[^#]+#[^:]+(?::[^:]*)?")
_BIND: Final = re.compile(
    r'type=bind,"source=((?:[^"]|"")*)","target=((?:[^"]|"")*)"(?:,readonly)?', re.DOTALL
)
_TMPFS: Final = re.compile(
    r'type=tmpfs,"target=(?:[^"]|"")*"(?:,tmpfs-size=\d+)?,tmpfs-mode=1777', re.DOTALL
)
_DEVICE: Final = re.compile(r"/[^:]*|(?:nvidia|amd|intel)\.com/gpu=\d+", re.DOTALL)
_STEMS: Final = re.compile(
    rf"(?P<stem>kat\.(?P<ns>{LABEL})\.(?P<workload>{LABEL})(?:\.[a-z0-9-]+)?)\.(?:container|build)"
)
_VOLUMES: Final = "/var/lib/kat/volumes"
_VOLUME_DEPTH: Final = 7
"""Parts of `/var/lib/kat/volumes/<ns>/<workload>/<volume>`: below it, containers write."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a Quadlet asks of the machine; `faults`: why it is none of KAT's."""

    namespace: str
    own: Mapping[str, str]
    faults: tuple[str, ...] = ()
    is_host_root: bool = False
    sources: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


def asked(path: str, text: str) -> Asked:
    """Return what a file asks for."""
    name = _STEMS.fullmatch(path.rpartition("/")[2])
    if name is None:
        return Asked("", {}, ("KAT gives no unit such a name",))
    own = {**name.groupdict(), "slice": name["ns"].replace("-", "\\x2d")}
    found, faults = settings(text)
    is_build = path.endswith(".build")
    faults += strange_settings(found, BUILD if is_build else CONTAINER, own)
    if faults:
        return Asked(name["ns"], own, tuple(faults))
    reading = _Reading(found, _variables(found))
    faults += reading.build_faults() if is_build else reading.container_faults()
    if is_build:
        return Asked(name["ns"], own, tuple(faults))
    return Asked(
        name["ns"],
        own,
        tuple(faults),
        not reading.values("Container.UIDMap"),
        reading.sources(),
        reading.values("Container.AddDevice"),
        tuple(w for v in reading.values("Container.AddCapability") for w in v.split()),
    )


def _variables(found: list[Setting]) -> Mapping[str, str]:
    pairs = (unquoted(one.value, "%").partition("=") for one in found if _is_variable(one))
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class _Reading:
    """Settings, with what their variables hold put in."""

    found: list[Setting]
    variables: Mapping[str, str]

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values under `Section.Key`; '' for a variable that is not there."""
        return tuple(self._value(s.value) for s in self.found if f"{s.section}.{s.key}" == name)

    def _value(self, text: str) -> str:
        if re.fullmatch(_VARIABLE, text):
            return self.variables.get(text[2:-1], "")
        return unquoted(text) if not text.startswith('"') else text

    def _mounts(self) -> Iterator[str]:
        for value in self.values("Container.PodmanArgs"):
            option, _, word = value.partition(" ")
            if option == "--mount":
                yield self._value(word)

    def sources(self) -> tuple[str, ...]:
        """Return the machine's side of every mount."""
        binds = (_BIND.fullmatch(mount) for mount in self._mounts())
        return (
            *(value.partition(":")[0] for value in self.values("Container.Volume")),
            *(bind[1].replace('""', '"') for bind in binds if bind),
        )

    def build_faults(self) -> Iterator[str]:
        """Yield where a build reads from this machine."""
        for context in self.values("Build.SetWorkingDirectory"):
            if not _CONTEXT.fullmatch(context):
                yield f"the build's source {context[:80]!r} is no git repository"
        for file in self.values("Build.File"):
            if has_dots("/" + file) or file.startswith("/"):
                yield f"the build's file {file[:80]!r} is not of its repository"

    def container_faults(self) -> Iterator[str]:
        """Yield what a word in the place of an image, a device or a mount is not."""
        numbers = [unquoted(s.value).partition("=")[0] for s in self.found if _is_variable(s)]
        if len(numbers) != len(set(numbers)):
            yield "a variable KAT_… is set twice"
        for key, pattern in (("Image", _IMAGE), ("AddDevice", _DEVICE)):
            for value in self.values(f"Container.{key}"):
                if not pattern.fullmatch(value) or has_dots("/" + value):
                    yield f"{key}={value[:80]!r} is none"
        for mount in self._mounts():
            if not _BIND.fullmatch(mount) and not _TMPFS.fullmatch(mount):
                yield f"--mount {mount[:80]!r} is no mount that KAT writes"
        yield from self._mount_faults()

    def _mount_faults(self) -> Iterator[str]:
        sources = self.sources()
        linkless = {parts(path) for words in self._checks() if "-L" in words for path in words}
        for path in (word for words in self._checks() for word in words if word.startswith("/")):
            if not any(is_below(source, (path,)) for source in sources):
                yield f"ExecStartPre= is about {path[:80]!r}, which is not mounted"
        for source in sources:
            if has_dots(source):
                yield f"the mount's source {source[:80]!r} is no absolute path without '..'"
            elif not _is_checked(source, linkless):
                yield f"{source[:80]!r} could be a link that a container made"

    def _checks(self) -> Iterator[list[str]]:
        """Yield the words of each command before the start, without its program."""
        for value in (s.value for s in self.found if s.key == "ExecStartPre"):
            yield [unquoted(word) for word in re.findall(_SYSTEM_WORD, value)][1:]


def _is_checked(source: str, linkless: Collection[tuple[str, ...]]) -> bool:
    """Whether all of a volume's path that a container can write to is looked at for links."""
    inside = parts(source)
    depths = range(_VOLUME_DEPTH + 1, len(inside) + 1) if is_below(source, (_VOLUMES,)) else ()
    return all(inside[:depth] in linkless for depth in depths)


def _is_variable(one: Setting) -> bool:
    return (one.section, one.key) == ("Service", "Environment")
