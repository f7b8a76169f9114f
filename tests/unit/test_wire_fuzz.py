"""A parent with values spoilt at random is refused, reported or rendered, and nothing else."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from katgen import check, plan
from katgen.cli.options import Named
from katgen.cli.pipeline import load
from katgen.errors import SpecError
from katgen.render.cluster import render
from katgen.wire import plan_from_json, plan_json
from tests.environment import REPOSITORY

Place = tuple[str | int, ...]
EVIL = "\n[Evil]\n"
VALUES: tuple[object, ...] = (
    None, True, 0, -1, 4096, 2**31, 2**63, 2**70, 1.5, "", "x", "²", "٣", "9" * 5000, "..", "a/b",
    EVIL, f"0123456789{EVIL}", "10.100.0.010", "10.100.0.1/24", "0.0.0.0/0", "abcdef0123",
    [], {}, [EVIL], {EVIL: "x"}, {"0": EVIL},
)  # fmt: skip


def good() -> bytes:
    first, second = (
        load(Named([str(REPOSITORY / "examples" / name)])) for name in ("shop", "shop-v2")
    )
    parent = plan.make_plan(first.specs, first.inventory, None)
    return plan_json(plan.make_plan(second.specs, second.inventory, parent))


GOOD = good()


def places(value: object, at: Place = ()) -> Iterator[Place]:
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*at, index))


OWN = [place for place in places(json.loads(GOOD)) if place and place[0] != "specs"]
IN_SPECS = [place for place in places(json.loads(GOOD)) if place and place[0] == "specs"]


def spoil(document: Any, place: Place, dice: random.Random) -> None:  # noqa: ANN401 -- JSON
    """Put another value, drop one, give it another key, or put a break into its text."""
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    last = place[-1]
    how = dice.randrange(6)
    if how == 0:
        del inner[last]
    elif how == 1 and isinstance(inner, dict):
        inner[dice.choice([EVIL, "²", "..", "", "x", "10.100.0.010"])] = inner.pop(last)
    elif how == 2 and isinstance(inner[last], str):
        at = dice.randrange(len(inner[last]) + 1)
        inner[last] = inner[last][:at] + dice.choice([EVIL, "\0", "0", "é"]) + inner[last][at:]
    elif how == 3 and type(inner[last]) is int:
        inner[last] += dice.choice([-1, 1, 65_536, 2**32])
    else:
        inner[last] = dice.choice(VALUES)


def outcome(data: bytes, written: set[tuple[str, bytes]]) -> str:
    """Say what came of a plan; `written` gets its files."""
    try:
        read = plan_from_json(data, "plan.json")
    except SpecError:
        return "refused"
    if check.check(read, None):
        return "reported"
    rendered = render(read)
    for name in read.inventory.nodes:
        for file in rendered.files(name):
            written.add((file.path, file.content))
    return "rendered"


def outcomes(
    where: list[Place], rounds: int, seed: int, written: set[tuple[str, bytes]]
) -> set[str]:
    dice = random.Random(seed)  # noqa: S311 -- no secret: the same test each time
    seen = set()
    for _ in range(rounds):
        document = json.loads(GOOD)
        spoil(document, dice.choice(where), dice)
        seen.add(outcome(json.dumps(document).encode(), written))
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_with_a_spoilt_decision_is_refused_reported_or_rendered(seed: int) -> None:
    written: set[tuple[str, bytes]] = set()
    assert outcomes(OWN, 425, seed, written) == {"refused", "reported", "rendered"}
    for path, content in written:
        assert "\n" not in path
        assert EVIL.encode() not in content


def test_a_plan_with_a_spoilt_spec_is_refused_reported_or_rendered() -> None:
    assert outcomes(IN_SPECS, 300, 4, set()) == {"refused", "reported", "rendered"}
