"""Health, readiness and metrics of the leader."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from katgen.exposition import families, text
from katgen.leader.cluster import Cluster
from katgen.leader.metrics.figures import looking
from katgen.leader.metrics.prometheus import Figures, Metrics
from katgen.leader.metrics.store import MeasuredStore
from katgen.leader.store import ConflictError, StoreError, Transaction
from katgen.leader.store.memory import MemoryStore
from tests.unit.leader.api import Api, api


def samples(exposition: str) -> dict[str, float]:
    """Return values by their name and labels, as Prometheus writes them."""
    found = {}
    for family in text_string_to_metric_families(exposition):
        for one in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return found


async def scraped(client: Api) -> dict[str, float]:
    answer = await client.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(await answer.text())


async def test_health_is_for_anybody() -> None:
    async with api() as client:
        for path in ("/healthz", "/readyz"):
            answer = await client.client.get(path)
            assert (answer.status, await answer.text()) == (200, "ok")


async def test_metrics_are_for_those_the_cluster_knows() -> None:
    async with api() as client:
        answer = await client.client.get("/metrics")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_leader_whose_store_does_not_answer_lives_and_is_not_ready() -> None:
    async with api() as client:

        async def silent(key: str) -> None:
            raise StoreError(f"no answer to {key}")

        client.store.get = silent  # type: ignore[method-assign]  # the outage
        answer = await client.client.get("/readyz?verbose=1")
        assert answer.status == 503
        checks = {one["name"]: one["ok"] for one in (await answer.json())["checks"]}
        assert checks == {"store": False, "plan": True}
        plain = await client.client.get("/readyz")
        assert (plain.status, await plain.text()) == (503, "not ready: store")
        assert (await client.client.get("/healthz")).status == 200


async def test_answers_are_counted_by_the_template_of_their_route() -> None:
    async with api() as client:
        for name in ("a", "b"):
            await client.ask("GET", f"/v1alpha1/n/default/workloads/{name}")
        await client.ask("PROPFIND", "/teapot")
        found = await scraped(client)
        route = "/v1alpha1/n/{ns}/{kinds}/{name}"
        assert found[f'kat_http_requests_total{{method="GET",route="{route}",status="404"}}'] == 2
        assert found[f'kat_http_request_seconds_count{{method="GET",route="{route}"}}'] == 2
        assert found['kat_http_requests_total{method="other",route="unknown",status="404"}'] == 1


async def test_no_name_of_a_user_becomes_a_label() -> None:
    async with api() as client:
        await client.ask("GET", "/v1alpha1/n/shop/workloads/very-private")
        assert not [one for one in await scraped(client) if "private" in one or "shop" in one]


async def test_json_says_the_same_as_the_text() -> None:
    async with api() as client:
        answer = await client.ask("GET", "/metrics", headers={"Accept": "application/json"})
        assert answer.content_type == "application/json"
        found = {one["name"]: one for one in (await answer.json())["metrics"]}
        build = found["kat_build_info"]
        assert (build["type"], build["samples"][0]["value"]) == ("gauge", 1)
        assert build["samples"][0]["labels"]["role"] == "leader"
        told = {one.partition("{")[0] for one in await scraped(client)}
        assert told >= {sample["name"] for sample in build["samples"]}


def test_figures_are_looked_at_when_somebody_asks() -> None:
    metrics, now = Metrics(), [Figures(generation=1)]
    metrics.look(lambda: now[0])
    now[0] = Figures(
        generation=2, nodes={("Ready", "in sync"): 3}, instances={("running", "ready"): 4}
    )
    found = samples(text(metrics.registry).decode())
    assert found["kat_generation"] == 2
    assert found['kat_nodes{condition="Ready",sync="in sync"}'] == 3
    assert found['kat_instances{endpoint="ready",state="running"}'] == 4


def test_an_empty_cluster_has_figures() -> None:
    figures = looking(Cluster(), lambda: 3, lambda: 5)()
    assert figures == Figures(events=3, store_revision=5)


async def test_what_a_store_does_is_measured_and_what_it_does_not() -> None:
    metrics = Metrics()
    store = MeasuredStore(MemoryStore(), metrics)
    await store.commit(Transaction(puts={"a": b"1"}))
    with pytest.raises(ConflictError):
        await store.commit(Transaction(puts={"a": b"2"}, expected={"a": 0}))
    assert (await store.list("")).revision == store.revision == 1
    found = samples(text(metrics.registry).decode())
    assert found['kat_store_seconds_count{operation="commit"}'] == 2
    assert found['kat_store_errors_total{error="ConflictError",operation="commit"}'] == 1


def test_a_step_of_planning_is_measured_also_if_it_fails() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="no"), metrics.planning("draft"):
        raise ValueError("no")
    metrics.proposed("refused")
    found = samples(text(metrics.registry).decode())
    assert found['kat_plan_seconds_count{step="draft"}'] == 1
    assert found['kat_proposals_total{outcome="refused"}'] == 1
    assert found['kat_proposals_total{outcome="committed"}'] == 0


def test_metrics_as_values_are_json() -> None:
    made = families(Metrics().registry)
    names = {one.name for one in made.metrics}
    assert "process_resident_memory_bytes" in names
    assert "kat_proposals" in names


@pytest.mark.parametrize("query", ["verbose", "verbose=1", "verbose=true"])
async def test_who_asks_for_more_hears_of_each_check(query: str) -> None:
    async with api() as client:
        answer = await client.client.get(f"/readyz?{query}")
        found = await answer.json()
        assert answer.status == 200
        assert found["ok"] is True
        assert [(one["name"], one["ok"]) for one in found["checks"]] == [
            ("store", True),
            ("plan", True),
        ]


async def test_an_open_watch_is_a_stream() -> None:
    async with api() as client:
        path = "/v1alpha1/n/default/configs"
        listed = await (await client.ask("GET", path)).json()
        query = f"watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
        streams = 'kat_http_streams{route="/v1alpha1/n/{ns}/{kinds}"}'
        watch = await client.ask("GET", f"{path}?{query}")
        assert (await scraped(client))[streams] == 1
        watch.close()
        async with asyncio.timeout(5):
            while (await scraped(client))[streams]:
                pass
