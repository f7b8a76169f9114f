"""A unit file in the making: lines by section, some of which differ between instances."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Section = Literal["Unit", "Container", "Build", "Quadlet", "Service", "Install"]
Line = tuple[Section, str]
ORDER: tuple[Section, ...] = ("Quadlet", "Unit", "Container", "Build", "Service", "Install")


@dataclass(frozen=True, slots=True)
class Slots:
    """Words that stand for what an instance has of its own. No text of the workload holds one."""

    stem: str
    instance: str
    ordinal: str
    address: str
    mac: str
    bridge_port: str
    gateway: str

    @property
    def mark(self) -> str:
        """What every slot begins with; no text of the workload holds it, KAT's own words may."""
        return self.stem[:-1]

    def words(self) -> tuple[str, ...]:
        """Return them all, in the order of the fields."""
        return (
            self.stem, self.instance, self.ordinal,
            self.address, self.mac, self.bridge_port, self.gateway,
        )  # fmt: skip


def slots_outside(text: str) -> Slots:
    """Return slots that `text` does not hold, not even in part: they begin with its only K."""
    mark = "K"
    while mark in text:
        mark += "k"
    return Slots(*(f"{mark}{number}" for number in range(7)))


def section(name: Section, lines: Iterable[str]) -> list[Line]:
    """Return lines of one section."""
    return [(name, line) for line in lines]


def layout(lines: Sequence[Line]) -> str:
    """Return lines as text: each section once, in the order of `ORDER`."""
    blocks = []
    for name in ORDER:
        inside = [line for one, line in lines if one == name]
        if inside:
            blocks.append("\n".join((f"[{name}]", *inside, "")))
    return "\n".join(blocks)
