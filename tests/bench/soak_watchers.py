"""A process full of watchers, each of which holds every event against what must come next.

Every object counts its writes, so that a watcher sees at once what it was not told, or told twice.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import aiohttp
import msgspec

from tests.bench.leader_process import Running, client

GONE = 410
SLOW_S = 0.4
"""What a slow watcher does with each event: it falls behind, and has to list again."""
LATENCIES_MAX = 400_000


@dataclass
class Findings:
    """What all watchers of a process saw."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


@dataclass
class Watcher:
    """One watch, as often as it is begun anew. `namespace` '' is all of them."""

    session: aiohttp.ClientSession
    namespace: str
    manner: str
    """steady, slow or dying"""
    found: Findings
    counts: dict[str, int] = field(default_factory=dict)
    version: str = ""

    @property
    def path(self) -> str:
        return f"/v1alpha1/n/{self.namespace}/configs" if self.namespace else "/v1alpha1/configs"

    async def run(self) -> None:
        while True:
            try:
                await self.watch()
            except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
                self.found.counts["lost connections"] += 1
            await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 -- no secret

    async def watch(self) -> None:
        query = {"watch": "1"} | ({"resourceVersion": self.version} if self.version else {})
        life_s = random.uniform(2, 15) if self.manner == "dying" else 1e9  # noqa: S311 -- the same
        async with self.session.get(self.path, params=query) as answer:
            if answer.status == GONE:
                self.again()
                return
            if answer.status != 200:
                self.found.counts[f"status {answer.status}"] += 1
                return
            if not self.version:
                self.counts.clear()
            self.found.counts["begun"] += 1
            until = time.monotonic() + life_s
            async for text in answer.content:
                if not self.take(msgspec.json.decode(text)) or time.monotonic() > until:
                    return
                if self.manner == "slow":
                    await asyncio.sleep(SLOW_S)

    def again(self) -> None:
        """List again: what is seen next is the first of everything."""
        self.found.counts[f"listed again ({self.manner})"] += 1
        self.counts.clear()
        self.version = ""

    def take(self, line: dict[str, object]) -> bool:
        """Hold a line against what was seen before; False ends the watch."""
        kind, shown = str(line["type"]), line["object"]
        if kind == "ERROR":
            self.again()
            return False
        self.version = str(line.get("resourceVersion", self.version))
        if kind != "BOOKMARK" and isinstance(shown, dict):
            self.judge(kind, shown, is_first="resourceVersion" not in line)
        return True

    def judge(self, kind: str, shown: dict[str, dict[str, str]], *, is_first: bool) -> None:
        name = f"{shown['metadata']['namespace']}/{shown['metadata']['name']}"
        count, before = int(shown["data"]["count"]), self.counts.get(name, 0)
        self.found.counts["events"] += 1
        right = {"ADDED": before == 0, "MODIFIED": before == count - 1, "DELETED": before == count}
        if not right[kind] and len(self.found.faults) < 20:
            self.found.faults.append(f"{self.manner} {kind} {name}: {before} then {count}")
        if kind == "DELETED":
            self.counts.pop(name, None)
            return
        self.counts[name] = count
        if not is_first and self.manner == "steady" and len(self.found.latencies) < LATENCIES_MAX:
            self.found.latencies.append(time.time() - float(shown["data"]["written"]))


def watch(running: Running, plan: list[tuple[str, str]], pipe: Connection) -> None:
    """Run watchers of (namespace, manner) until told to stop; then say what was seen."""
    asyncio.run(_watch(running, plan, pipe))


async def _watch(running: Running, plan: list[tuple[str, str]], pipe: Connection) -> None:
    found = Findings()
    async with client(running, len(plan) + 10) as session:
        watchers = [Watcher(session, namespace, manner, found) for namespace, manner in plan]
        tasks = [asyncio.create_task(one.run()) for one in watchers]
        await asyncio.to_thread(pipe.recv)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    steady = {
        (one.namespace, number): one.counts
        for number, one in enumerate(watchers)
        if one.manner == "steady"
    }
    pipe.send((found.counts, found.faults, found.latencies, steady))
