"""Instances as Quadlet `.container` files: laid out once per revision, filled in per instance.

What all instances of a revision have in common comes first in the file and is digested once; what
an instance has of its own follows in further sections, which systemd and Quadlet add to the first.
So 100,000 files cost a short tail each.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING

from katgen import names
from katgen.bundle import Activation, Artifact, Entry, SecretSlot, entry
from katgen.errors import EncodeError
from katgen.planned import Placement
from katgen.render import container, service
from katgen.render.build import QUADLET, build
from katgen.render.lines import Line, Slots, layout, section, slots_outside
from katgen.render.mounts import Mounts, secret_slots
from katgen.render.timer import timer
from katgen.render.unitfile import Variables, check_line
from katgen.render.view import ClusterView, PlannedWorkload

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["UnitTemplate", "build", "unit_template"]

BYTE = 8
"""Bits of each number of an address."""
_HEX = {str(value): f"{value:02x}" for value in range(256)}
HEADER = """\
# Managed by KAT: an instance of workload {key}, revision {revision}.
# A change made here is reported as drift. Why it is here: katcall explain {key}

"""


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a unit: `pattern % pick(values)` with the values in the order of `Slots`."""

    pattern: str
    pick: Callable[[tuple[str, ...]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class UnitTemplate:
    """What the units of one workload's revision share, and how to fill in the rest.

    `stem` and `instance` lack the instance's id at their ends. The second of `activations` is that
    of an instance which is replaced stop-first.
    """

    workload: PlannedWorkload
    stem: str
    instance: str
    head: bytes
    head_hash: "_Hash"
    tail: _Tail
    activations: tuple[Activation, Activation]
    node_bits: int
    is_job: bool

    def artifacts(self, placement: Placement) -> tuple[Artifact, ...]:
        """Return an instance's files: its unit first, then the timer of a scheduled job."""
        stem, tail, digest = self._filled(placement)
        unit = Artifact(
            f"{QUADLET}/{stem}.container",
            self.head + tail,
            digest,
            activation=self.activations[placement.stop_first],
            unit=f"{stem}.service",
            pair_key=self.instance + placement.ordinal,
        )
        return (unit, *self._timer(unit.unit)) if self.is_job else (unit,)

    def entries(self, placement: Placement) -> tuple[Entry, ...]:
        """Return the same files without their contents, which are not even put together."""
        stem, _, digest = self._filled(placement)
        unit = Entry(
            f"{QUADLET}/{stem}.container",
            digest,
            0o644,
            "root:root",
            self.activations[placement.stop_first],
            f"{stem}.service",
            self.instance + placement.ordinal,
        )
        return (unit, *map(entry, self._timer(unit.unit))) if self.is_job else (unit,)

    def _filled(self, placement: Placement) -> tuple[str, bytes, str]:
        """Return (unit stem, the unit's tail, the whole unit's digest)."""
        ordinal, address = placement.ordinal, placement.address
        identity = f"{ordinal}-{placement.incarnation}"
        stem = self.stem + identity
        network, _, last = address.rpartition(".")
        mac, port, gateway = _link(network, self.node_bits)
        byte = _HEX[last]
        values = (
            stem,
            self.instance + identity,
            ordinal,
            address,
            mac + byte,
            port + byte,
            gateway or _gateway(address, self.node_bits),
        )
        text = self.tail.pattern % self.tail.pick(values)
        tail = (text + self._gpus(placement) if placement.gpus else text).encode()
        digest = self.head_hash.copy()
        digest.update(tail)
        return stem, tail, digest.hexdigest()

    def _gpus(self, placement: Placement) -> str:
        gpu = self.workload.objects.workload.spec.container.resources.gpu
        kind = container.GPU_DEVICES[gpu.vendor if gpu else "nvidia"]
        devices = section("Container", (f"AddDevice={kind}={n}" for n in placement.gpus))
        return f"\n{layout(devices)}"

    def _timer(self, service: str) -> tuple[Artifact, ...]:
        job = self.workload.objects.job
        return timer(self.workload.key, job.spec, service) if job is not None else ()

    def secret_slots(self, placement: Placement) -> tuple[SecretSlot, ...]:
        """Return the places that an instance has for secret values."""
        return tuple(secret_slots(self.workload, placement))


def unit_template(workload: PlannedWorkload, cluster: ClusterView) -> UnitTemplate:
    """Return the template of a workload's revision. EncodeError if a value is in no grammar."""
    slots = slots_outside(_text(workload, cluster))
    common, own = _split(_lines(workload, cluster, slots), slots)
    header = _header(workload)
    head = f"{header}{layout(common)}\n# This instance\n\n".encode()
    return UnitTemplate(
        workload=workload,
        stem=f"{names.workload_stem(workload.key)}.",
        instance=f"{workload.key}/",
        head=head,
        head_hash=hashlib.sha256(head),
        tail=_tail_of(layout(own), slots),
        activations=_activations(workload),
        node_bits=cluster.spec.node_subnet_bits,
        is_job=workload.objects.job is not None,
    )


def _header(workload: PlannedWorkload) -> str:
    """Return the comment that begins a unit; what is put in leaves it the lines that it has."""
    header = HEADER.format(key=workload.key, revision=workload.plan.revision)
    if len(header.splitlines()) != len(HEADER.splitlines()):
        raise EncodeError("a line break cannot be written in a comment")
    for line in header.splitlines():
        check_line(line)
    return header


def _text(workload: PlannedWorkload, cluster: ClusterView) -> str:
    """Return all text that a user chose and that may stand in a unit."""
    objects = workload.objects
    kinds = (objects.workload, objects.load_balancer)
    texts = [one.model_dump_json() for one in kinds if one is not None]
    return "\n".join([*texts, cluster.spec.volume_base_path, cluster.spec.cluster_domain])


def _lines(workload: PlannedWorkload, cluster: ClusterView, slots: Slots) -> Iterator[Line]:
    variables = Variables()
    yield from service.lines(workload, slots)
    yield from section("Container", container.lines(workload, cluster, slots, variables))
    yield from Mounts(workload, cluster, slots, variables).lines()
    yield from section("Service", variables.lines())


def _split(lines: Iterable[Line], slots: Slots) -> tuple[list[Line], list[Line]]:
    """Return the lines that all instances share, and those that hold a slot."""
    common: list[Line] = []
    own: list[Line] = []
    mark, words = slots.mark, slots.words()
    for name, line in lines:
        has_slot = mark in line and any(word in line for word in words)
        (own if has_slot else common).append((name, check_line(line)))
    return common, own


def _tail_of(text: str, slots: Slots) -> _Tail:
    words = slots.words()
    order = [words.index(found) for found in re.findall("|".join(words), text)]
    pattern = re.sub("|".join(words), "%s", text.replace("%", "%%"))
    return _Tail(pattern, itemgetter(*order))


@cache
def _link(network: str, host_bits: int) -> tuple[str, str, str]:
    """Return MAC and bridge port without their last byte, and the gateway, of a /24's addresses.

    The gateway is '' if the /24 holds more than one node. Cached: a node's instances share it.
    """
    address = f"{network}.0"
    gateway = _gateway(address, host_bits) if host_bits >= BYTE else ""
    return names.mac_of(address)[:-2], names.bridge_port(address)[:-2], gateway


def _gateway(address: str, host_bits: int) -> str:
    """Return the first address of the node subnet that an address is in: the node's own."""
    one, two, three, four = map(int, address.split("."))
    number = one << 24 | two << 16 | three << 8 | four
    first = (number >> host_bits << host_bits) + 1
    return f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}"


def _activations(workload: PlannedWorkload) -> tuple[Activation, Activation]:
    """Return those of a unit; a scheduled job's is started by its timer and nobody else."""
    job = workload.objects.job
    if job is not None and job.spec.schedule is not None:
        return Activation.NONE, Activation.NONE
    return Activation.START, Activation.STOP_FIRST
