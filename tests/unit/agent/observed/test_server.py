"""What the agent says of itself to who watches it, over its real sockets."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.observed.counts import Look, Spread
from agent.observed.server import health, observed, readiness
from agent.state import NodeConfig
from katgen.leader import pki
from katgen.names import NodeName
from tests.fakes import FakeNode

FINE = Look(late_s=0, applied=(1, 7), known=(1, 7), is_resumed=True)
DEADLINE_S = 5
SECOND = "127.0.0.2"


@dataclass
class Agent:
    node: FakeNode
    port: int
    folder: Path
    ca: pki.Authority
    look: Look = FINE

    async def get(self, path: str, accept: str = "*/*", tls: ssl.SSLContext | None = None) -> bytes:
        """Return an answer with its head, asked on loopback, or by TLS at the other address."""
        request = f"GET {path} HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode()
        name = pki.AGENT_NAME if tls else None
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(
                        SECOND if tls else "127.0.0.1", self.port, ssl=tls, server_hostname=name
                    )
                except ConnectionRefusedError:  # it does not listen yet
                    await asyncio.sleep(0)
                    continue
                writer.write(request)
                answer = await reader.read()
                writer.close()
                return answer

    async def told(self, path: str) -> tuple[int, str]:
        head, _, body = (await self.get(path)).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    async def scraped(self) -> dict[str, float]:
        _, body = await self.told("/metrics")
        return {
            one.name + "".join(f",{name}={value}" for name, value in sorted(one.labels.items())):
            one.value
            for family in text_string_to_metric_families(body)
            for one in family.samples
        }  # fmt: skip

    def client(self, pair: pki.Pair | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self.ca.pair.certificate.decode())
        if pair is not None:
            both = self.folder / "client.pem"
            both.write_bytes(pair.certificate + pair.key)
            made.load_cert_chain(both)
        return made


def free_port() -> int:
    with socket.create_server(("", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@asynccontextmanager
async def watched(folder: Path, *, port: int = 0) -> AsyncIterator[Agent]:
    """Have an agent's health and metrics answered at 127.0.0.1, and by TLS at 127.0.0.2."""
    ca, node = pki.make_ca("home"), FakeNode()
    pair = pki.issue_node(ca, "u", "a")
    for name, content in (
        ("node.crt", pair.certificate),
        ("node.key", pair.key),
        ("ca.crt", ca.pair.certificate),
    ):
        (folder / name).write_bytes(content)
    one = Agent(node, port or free_port(), folder, ca)
    config = NodeConfig(NodeName("a"), "https://192.0.2.11:9115", "u", SECOND, one.port)
    async with observed(node.ports, config, lambda: one.look, folder):
        yield one


# --- health and readiness -------------------------------------------------------------------------


def test_an_agent_that_ticks_and_follows_is_healthy_and_ready() -> None:
    assert health(FINE).is_ok
    assert readiness(FINE).is_ok


def test_health_is_lost_only_with_the_ticks() -> None:
    wrong = replace(FINE, applied=None, is_resumed=False, problems=frozenset({"apply", "rules"}))
    assert health(wrong).is_ok
    assert not health(replace(FINE, late_s=1)).is_ok


@pytest.mark.parametrize(
    ("look", "failed"),
    [
        (replace(FINE, applied=None), "plan"),
        (replace(FINE, is_resumed=False), "apply"),
        (replace(FINE, problems=frozenset({"record"})), "apply"),
        (replace(FINE, problems=frozenset({"bundle"})), "apply"),
        (replace(FINE, problems=frozenset({"memory"})), "apply"),
        (replace(FINE, problems=frozenset({"rules"})), "rules"),
    ],
)
def test_what_keeps_a_node_from_its_plan_keeps_it_from_being_ready(look: Look, failed: str) -> None:
    assert [one.name for one in readiness(look).checks if not one.is_ok] == [failed]


def test_a_node_is_ready_without_a_leader_and_while_it_is_held() -> None:
    assert readiness(replace(FINE, is_connected=False, is_held=True)).is_ok


