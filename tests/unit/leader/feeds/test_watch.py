"""Watches of the API, over the real application."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from katgen.leader.answers import Event, WorkloadStatus
from katgen.leader.app import Manners
from katgen.leader.limits import Limits
from katgen.leader.routes.listing import Pace
from katgen.leader.store import Transaction
from katgen.leader.store.limits import Memory
from katgen.leader.store.memory import MemoryStore
from katgen.leader.tokens import NewToken, make_token
from katgen.names import WorkloadKey
from tests.unit.leader.api import WEB, Api, Told, api
from tests.unit.leader.given import config, secret, workload
from tests.unit.leader.watching import DEADLINE_S, is_bookmark, watching

CONFIGS = "/v1alpha1/n/default/configs"
WORKLOADS = "/v1alpha1/workloads"
HASTY = Manners(pace=Pace(bookmark_s=0.2, write_s=5.0))


@pytest.fixture
async def kat() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


def labelled(name: str, tier: str) -> str:
    return config(name).replace(f"name: {name}", f"name: {name}, labels: {{tier: {tier}}}")


async def put(kat: Api, text: str) -> str:
    """Apply, and return the resourceVersion."""
    answer = await kat.write("POST", "/v1alpha1/apply", text)
    assert answer.status == 200, await answer.text()
    return str((await answer.json())["resourceVersion"])


async def remove(kat: Api, name: str) -> None:
    assert (await kat.ask("DELETE", f"{CONFIGS}/{name}")).status == 200


async def test_first_all_that_is_there_then_a_bookmark_then_changes(kat: Api) -> None:
    version = await put(kat, config("a") + "---" + config("b"))
    async with watching(kat, CONFIGS) as watch:
        assert await watch.told(2) == ["ADDED a", "ADDED b"]
        mark = await watch.next()
        assert mark == {
            "type": "BOOKMARK",
            "object": {"kind": "Config", "metadata": {"resourceVersion": version}},
            "resourceVersion": version,
        }
        await put(kat, config("c"))
        await put(kat, labelled("a", "front"))
        await remove(kat, "b")
        assert await watch.told(3) == ["ADDED c", "MODIFIED a", "DELETED b"]


async def test_a_watch_goes_on_from_a_list_without_gap_or_repeat(kat: Api) -> None:
    await put(kat, config("a"))
    version = (await kat.get(CONFIGS))["metadata"]["resourceVersion"]
    await put(kat, config("b"))
    async with watching(kat, CONFIGS, resourceVersion=version) as watch:
        assert await watch.told(1) == ["ADDED b"]
        await put(kat, config("c"))
        assert await watch.told(1) == ["ADDED c"]


async def test_one_can_go_on_from_within_a_transaction(kat: Api) -> None:
    start = await put(kat, config("z"))
    await put(kat, "---".join(config(name) for name in "abc"))
    async with watching(kat, CONFIGS, resourceVersion=start) as first:
        assert await first.told(2) == ["ADDED a", "ADDED b"]
        version = first.version
    async with watching(kat, CONFIGS, resourceVersion=version) as second:
        assert await second.told(1) == ["ADDED c"]


async def test_what_is_deleted_is_told_as_it_last_was(kat: Api) -> None:
    await put(kat, labelled("a", "front"))
    async with watching(kat, CONFIGS) as watch:
        await watch.until(is_bookmark)
        await remove(kat, "a")
        line = await watch.next()
        assert line is not None
        assert line["object"]["metadata"]["labels"] == {"tier": "front"}
        assert line["object"]["metadata"]["resourceVersion"] == line["resourceVersion"]


async def test_what_a_selector_takes_no_longer_is_deleted_for_it(kat: Api) -> None:
    await put(kat, labelled("a", "front"))
    async with watching(kat, CONFIGS, labelSelector="tier in (front, back)") as watch:
        await watch.until(is_bookmark)
        await put(kat, labelled("a", "back"))
        await put(kat, labelled("a", "gone"))
        await put(kat, labelled("b", "gone"))
        await put(kat, labelled("b", "back"))
        assert await watch.told(3) == ["MODIFIED a", "DELETED a", "ADDED b"]


async def test_only_the_namespace_and_kind_that_are_watched_are_told(kat: Api) -> None:
    async with watching(kat, CONFIGS) as watch:
        await watch.until(is_bookmark)
        elsewhere = config("x").replace("name: x", "name: x, namespace: shop")
        await put(kat, elsewhere + "---" + workload() + "---" + config("mine"))
        assert await watch.told(1) == ["ADDED mine"]


async def test_without_news_there_are_bookmarks_that_move_on() -> None:
    async with api(manners=HASTY) as kat, watching(kat, CONFIGS) as watch:
        (first,) = await watch.until(is_bookmark)
        await kat.store.commit(Transaction(puts={"events/1": b"{}"}))
        (second,) = await watch.until(is_bookmark)
        assert int(second["resourceVersion"]) == int(first["resourceVersion"]) + 1


async def test_a_watch_ends_when_it_was_to(kat: Api) -> None:
    async with watching(kat, CONFIGS, timeoutSeconds="1") as watch:
        kinds = []
        while line := await watch.next():
            kinds.append(line["type"])
        assert kinds == ["BOOKMARK", "BOOKMARK"]


async def test_secrets_are_told_without_values(kat: Api) -> None:
    async with watching(kat, "/v1alpha1/secrets") as watch:
        await put(kat, secret(value="hunter2"))
        await put(kat, secret(value="hunter3"))
        await kat.ask("DELETE", "/v1alpha1/n/default/secrets/db")
        assert await watch.told(3) == ["ADDED db", "MODIFIED db", "DELETED db"]
    assert "hunter" not in str(watch.lines)
    assert {str(one["object"].get("keys")) for one in watch.lines if not is_bookmark(one)} == {
        "['password']"
    }
    assert all("data" not in one["object"] for one in watch.lines)


# --- 410 -----------------------------------------------------------------------------------------


async def test_what_the_store_has_forgotten_is_gone() -> None:
    store = MemoryStore(memory=Memory(revisions=5))
    async with api(store=store) as kat:
        for number in range(12):
            await put(kat, config(f"c{number}"))
    async with api(store=store) as again:
        status, detail, _ = await again.refused("GET", f"{CONFIGS}?watch=1&resourceVersion=3")
        assert status == 410
        assert detail.endswith("list again, and watch from there")
        async with watching(again, CONFIGS, resourceVersion="10") as watch:
            assert await watch.told(2) == ["ADDED c9", "ADDED c10"]
    await store.close()


async def test_another_leader_goes_on_where_the_last_one_was() -> None:
    store = MemoryStore()
    async with api(store=store) as first:
        await put(first, labelled("a", "front") + "---" + labelled("b", "front"))
        async with watching(first, CONFIGS, labelSelector="tier=front") as watch:
            assert await watch.told(2) == ["ADDED a", "ADDED b"]
            await watch.until(is_bookmark)
        await put(first, labelled("a", "back"))
        await remove(first, "b")
    async with (
        api(store=store) as second,
        watching(
            second, CONFIGS, labelSelector="tier=front", resourceVersion=watch.version
        ) as later,
    ):
        assert await later.told(2) == ["DELETED a", "DELETED b"]
        assert later.lines[1]["object"]["data"] == {"file": "a"}
    await store.close()


async def test_a_version_that_never_was_is_gone(kat: Api) -> None:
    status, detail, _ = await kat.refused("GET", f"{CONFIGS}?watch=1&resourceVersion=999")
    assert (status, detail) == (
        410,
        "resourceVersion 999 is not known here; list again, and watch from there",
    )


@pytest.mark.parametrize("version", ["x", "-1", "1.2.3", "9" * 40, "1-zz.1"])
async def test_what_is_no_version_is_refused(kat: Api, version: str) -> None:
    refusal = await kat.refused("GET", f"{CONFIGS}?watch=1&resourceVersion={version}")
    assert refusal[0] == 400


async def test_when_the_leader_reads_everything_anew_watchers_are_told(kat: Api) -> None:
    async with watching(kat, CONFIGS) as watch:
        await watch.until(is_bookmark)
        await kat.feeds.objects.load()
        line = await watch.next()
        assert line is not None
        assert (line["type"], line["object"]["status"]) == ("ERROR", 410)
        assert await watch.next() is None


# --- what is not stored --------------------------------------------------------------------------


async def test_how_a_workload_is_is_news_of_it() -> None:
    told = Told()
    key = WorkloadKey("default/web")
    async with api(told) as kat:
        await put(kat, workload())
        async with watching(kat, WORKLOADS) as watch:
            (added, mark) = await watch.until(is_bookmark)
            assert added["object"]["status"]["state"] == "running"
            told.statuses[key] = WorkloadStatus(wanted=1, running=0, ready=0, state="failed")
            told.notify()
            line = await watch.next()
        assert line is not None
        assert (line["type"], line["object"]["status"]["state"]) == ("MODIFIED", "failed")
        revision = line["object"]["metadata"]["resourceVersion"]
        assert mark["resourceVersion"].partition("-")[0] == revision
        async with watching(kat, WORKLOADS, resourceVersion=watch.version) as later:
            await put(kat, workload("api"))
            assert await later.told(1) == ["ADDED api"]


async def test_what_shares_a_workload_s_name_goes_without_news_of_the_workload(kat: Api) -> None:
    await put(kat, workload("web") + "---" + config("web"))
    async with watching(kat, WORKLOADS) as watch:
        await watch.until(is_bookmark)
        await remove(kat, "web")
        await kat.get(WORKLOADS)  # looks at all statuses
        await put(kat, workload("other"))
        assert await watch.told(1) == ["ADDED other"]


async def test_another_leader_says_how_workloads_are_after_what_was_missed() -> None:
    """What the watcher was told of them last is not known: it may have been something else."""
    store, told = MemoryStore(), Told()
    async with api(store=store) as first:
        await put(first, workload() + "---" + workload("old"))
        async with watching(first, WORKLOADS) as watch:
            await watch.until(is_bookmark)
        assert (await first.ask("DELETE", "/v1alpha1/n/default/workloads/old")).status == 200
    told.statuses[WorkloadKey("default/web")] = WorkloadStatus(1, 0, 0, "failed")
    async with (
        api(told, store=store) as second,
        watching(second, WORKLOADS, resourceVersion=watch.version) as later,
    ):
        assert await later.told(2) == ["DELETED old", "MODIFIED web"]
        assert later.lines[-1]["object"]["status"]["state"] == "failed"
        (mark,) = await later.until(is_bookmark)
        async with watching(second, WORKLOADS, resourceVersion=mark["resourceVersion"]) as last:
            await put(second, workload("new"))
            assert await last.told(1) == ["ADDED new"]
    await store.close()


async def test_instances_are_watched_from_memory() -> None:
    told = Told()
    async with api(told) as kat:
        listed = await kat.get("/v1alpha1/instances")
        version = listed["metadata"]["resourceVersion"]
        told.instances_ = ()
        told.notify()
        async with watching(kat, "/v1alpha1/instances", resourceVersion=version) as watch:
            assert await watch.told(1) == ["DELETED web/0-1"]
            told.instances_ = (WEB,)
            told.notify()
            assert await watch.told(1) == ["ADDED web/0-1"]
    async with api(told) as other:
        path = f"/v1alpha1/instances?watch=1&resourceVersion={version}"
        assert (await other.refused("GET", path))[0] == 410


async def test_events_that_count_up_are_modified() -> None:
    told = Told()
    async with api(told) as kat, watching(kat, "/v1alpha1/events", namespace="shop") as watch:
        await watch.until(is_bookmark)
        again = Event("shop", "Workload", "web", "Started", "", "t", "u", count=2)
        other = Event("else", "Workload", "web", "Started", "", "t", "u")
        told.happened = (again, other)
        told.notify()
        line = await watch.next()
        assert line is not None
        assert (line["type"], line["object"]["count"]) == ("MODIFIED", 2)


async def test_namespaces_come_and_go_with_what_names_them(kat: Api) -> None:
    async with watching(kat, "/v1alpha1/namespaces") as watch:
        await watch.until(is_bookmark)
        await put(kat, config("a"))
        assert await watch.told(1) == ["ADDED default"]
        await remove(kat, "a")
        assert await watch.told(1) == ["DELETED default"]


# --- who may go on -------------------------------------------------------------------------------


async def bob(kat: Api) -> NewToken:
    new = make_token("bob", "admin", "t")
    await kat.store.commit(Transaction(puts={new.path: new.value}))
    return new


DENIED = (401, "the token or certificate is not known here any more")


async def test_who_loses_its_token_loses_its_watches_soon() -> None:
    async with api(manners=HASTY) as kat:
        token = await bob(kat)
        async with watching(replace(kat, token=token.text), CONFIGS) as watch:
            await watch.until(is_bookmark)
            await kat.store.commit(Transaction(deletes=[token.path]))
            async with asyncio.timeout(DEADLINE_S):
                *_, error = await watch.until(lambda line: line["type"] == "ERROR")
            assert (error["object"]["status"], error["object"]["detail"]) == DENIED
            assert await watch.next() is None


async def test_who_loses_its_token_is_not_kept_by_news_that_never_end() -> None:
    async with api(manners=HASTY) as kat:
        token = await bob(kat)
        async with watching(replace(kat, token=token.text), CONFIGS) as watch:
            await watch.until(is_bookmark)
            await kat.store.commit(Transaction(deletes=[token.path]))
            async with asyncio.timeout(DEADLINE_S):
                number, line = 0, None
                while line is None or line["type"] != "ERROR":
                    number += 1
                    await put(kat, config("a", str(number)))
                    line = await watch.next()
            assert (line["object"]["status"], line["object"]["detail"]) == DENIED


async def test_a_role_that_is_taken_away_ends_watches_too() -> None:
    async with api(manners=HASTY) as kat:
        token = await bob(kat)
        async with watching(replace(kat, token=token.text), CONFIGS) as watch:
            await watch.until(is_bookmark)
            guest = msgspec.json.encode(msgspec.structs.replace(token.token, role="guest"))
            await kat.store.commit(Transaction(puts={token.path: guest}))
            async with asyncio.timeout(DEADLINE_S):
                *_, error = await watch.until(lambda line: line["type"] == "ERROR")
            assert (error["object"]["status"], error["object"]["detail"]) == DENIED


# --- limits --------------------------------------------------------------------------------------


async def test_one_client_s_watches_are_bounded() -> None:
    async with api(manners=Manners(Limits(watches=1))) as kat, watching(kat, CONFIGS):
        answer = await kat.ask("GET", f"{CONFIGS}?watch=1")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
        assert (await answer.json())["detail"] == "admin watches 1 times already; that is the most"


async def test_the_end_of_a_leader_ends_its_watches() -> None:
    async with api() as kat, watching(kat, CONFIGS) as watch:
        await watch.until(is_bookmark)
        begun = asyncio.get_running_loop().time()
        kat.feeds.close()
        assert await watch.next() is None
        assert asyncio.get_running_loop().time() - begun < 1
