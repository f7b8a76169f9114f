"""A change that is checked at its own cost has the problems that a check of everything finds."""

import random

import pytest

from katgen.errors import Problem
from katgen.leader.documents import ObjectKey, Stored, key_of, parsed
from katgen.leader.standing import Grounds, mention
from katgen.parse import Document, Parsed, parse
from katgen.validate import check
from katgen.validate.change import REMARKS, RULES, check_change
from tests.unit.leader.given import WITH_CONFIG, balancer, config, workload

HEAD = "apiVersion: kat/v1alpha1\nkind: "
HOST = "isolation: host-root"
CLUSTER = (
    f"{HEAD}ClusterConfiguration\nmetadata: {{name: kat}}\n"
    "spec: {clusterCIDR: 10.100.0.0/24, serviceCIDR: 10.101.0.0/16, nodeSubnetBits: 5}\n"
)
TEXTS = (
    *(workload(name) for name in ("web", "api", "x" * 63)),
    workload("web", extra=WITH_CONFIG),
    workload("web", extra="replicas: 900"),
    workload("api", extra="dependsOn: [{workload: web, condition: Ready}]"),
    workload("web", extra="dependsOn: [{workload: api, condition: Ready}]"),
    workload("api", extra=HOST),
    workload("api").replace("type: Service", "type: Job"),
    workload("api", extra="container: {ports: [{containerPort: 80, hostPort: 9115}]}"),
    f"{HEAD}JobDefinition\nmetadata: {{name: api}}\nspec: {{}}\n",
    f'{HEAD}JobDefinition\nmetadata: {{name: api}}\nspec: {{schedule: "61 * * * *"}}\n',
    balancer(),
    balancer().replace("name: web", "name: api"),
    config("conf"),
    config("other"),
    f"{HEAD}Namespace\nmetadata: {{name: default}}\nspec: {{allowHostRoot: true}}\n",
    f"{HEAD}Node\nmetadata: {{name: a}}\nspec: {{advertiseAddress: 192.0.2.1}}\n",
    f"{HEAD}Node\nmetadata: {{name: b}}\nspec: {{advertiseAddress: 192.0.2.1}}\n",
    CLUSTER,
    workload("bad", extra="replica: 1"),
)


def documents(text: str) -> tuple[Document, ...]:
    return parse([("given", text.encode())]).documents


def key_in(document: Document) -> ObjectKey:
    key = key_of(document.value)
    assert key is not None
    return key


def own(notes: frozenset[Problem] | tuple[Problem, ...]) -> set[Problem]:
    return {note for note in notes if note.at.file == "given"}


@pytest.mark.parametrize("seed", range(60))
def test_a_change_has_the_problems_that_the_whole_has(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 -- no secret
    stored: dict[ObjectKey, Stored] = {}
    grounds = Grounds()
    outcomes = set()
    for revision in range(1, 25):
        coming = {key_in(one): one for text in dice.sample(TEXTS, 2) for one in documents(text)}
        gone = {key for key in stored if key not in coming and dice.random() < 0.1}
        ground = grounds.of(stored)
        assert ground is not None
        left = frozenset(map(mention, gone | (coming.keys() & stored.keys())))
        told = check_change(ground, left, Parsed(tuple(coming.values())))
        kept = {key: one for key, one in stored.items() if key not in gone | coming.keys()}
        whole = check(Parsed((*parsed(kept.values()).documents, *coming.values())))
        assert told.problems == set(whole.problems)
        assert own(told.notes) == own(whole.notes)
        outcomes.add(not whole.problems)
        if not whole.problems:
            new = {key: Stored(key, one.value, revision) for key, one in coming.items()}
            stored = {**kept, **new}
    assert outcomes == {True, False}


def test_no_rule_of_the_whole_is_left_out() -> None:
    from katgen import validate  # noqa: PLC0415 -- beside its only use

    assert len(RULES) == len(validate.RULES) + len(validate.CLUSTER_RULES)
    assert len(REMARKS) == len(validate.REMARKS) + len(validate.CLUSTER_REMARKS)
