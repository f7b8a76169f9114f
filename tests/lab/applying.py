"""Run on a host, by its own Python: stage, verify and apply one generation, as the agent does.

Reads JSON from standard input: the answer of a leader, the record and all contents. Writes JSON:
what was done and what went wrong. Without an answer it does what the agent does at its start.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from agent.apply import Outcome, apply, resume
from agent.machine_ports import opened
from agent.ports import NodePorts
from agent.stage import stage
from agent.target import target_from
from agent.verify import verify
from katgen.names import NodeName
from katgen.protocol import BundleAnswer, CommitRecord, SignedRecord, ToAgent, ToLeader


class Told:
    """A leader that says what standard input said."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.answer = msgspec.json.decode(told["answer"], type=BundleAnswer)
        self.files = {d: base64.b64decode(c) for d, c in told["contents"].items()}

    async def send(self, message: ToLeader) -> None:
        """Hear nothing."""

    def messages(self) -> AsyncIterator[ToAgent]:
        """Say nothing."""
        raise NotImplementedError

    async def bundle(self, _: int) -> BundleAnswer:
        """Give the answer."""
        return self.answer

    async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
        """Give contents."""
        return {digest: self.files[digest] for digest in digests}


async def main() -> None:
    """Do what standard input says."""
    told = json.load(sys.stdin)
    async with opened() as node:
        if "answer" not in told:
            outcome = await resume(node)
            print(json.dumps({"resumed": outcome is not None}))  # noqa: T201 -- its answer
            return
        print(json.dumps(await _one(node, told)))  # noqa: T201 -- its answer


async def _one(node: NodePorts, told: Mapping[str, Any]) -> dict[str, object]:
    session = Told(told)
    record = msgspec.json.decode(told["record"], type=CommitRecord)
    signed = SignedRecord(told["record"], "", "")
    answer = session.answer
    target = target_from(answer, NodeName(told["node"]), record.root, record.size)
    times = [time.monotonic()]
    staged = await stage(target, session, node)
    times.append(time.monotonic())
    refused = await verify(staged, node)
    times.append(time.monotonic())
    outcome = Outcome()
    if not refused:
        outcome = await apply(target.committed(signed, record), node)
    times.append(time.monotonic())
    return {
        "seconds": [round(b - a, 3) for a, b in pairwise(times)],
        "refused": [f"{c.tool}: {c.path}: {c.text}" for c in refused],
        "actions": [f"{a.verb} {a.path or a.unit}" for a in outcome.actions],
        "failed": [[one.unit, one.result, *one.lines] for one in outcome.failed],
        "waiting": list(outcome.waiting),
        "problems": [f"{c.tool}: {c.text}" for c in outcome.problems],
    }


asyncio.run(main())
