"""Podman's Quadlet generator, then systemd's own loader on what it made and on every other unit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.oracles.cell import Cell, static_units
from tests.oracles.complaint import Complaint, complaints_from
from tests.oracles.words import commands_in

QUADLETS = "/etc/containers/systemd/"
UNITS = "/etc/systemd/system/"
GENERATED = "/run/generated"
SUFFIX = {".container": "", ".build": "-build", ".network": "-network", ".volume": "-volume"}
KINDS = (".service", ".socket", ".timer", ".target", ".slice", ".mount", ".automount")
TIMER_UNIT = re.compile(r"^Unit\s*=\s*(\S+)$", re.MULTILINE)
OWN_PROGRAM = re.compile(rb"^Exec\w+=[-@:+!|]*(/\S*/kat[-\w]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Generated:
    """What the generator made: services by name, and what it said."""

    services: Mapping[str, str]
    complaints: tuple[Complaint, ...]


def service_name(path: str) -> str:
    """Return the service that Quadlet makes of a file: `b.build` becomes `b-build.service`."""
    name = PurePosixPath(path)
    return f"{name.stem}{SUFFIX[name.suffix]}.service"


def generate(cell: Cell, files: Mapping[str, bytes]) -> Generated:
    """Run the generator over the cell; complain of each file whose service did not come out."""
    quadlets = [p for p in files if p.startswith(QUADLETS) and PurePosixPath(p).suffix in SUFFIX]
    argv = [f"QUADLET_UNIT_DIRS={QUADLETS}", "/usr/libexec/podman/quadlet", "-no-kmsg-log"]
    ran = cell.run(["env", *argv, GENERATED])
    folder = cell.enclosure.outside(cell.root + GENERATED)
    services = {p.name: p.read_text() for p in sorted(folder.glob("*.service"))}
    complaints = complaints_from("quadlet", QUADLETS, ran.stderr)
    if ran.code != 0 and not complaints:
        complaints.append(Complaint("quadlet", QUADLETS, f"exit {ran.code}"))
    complaints += [
        Complaint("quadlet", path, f"made no {service_name(path)}")
        for path in quadlets
        if service_name(path) not in services
    ]
    for name, text in services.items():
        complaints += one_command(name, text)
    return Generated(services, tuple(complaints))


def one_command(name: str, text: str) -> list[Complaint]:
    """Complain unless a service has exactly one ExecStart= with exactly one command in it."""
    starts = re.findall(r"^\s*ExecStart\s*=(.*)$", text, re.MULTILINE)
    commands = [command for start in starts for command in commands_in(start)]
    if len(starts) == len(commands) == 1:
        return []
    found = f"{len(starts)} ExecStart= with {len(commands)} commands"
    return [Complaint("quadlet", name, f"{found}; exactly one of one was expected")]


def judge(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Generate, then let systemd load every unit; it must not print anything."""
    generated = generate(cell, files)
    static = static_units()
    cell.enclosure.unpack(cell.root, {**static, **_stubs({**static, **files})})
    units = [f"{GENERATED}/{name}" for name in generated.services]
    units += [p for p in files if p.startswith(UNITS) and PurePosixPath(p).suffix in KINDS]
    units += _units_of_drop_ins(files)
    complaints = [*generated.complaints, *_timers_without_unit(files, generated.services)]
    if units:
        argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *sorted(units)]
        ran = cell.run(argv)
        complaints += complaints_from("systemd-analyze verify", UNITS, ran.stderr)
        if ran.code != 0 and not ran.stderr:
            complaints.append(Complaint("systemd-analyze verify", UNITS, f"exit {ran.code}"))
    return complaints


def _units_of_drop_ins(files: Mapping[str, bytes]) -> list[str]:
    """Return the system's own units that files add to: `multi-user.target.d/kat.conf`."""
    folders = {PurePosixPath(path).parent for path in files if path.startswith(UNITS)}
    named = {folder.name.removesuffix(".d") for folder in folders if folder.suffix == ".d"}
    return [f"/usr/lib/systemd/system/{name}" for name in named if f"{UNITS}{name}" not in files]


def _timers_without_unit(
    files: Mapping[str, bytes], services: Mapping[str, str]
) -> list[Complaint]:
    """Complain of timers that start nothing: verify takes a Unit= that does not exist."""
    known = {*services, *(PurePosixPath(path).name for path in {**files, **static_units()})}
    return [
        Complaint("systemd timers", path, f"Unit={unit} is not there")
        for path, content in files.items()
        if path.startswith(UNITS) and path.endswith(".timer")
        for unit in TIMER_UNIT.findall(content.decode())
        if unit not in known
    ]


def _stubs(units: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a script for each program of KAT that a unit names: verify wants it executable."""
    programs = {found.decode() for text in units.values() for found in OWN_PROGRAM.findall(text)}
    return dict.fromkeys(sorted(programs), b"#!/bin/sh\n")
