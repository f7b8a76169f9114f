"""From an accepted apply to running instances, and one unit changed beside many that run."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from tests.bench.lab.machine import ask
from tests.lab import Node

Row = tuple[str, str, str]
COUNTS: Mapping[int, str] = {1: "250 ms", 10: "", 50: "2.5 s"}
BESIDE = (100, 500)
SHARE_OF_SWARM = 0.75
WHO = ("kat", "raw", "swarm")
NAMES = {
    "kat": "KAT",
    "raw": "`.container` files, daemon-reload, start",
    "swarm": "docker swarm",
}


def starts(node: Node, rounds: int) -> Iterator[Row]:
    """Yield a row for each count and each way; the ways take turns."""
    ask(node, "kat", "stand")
    for who in WHO:
        ask(node, who, "start", "1")  # what is slow only once is no figure
    for count, target in COUNTS.items():
        taken: dict[str, list[Mapping[str, float]]] = {who: [] for who in WHO}
        for _ in range(rounds):
            for who in WHO:
                taken[who].append(ask(node, who, "start", str(count)))
        yield from _started(count, target, taken)
    fresh = [ask(node, "kat", "fresh", "1") for _ in range(rounds)]
    what = "accepted → running, the first instance of a namespace: KAT"
    yield what, shown(_median(fresh, "running")), "stated"


def _started(
    count: int, target: str, taken: Mapping[str, list[Mapping[str, float]]]
) -> Iterator[Row]:
    what = f"accepted → running, {count} instance{'s'[: count > 1]}"
    running = {who: _median(taken[who], "running") for who in WHO}
    yield f"{what}: KAT", shown(running["kat"]), target
    yield f"of it {_split(taken['kat'])}", "", ""
    for who in ("raw", "swarm"):
        aim = f"{SHARE_OF_SWARM}" if who == "swarm" else "stated"
        yield f"{what}: {NAMES[who]}", shown(running[who]), "for scale"
        yield f"KAT ÷ {NAMES[who]}", f"{running['kat'] / running[who]:.2f}", aim


def changes(node: Node, rounds: int) -> Iterator[Row]:
    """Yield the rows of one unit that changes while others run."""
    for count in BESIDE:
        kat, raw = (_changed(node, who, count, rounds) for who in ("kat", "raw"))
        what = f"one unit changed, {count} others run"
        yield (
            f"{what}: KAT, accepted → running",
            shown(_median(kat, "running")),
            "10 ms at 1,000, no reload",
        )
        yield f"of it {_split(kat)}", "", ""
        yield f"{what}: file, daemon-reload, restart", shown(_median(raw, "running")), "for scale"
        yield "of it daemon-reload", shown(_median(raw, "reload")), "for scale"


def _changed(node: Node, who: str, count: int, rounds: int) -> list[Mapping[str, float]]:
    ask(node, who, "hold", str(count))
    ask(node, who, "change", "first")
    taken: list[Mapping[str, float]] = [ask(node, who, "change", f"{n}") for n in range(rounds)]
    ask(node, who, "delete")
    return taken


def _split(taken: Sequence[Mapping[str, float]]) -> str:
    """Return where KAT's time went, by the moments that the leader and PID 1 know."""
    moments = [
        ("planned", "proposing"),
        ("verified and committed", "committed"),
        ("last unit begun", "begun"),
        ("last unit up", "up"),
        ("known to be steady", "done"),
    ]
    return ", ".join(f"{what} after {shown(_median(taken, key))}" for what, key in moments)


def _median(taken: Sequence[Mapping[str, float]], key: str) -> float:
    found = [one[key] for one in taken if key in one]
    return statistics.median(found) if found else 0.0


def shown(seconds: float) -> str:
    """Return a time as people read it."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
