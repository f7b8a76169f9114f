"""Asking nodes to stage and verify a bundle, and what follows from their answers (spec §6.2).

Refused, unfit and late are three things: an artifact is wrong, a node is sick, a node is silent.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from katgen.bundle import entry
from katgen.leader.holds import Fault, Reason
from katgen.leader.services import NotConnectedError
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.protocol import Complaint, Propose, ToAgent, ToLeader, Verdict
from katgen.render.cluster import Rendered
from katgen.revision import references

TIMEOUT_S: Final = 2.0
FAST_TIMEOUT_S: Final = 0.5
_UNIT: Final = re.compile(r"kat\.([-a-z0-9]+)\.([-a-z0-9]+)[.-].*")
_CONFIG: Final = re.compile(r"/var/lib/kat/config/([-a-z0-9]+)/([-a-z0-9]+)/.*")


class Asks(Protocol):
    """What is needed of the sessions."""

    async def ask(self, node: NodeName, message: ToAgent, timeout_s: float) -> ToLeader:
        """Send a request and return its last answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """By node. Silent nodes are in `late` and have no verdict."""

    verdicts: Mapping[NodeName, Verdict] = field(default_factory=dict)
    late: frozenset[NodeName] = frozenset()


@dataclass(frozen=True, slots=True)
class Refusal:
    """`node`'s tool refused an artifact."""

    node: NodeName
    complaint: Complaint

    def __str__(self) -> str:
        return f"node {self.node} refuses {self.complaint.path}: {self.complaint.text}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows: `refusals` stop the change, `unfit` nodes and late ones do not."""

    refusals: tuple[Refusal, ...] = ()
    unfit: Mapping[NodeName, str] = field(default_factory=dict)
    late: frozenset[NodeName] = frozenset()


async def ask_all(agents: Asks, nodes: Collection[NodeName], message: Propose) -> Answers:
    """Ask every node at once, and wait no longer than the proposal says."""

    async def one(node: NodeName) -> tuple[NodeName, Verdict | None]:
        try:
            answer = await agents.ask(node, message, message.timeout_s)
        except (TimeoutError, NotConnectedError):
            return node, None
        return node, answer if isinstance(answer, Verdict) else None

    answers = await asyncio.gather(*(one(node) for node in sorted(nodes)))
    verdicts = {node: verdict for node, verdict in answers if verdict is not None}
    return Answers(verdicts, frozenset(node for node, verdict in answers if verdict is None))


def judge(answers: Answers, rendered: Rendered, changed: Collection[WorkloadKey] = ()) -> Judgement:
    """Return what the answers mean, so that no node can stop what is none of its business.

    A refusal counts if it is about an entry of what was proposed to that node. It makes the node
    unfit if all others that have the entry take it, or if some take their bundles and no changed
    workload is to blame.
    """
    refusing = {n: v for n, v in answers.verdicts.items() if v.outcome == "refused"}
    unfit = {n: _said(v) for n, v in answers.verdicts.items() if v.outcome not in _DECIDED}
    entries = {n: _entries(n, rendered) for n in answers.verdicts} if refusing else {}
    is_taken = any(verdict.outcome == "ok" for verdict in answers.verdicts.values())
    refusals: list[Refusal] = []
    for node, verdict in refusing.items():
        own = [c for c in verdict.complaints if (c.path, c.digest) in entries[node]]
        shared = [Refusal(node, c) for c in own if not _is_alone(node, c, answers, entries)]
        real = [one for one in shared if not is_taken or blamed(one, rendered, changed)]
        refusals += real
        if not real:
            what = "what other nodes accept" if own else "what is not in its bundle"
            unfit[node] = f"refuses {what}: {_said(verdict)}"
    return Judgement(tuple(refusals), unfit, answers.late)


_DECIDED: Final = frozenset({"ok", "refused"})
_Entries = frozenset[tuple[str, str]]
"""Path and digest of every file of a bundle."""


def _said(verdict: Verdict) -> str:
    texts = (complaint.text for complaint in verdict.complaints)
    return "; ".join(filter(None, texts)) or verdict.outcome


def _entries(node: NodeName, rendered: Rendered) -> _Entries:
    if node not in rendered.nodes:
        return frozenset()
    own = {(one.path, one.digest) for one in rendered.nodes[node].manifest.entries}
    for name in rendered.sets_of(node):
        own |= {(one.path, one.digest) for one in map(entry, rendered.shared[name].artifacts)}
    return frozenset(own)


def _is_alone(
    node: NodeName, complaint: Complaint, answers: Answers, entries: Mapping[NodeName, _Entries]
) -> bool:
    """Whether others have the same file, and all of them take it."""
    about = (complaint.path, complaint.digest)
    others = [n for n, known in entries.items() if n != node and about in known]
    return bool(others) and all(answers.verdicts[n].outcome == "ok" for n in others)


def faults(
    judged: Judgement, rendered: Rendered, changed: Collection[WorkloadKey]
) -> dict[WorkloadKey, Fault]:
    """Return what to hold back because of refusals, with the tools' own words."""
    found: dict[WorkloadKey, Fault] = {}
    for refusal in judged.refusals:
        fault = Fault(Reason.REFUSED, str(refusal))
        for key in blamed(refusal, rendered, changed):
            found.setdefault(key, fault)
    return found


def blamed(
    refusal: Refusal, rendered: Rendered, changed: Collection[WorkloadKey]
) -> frozenset[WorkloadKey]:
    """Return the changed workloads that a refusal holds back: the artifact's owners.

    A file that none owns comes of all that run on its node, or of everything if nodes share it.
    """
    path, node = refusal.complaint.path, refusal.node
    owners = frozenset(_owners(path, rendered, changed)) & frozenset(changed)
    if owners:
        return owners
    if any(one.path == path for of in rendered.shared.values() for one in of.artifacts):
        return frozenset(changed)
    return frozenset(one.of.key for one in rendered.placed.get(node, ())) & frozenset(changed)


def _owners(path: str, rendered: Rendered, changed: Iterable[WorkloadKey]) -> Iterable[WorkloadKey]:
    name = path.rpartition("/")[2]
    if found := _UNIT.fullmatch(name):
        return (WorkloadKey(f"{found[1]}/{found[2]}"),)
    if found := _CONFIG.fullmatch(path):
        config = WorkloadKey(f"{found[1]}/{found[2]}")
        specs = rendered.plan.specs.workloads
        users = (key for key in changed if key in specs)
        return [key for key in users if config in references(specs[key].workload)[0]]
    namespace = _namespace_of_set(path, rendered)
    return [key for key in changed if split_key(key)[0] == namespace]


def _namespace_of_set(path: str, rendered: Rendered) -> str:
    """Return the namespace whose shared set has this file, '' if none has."""
    for name, one in rendered.shared.items():
        if any(artifact.path == path for artifact in one.artifacts):
            namespace = name.rpartition("/")[2]
            return namespace if namespace in rendered.plan.specs.namespaces else ""
    return ""
