"""Lists of the API: pages of one revision, selectors, and writes that are only tried."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from katgen.leader.answers import Instance
from katgen.leader.app import Manners
from katgen.leader.limits import Limits, Rate
from katgen.leader.store.limits import Memory
from katgen.leader.store.memory import MemoryStore
from katgen.names import InstanceKey
from tests.unit.leader.api import N1, WEB, Api, Told, api
from tests.unit.leader.given import config, secret, workload

CONFIGS = "/v1alpha1/n/default/configs"
WORKLOADS = "/v1alpha1/n/default/workloads"


@pytest.fixture
async def kat() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


async def put(kat: Api, *texts: str) -> None:
    answer = await kat.write("POST", "/v1alpha1/apply", "---".join(texts))
    assert answer.status == 200, await answer.text()


async def names(kat: Api, path: str) -> list[str]:
    return [one["metadata"]["name"] for one in (await kat.get(path))["items"]]


async def test_pages_are_all_of_the_first_one_s_moment(kat: Api) -> None:
    await put(kat, *(config(name) for name in "bdfhj"))
    first = await kat.get(f"{CONFIGS}?limit=2")
    await put(kat, config("a"), config("e"), config("d", "changed"))
    await kat.ask("DELETE", f"{CONFIGS}/h")
    found, page = list(first["items"]), first
    while token := page["metadata"].get("continue"):
        page = await kat.get(f"{CONFIGS}?limit=2&continue={token}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        found += page["items"]
        await put(kat, config("i", str(len(found))))
    assert [one["metadata"]["name"] for one in found] == ["b", "d", "f", "h", "j"]
    assert {one["data"]["file"] for one in found} == {"a"}


async def test_a_page_says_how_many_are_left(kat: Api) -> None:
    await put(kat, *(config(name) for name in "abcde"))
    page = await kat.get(f"{CONFIGS}?limit=2")
    assert page["metadata"]["remainingItemCount"] == 3
    selected = await kat.get(f"{CONFIGS}?limit=2&fieldSelector=metadata.name!%3Da")
    assert "remainingItemCount" not in selected["metadata"]
    last = await kat.get(f"{CONFIGS}?continue={page['metadata']['continue']}")
    assert [one["metadata"]["name"] for one in last["items"]] == ["c", "d", "e"]
    assert last["metadata"].keys() == {"resourceVersion"}


def within(namespace: str, name: str) -> str:
    return config(name).replace(f"name: {name}", f"name: {name}, namespace: {namespace}")


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_of_a_namespace_end_with_it(kat: Api, limit: int) -> None:
    """Names that begin alike stand next to each other, whatever is sorted."""
    spaces = ("shop", "shop-x", "shop0", "sho")
    await put(kat, *(within(space, f"{space}-{name}") for space in spaces for name in "abc"))
    for space in spaces:
        found: list[str] = []
        page: dict[str, Any] = {"metadata": {"continue": ""}}
        while (token := page["metadata"].get("continue")) is not None:
            page = await kat.get(f"/v1alpha1/n/{space}/configs?limit={limit}&continue={token}")
            found += [one["metadata"]["name"] for one in page["items"]]
        assert found == [f"{space}-{name}" for name in "abc"]


async def test_instances_come_in_pages_of_their_own_order() -> None:
    every = [
        msgspec.structs.replace(WEB, key=InstanceKey(f"default/web/{n}-1")) for n in (2, 10, 9)
    ]
    async with api(Told(instances_=every)) as kat:
        page = await kat.get("/v1alpha1/instances?limit=2")
        rest = await kat.get(f"/v1alpha1/instances?continue={page['metadata']['continue']}")
    found = [one["metadata"]["name"] for one in (*page["items"], *rest["items"])]
    assert (found, len(rest["items"])) == (["web/2-1", "web/9-1", "web/10-1"], 1)


async def test_pages_go_on_with_the_next_leader() -> None:
    store = MemoryStore()
    async with api(store=store) as first:
        await put(first, *(config(name) for name in "abc"))
        page = await first.get(f"{CONFIGS}?limit=1")
        await put(first, config("b", "changed"))
    async with api(store=store) as second:
        rest = await second.get(f"{CONFIGS}?continue={page['metadata']['continue']}")
    assert [one["data"]["file"] for one in rest["items"]] == ["a", "a"]
    await store.close()


async def test_a_page_that_the_store_has_forgotten_is_gone() -> None:
    store = MemoryStore(memory=Memory(revisions=3))
    async with api(store=store) as first:
        await put(first, *(config(name) for name in "abc"))
        token = (await first.get(f"{CONFIGS}?limit=1"))["metadata"]["continue"]
        for number in range(6):
            await put(first, config("b", str(number)))
    async with api(store=store) as second:
        status, detail, _ = await second.refused("GET", f"{CONFIGS}?continue={token}")
    assert status == 410
    assert detail.endswith("begin it again")
    await store.close()


@pytest.mark.parametrize("token", ["x", "WyIxIiwieCJd", "%00", "W10="])
async def test_what_is_no_page_is_refused(kat: Api, token: str) -> None:
    await put(kat, config("a"))
    status, detail, _ = await kat.refused("GET", f"{CONFIGS}?continue={token}")
    assert (status, detail) == (400, "continue is not what an earlier page of this list gave")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("tier=front", ["a"]),
        ("tier==front", ["a"]),
        ("tier!=front", ["b", "c"]),
        ("tier in (front, back)", ["a", "b"]),
        ("tier notin (front),zone", ["b"]),
        ("zone,tier=back", ["b"]),
        ("!tier", ["c"]),
        ("tier in (x)", []),
    ],
)
async def test_labels_select_as_in_kubernetes(kat: Api, selector: str, found: list[str]) -> None:
    def labels(name: str, text: str) -> str:
        return config(name).replace(f"name: {name}", f"name: {name}, labels: {{{text}}}")

    await put(kat, labels("a", "tier: front"), labels("b", "tier: back, zone: z"), config("c"))
    answer = await kat.ask("GET", CONFIGS, params={"labelSelector": selector})
    assert [one["metadata"]["name"] for one in (await answer.json())["items"]] == found


async def test_fields_select_and_unknown_ones_name_the_known(kat: Api) -> None:
    await put(kat, workload("web"), workload("api"))
    assert await names(kat, f"{WORKLOADS}?fieldSelector=metadata.name%3Dweb") == ["web"]
    assert await names(kat, f"{WORKLOADS}?fieldSelector=spec.type%3DJob") == []
    assert await names(kat, f"{WORKLOADS}?fieldSelector=status.state%3Drunning") == ["api", "web"]
    status, detail, _ = await kat.refused("GET", f"{CONFIGS}?fieldSelector=spec.x%3D1")
    known = "metadata.name, metadata.namespace"
    assert (status, detail) == (
        400,
        f"fieldSelector: Config is not selected by 'spec.x', but by {known}",
    )


async def test_instances_are_selected_by_node_and_their_workload_s_labels() -> None:
    both = tuple(
        Instance(InstanceKey(f"default/{name}/0-1"), N1, "", "r", "u", "running")
        for name in ("web", "api")
    )
    async with api(Told(instances_=both)) as kat:
        await put(kat, workload("web").replace("name: web", "name: web, labels: {tier: front}"))
        path = "/v1alpha1/instances"
        assert await names(kat, f"{path}?labelSelector=tier%3Dfront") == ["web/0-1"]
        assert await names(kat, f"{path}?fieldSelector=spec.node%3Dn1") == ["api/0-1", "web/0-1"]
        assert await names(kat, f"{path}?fieldSelector=spec.node%3Dn2") == []


# --- dry runs ------------------------------------------------------------------------------------


async def test_every_write_can_be_tried(kat: Api) -> None:
    await put(kat, workload("web"), config("conf"))
    before = (await kat.store.list("")).revision
    tried = [
        await kat.write("POST", f"{WORKLOADS}?dryRun=All", workload("new")),
        await kat.write("PUT", f"{WORKLOADS}/web?dryRun=1", workload(extra="replicas: 4")),
        await kat.write("PUT", f"{CONFIGS}/conf?dryRun=true", config("conf", "b")),
        await kat.ask("DELETE", f"{CONFIGS}/conf?dryRun=1"),
        await kat.ask("DELETE", f"{WORKLOADS}/web?dryRun=1"),
        await kat.ask("POST", f"{WORKLOADS}/web/scale?dryRun=1", json={"replicas": 3}),
        await kat.ask("POST", f"{WORKLOADS}/web/restart?dryRun=1", json={}),
    ]
    results = [(await one.json())["changed"][0]["result"] for one in tried]
    assert results == [
        "created", "configured", "configured", "deleted", "deleted", "configured", "configured",
    ]  # fmt: skip
    assert (await kat.store.list("")).revision == before


async def test_what_is_tried_is_refused_as_the_write_would_be(kat: Api) -> None:
    await put(kat, workload("web"))
    assert (await kat.refused("POST", f"{WORKLOADS}?dryRun=1", workload("web")))[0] == 409
    assert (await kat.refused("DELETE", f"{CONFIGS}/gone?dryRun=1"))[0] == 404
    bad = workload("web", extra="replicas: -1")
    assert (await kat.refused("PUT", f"{WORKLOADS}?dryRun=1", bad))[0] == 422


async def test_a_dry_run_that_is_not_understood_does_not_write(kat: Api) -> None:
    status, detail, _ = await kat.refused("PUT", f"{CONFIGS}/conf?dryRun=yes", config())
    assert (status, detail) == (400, "dryRun: 'yes' is none; write 1, or leave it out")
    assert await kat.objects.all() == ()


# --- limits --------------------------------------------------------------------------------------


async def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    async with api(manners=Manners(Limits(people=Rate(0.1, 2)))) as kat:
        assert [(await kat.ask("GET", CONFIGS)).status for _ in range(2)] == [200, 200]
        answer = await kat.ask("GET", CONFIGS)
        body = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
        assert body["detail"] == "person admin asks too often: 0.1 a second, 2 at once"
        assert answer.content_type == "application/problem+json"


async def test_strangers_are_limited_by_address_and_nobody_else() -> None:
    async with api(manners=Manners(Limits(strangers=Rate(0.1, 1)))) as kat:
        nobody = {"Authorization": "Bearer kat_000000000000_nothing"}
        statuses = [(await kat.client.get(CONFIGS, headers=nobody)).status for _ in range(3)]
        assert statuses == [401, 429, 429]
        assert (await kat.ask("GET", CONFIGS)).status == 200


async def test_no_list_has_a_secret_s_value(kat: Api) -> None:
    await put(kat, secret(value="hunter2"))
    text = await (await kat.ask("GET", "/v1alpha1/secrets?limit=5")).text()
    assert "password" in text
    assert "hunter2" not in text