async def test_readiness_is_told_in_a_word_or_check_by_check(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        assert await agent.told("/healthz") == (200, "ok")
        assert await agent.told("/readyz") == (200, "ok")
        agent.look = replace(FINE, problems=frozenset({"rules"}))
        assert await agent.told("/readyz") == (503, "not ready: rules")
        status, body = await agent.told("/readyz?verbose")
        assert (status, json.loads(body)) == (
            503,
            {
                "ok": False,
                "checks": [
                    {"name": "plan", "ok": True},
                    {"name": "apply", "ok": True},
                    {"name": "rules", "ok": False},
                ],
            },
        )


async def test_there_is_nothing_else(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        status, _ = await agent.told("/v1alpha1/nodes")
        assert status == 404


# --- metrics --------------------------------------------------------------------------------------


def test_durations_are_counted_up_to_each_bound() -> None:
    spread = Spread((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        spread.add(seconds)
    assert spread.up_to() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert spread.sum_s == pytest.approx(7.65)


async def test_metrics_are_what_was_counted_and_what_is_so_now(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        counts = agent.node.counts
        counts.applied("changed", 0.2, ("write", "write", "start"))
        counts.refused("bundle")
        counts.restarted(2)
        agent.look = replace(
            FINE, known=(1, 8), is_connected=True, instances={"active": 3}, ready=2, revived=1
        )
        found = await agent.scraped()
        assert found["kat_agent_applies_total,outcome=changed"] == 1
        assert found["kat_agent_applies_total,outcome=failed"] == 0
        assert found["kat_agent_actions_total,verb=write"] == 2
        assert found["kat_agent_apply_seconds_bucket,le=0.25"] == 1
        assert found["kat_agent_apply_seconds_bucket,le=0.1"] == 0
        assert found["kat_agent_apply_failures_total,topic=bundle"] == 1
        assert found["kat_agent_restarts_total,by=systemd"] == 2
        assert found["kat_agent_restarts_total,by=liveness"] == 1
        assert found["kat_agent_applied_generation"] == 7
        assert found["kat_agent_known_generation"] == 8
        assert found["kat_agent_session"] == 1
        assert found["kat_agent_instances,state=active"] == 3
        assert found["kat_agent_instances_ready"] == 2
        assert found["process_resident_memory_bytes"] > 0


async def test_metrics_as_json_are_the_same(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        head, _, body = (await agent.get("/metrics", "application/json")).partition(b"\r\n\r\n")
        assert b"Content-Type: application/json" in head
        found = {one["name"]: one for one in msgspec.json.decode(body)["metrics"]}
        assert found["kat_build_info"]["samples"][0]["labels"]["role"] == "agent"
        assert found["kat_agent_applied_generation"]["samples"][0]["value"] == 7
        told = {name.partition(",")[0] for name in await agent.scraped()}
        assert {sample["name"] for one in found.values() for sample in one["samples"]} == told


# --- who may ask ----------------------------------------------------------------------------------


async def test_by_network_only_who_has_the_cluster_s_certificate_may_ask(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        for pair in (pki.issue_node(agent.ca, "u", "b"), pki.issue_admin(agent.ca, "u", "ann")):
            assert (await agent.get("/readyz", tls=agent.client(pair))).endswith(b"\r\n\r\nok")


async def test_by_network_nobody_else_hears_anything(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        for pair in (None, pki.issue_node(pki.make_ca("home"), "u", "b")):
            try:
                answer = await agent.get("/healthz", tls=agent.client(pair))
            except (ssl.SSLError, ConnectionError):  # the refusal may come before the end
                answer = b""
            assert answer == b""


async def test_a_renewed_certificate_is_shown_at_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        client = agent.client(pki.issue_admin(agent.ca, "u", "ann"))
        await agent.get("/readyz", tls=client)
        other = pki.make_ca("home")
        pair = pki.issue_node(other, "u", "a")
        (tmp_path / "node.crt").write_bytes(pair.certificate)
        (tmp_path / "node.key").write_bytes(pair.key)
        with pytest.raises(ssl.SSLCertVerificationError):
            await agent.get("/readyz", tls=client)


async def test_by_network_nothing_is_said_in_the_clear(tmp_path: Path) -> None:
    async with watched(tmp_path) as agent:
        await agent.told("/healthz")
        reader, writer = await asyncio.open_connection(SECOND, agent.port)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert b"HTTP" not in await reader.read()
        writer.close()


async def test_a_port_that_somebody_has_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with watched(tmp_path, port=port) as agent:
            await agent.node.clock.advance(0)
            assert f"metrics at 127.0.0.1:{port}: " in caplog.text
            other.close()
            await agent.node.clock.advance(15)
            assert await agent.told("/healthz") == (200, "ok")
