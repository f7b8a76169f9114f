"""What is joined at the cost of a change is what joining everything anew would be."""

import random

import pytest

from katgen.leader.desired import EMPTY, Known, joined, read, rejoined
from katgen.leader.documents import ObjectKey, Stored, incoming
from katgen.leader.draft import Draftsman
from katgen.parse import parse
from tests.unit.leader.given import BOX, balancer, config, secret, workload

SPACE = "apiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {name: shop}\n"
TEXTS = (
    *(workload(name) for name in ("web", "api", "db")),
    workload("web", extra="replicas: 3"),
    balancer(),
    config("conf"),
    config("conf").replace('"a"', '"b"'),
    config("other").replace("name: other", "name: other, namespace: shop"),
    secret(),
    SPACE,
)


def known(text: str, revision: int) -> tuple[ObjectKey, Known]:
    given = incoming(parse([("f", text.encode())]))
    (document,) = given.parsed.documents
    ((key, wire),) = Draftsman(BOX, 0.0)._puts((document,), {})  # noqa: SLF001 -- documents as the store has them
    return key, read(Stored(key, wire, revision))


@pytest.mark.parametrize("seed", range(40))
def test_a_change_joins_as_the_whole_does(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 -- no secret
    every: dict[ObjectKey, Known] = {}
    want = EMPTY
    for revision in range(1, 30):
        every = dict(every)
        keys = []
        for text in dice.sample(TEXTS, dice.randint(1, 3)):
            key, one = known(text, revision)
            keys.append(key)
            if dice.random() < 0.4:
                every.pop(key, None)
            elif dice.random() < 0.15:
                every[key] = Known(revision, "u", None, fault="this leader cannot read it")
            else:
                every[key] = one
        after = rejoined(every, want, keys)
        whole = joined(every, want)
        assert after == whole
        assert [*after.specs.workloads] == [*whole.specs.workloads]
        assert [*after.specs.configs] == [*whole.specs.configs]
        assert [*after.specs.namespaces] == [*whole.specs.namespaces]
        want = after
