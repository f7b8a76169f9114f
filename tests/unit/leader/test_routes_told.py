"""What the API tells of nodes, instances and changes, from the loop and the agents."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from aiohttp import ClientError

from katgen.leader.answers import Progress
from katgen.leader.documents import ObjectKey
from katgen.leader.routes import wire
from katgen.leader.store import Transaction
from katgen.leader.tokens import make_token
from katgen.names import NodeName
from katgen.protocol import LogEnd, LogLine, LogLines, ReadLogs, ToAgent, ToLeader
from tests.unit.leader.api import UID, Api, Told, api
from tests.unit.leader.given import NOW, workload


@pytest.fixture
async def kat() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


async def lines(kat: Api, path: str) -> list[Any]:
    answer = await kat.ask("GET", path)
    assert answer.status == 200
    return [msgspec.json.decode(line) for line in (await answer.text()).splitlines() if line]


async def test_health_needs_no_token(kat: Api) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await kat.client.get(path)
        assert (answer.status, await answer.text()) == (200, "ok")


async def test_the_version_tells_how_far_the_cluster_is(kat: Api) -> None:
    told = await kat.get("/v1alpha1/version")
    del told["version"]
    assert told == {"cluster": "kat", "uid": UID, "generation": 7, "epoch": 1}


async def test_a_change_is_followed_to_its_end(kat: Api) -> None:
    told = await lines(kat, "/v1alpha1/changes/3")
    assert [(one["phase"], one["generation"]) for one in told] == [("committed", 2), ("done", 2)]


async def test_a_stream_without_news_shows_that_it_lives(
    kat: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ALIVE_S", 0.001)

    async def slow() -> AsyncIterator[str]:
        for _ in range(3):
            await once_more(kat)
        yield "end"

    said = [line async for line in wire.kept_alive(slow())]
    assert said[0] == b"\n"
    assert said[-1] == b'"end"\n'


async def once_more(kat: Api) -> None:
    for _ in range(20):
        await kat.client.get("/healthz")


async def test_instances_are_objects_named_by_workload_and_id(kat: Api) -> None:
    (one,) = (await kat.get("/v1alpha1/n/default/instances"))["items"]
    assert one["metadata"] == {"name": "web/0-1", "namespace": "default"}
    assert (one["workload"], one["node"], one["state"]) == ("web", "n1", "running")
    assert (await kat.get("/v1alpha1/n/other/instances"))["items"] == []


async def test_usage_is_of_instances_alone(kat: Api) -> None:
    assert (await kat.get("/v1alpha1/usage"))["items"] == [
        {
            "namespace": "default",
            "name": "web/0-1",
            "node": "n1",
            "time": 12.5,
            "cpuNs": 1000,
            "memoryBytes": 2048,
        }
    ]


async def test_logs_come_by_instance(kat: Api) -> None:
    path = "/v1alpha1/n/default/workloads/web/logs?since=60&tail=5&follow=1&instance=web/0-1"
    assert await lines(kat, path) == [{"time": 1.5, "instance": "web/0-1", "text": "hello"}]
    (asked,) = kat.told.asked
    assert asked == ReadLogs(
        id="", units=("kat.default.web.0-1.service",), follow=True, since=NOW - 60, lines=5
    )


async def test_logs_have_what_systemd_says_if_asked_for(kat: Api) -> None:
    await lines(kat, "/v1alpha1/n/default/workloads/web/logs?everything=1")
    assert kat.told.asked == [
        ReadLogs(id="", units=("kat.default.web.0-1.service",), everything=True)
    ]


@dataclass
class Following(Told):
    """An agent that has said one line, and waits for more."""

    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:  # noqa: ARG002 -- the port's signature
        try:
            yield LogLines("1", (LogLine(1, "kat.default.web.0-1.service", "hello"),))
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_an_agent_hears_that_the_reader_of_its_journal_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "ALIVE_S", 0.01)
    told = Following()
    async with api(told) as kat:
        answer = await kat.ask("GET", "/v1alpha1/n/default/workloads/web/logs?follow=1")
        assert b"hello" in await answer.content.readline()
        assert not told.closed.is_set()
        answer.close()
        await asyncio.wait_for(told.closed.wait(), 5)


async def test_who_loses_its_token_loses_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ALIVE_S", 0.01)
    told, token = Following(), make_token("bob", "admin", "t")
    async with api(told) as kat:
        await kat.store.commit(Transaction(puts={token.path: token.value}))
        bob = replace(kat, token=token.text)
        answer = await bob.ask("GET", "/v1alpha1/n/default/workloads/web/logs?follow=1")
        for _ in range(20):
            assert await answer.content.readline() != b""
        await kat.store.commit(Transaction(deletes=[token.path]))
        with pytest.raises(ClientError):
            await asyncio.wait_for(answer.read(), 5)
        await asyncio.wait_for(told.closed.wait(), 5)


@dataclass
class Faulty(Told):
    """A loop with a fault, before or after it has said something."""

    says: Sequence[Progress] = ()

    async def changes(self, revision: int) -> AsyncIterator[Progress]:  # noqa: ARG002 -- the port's signature
        for one in self.says:
            yield one
        raise ValueError("a secret detail")


async def test_a_fault_is_told_as_one_and_without_its_details() -> None:
    async with api(Faulty()) as kat:
        assert await kat.refused("GET", "/v1alpha1/changes/3") == (
            500,
            "a fault in KAT; the leader's journal says more",
            [],
        )


async def test_a_stream_that_breaks_does_not_look_finished() -> None:
    async with api(Faulty(says=(Progress("committed", 2),))) as kat:
        answer = await kat.ask("GET", "/v1alpha1/changes/3")
        assert answer.status == 200
        with pytest.raises(ClientError):
            await answer.read()


async def test_logs_of_a_node_that_is_gone_say_so() -> None:
    async with api(Told(connected_=frozenset())) as kat:
        assert await lines(kat, "/v1alpha1/n/default/workloads/web/logs") == [
            {"time": 0.0, "instance": "", "text": "node n1 is not connected"}
        ]


async def test_logs_of_what_is_not_there_are_not_found(kat: Api) -> None:
    for path in ("gone/logs", "web/logs?instance=9-9"):
        answer = await kat.ask("GET", f"/v1alpha1/n/default/workloads/{path}")
        assert answer.status == 404
    await kat.write("POST", "/v1alpha1/apply", workload("idle"))
    assert await lines(kat, "/v1alpha1/n/default/workloads/idle/logs") == []


async def test_a_node_has_the_status_that_the_leader_sees(kat: Api) -> None:
    document = {
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"overlayNetwork": {"interface": "eth0"}},
    }
    path = ObjectKey("Node", "-", "n1").path
    await kat.store.commit(Transaction(puts={path: msgspec.json.encode(document)}))
    node = await kat.get("/v1alpha1/nodes/n1")
    assert node["status"] == {
        "overlayNetwork": {"interface": "eth0"},
        "condition": "Ready",
        "sync": "in sync: n1",
    }
    assert [one["metadata"]["name"] for one in (await kat.get("/v1alpha1/nodes"))["items"]] == [
        "n1"
    ]


async def test_explanations_events_and_plans_are_passed_on(kat: Api) -> None:
    assert (await kat.get("/v1alpha1/explain/default/web"))["placed"] == 1
    assert (await kat.ask("GET", "/v1alpha1/explain/default/gone")).status == 404
    await kat.write("POST", "/v1alpha1/apply", workload("new"))
    assert (await kat.ask("GET", "/v1alpha1/explain/default/new")).status == 409
    (event,) = (await kat.get("/v1alpha1/events?namespace=shop&workload=web"))["items"]
    assert (event["namespace"], event["name"]) == ("shop", "web")
    assert (await kat.get("/v1alpha1/plans"))["items"][0]["generation"] == 7


@dataclass
class Quoting(Told):
    """An agent that has lines of others too, and odd times."""

    async def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:  # noqa: ARG002 -- the port's signature
        mine, other = "kat.default.web.0-1.service", "kat.default.bank.0-1.service"
        yield LogLines("1", (LogLine(1, other, "not mine"), LogLine(1, "", "nobody's")))
        yield LogLines("1", (LogLine(1e300, mine, "late"), LogLine(-1e300, mine, "early")))
        yield LogEnd("1")


async def test_an_agent_quotes_what_it_was_asked_for_alone() -> None:
    async with api(Quoting()) as kat:
        assert await lines(kat, "/v1alpha1/n/default/workloads/web/logs") == [
            {"time": 2.0**33, "instance": "web/0-1", "text": "late"},
            {"time": 0.0, "instance": "web/0-1", "text": "early"},
        ]
