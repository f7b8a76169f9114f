"""The set of all objects stays valid, whoever writes."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from katgen.leader.documents import Incoming, encode, incoming, shown
from katgen.leader.draft import Draftsman
from katgen.leader.errors import InputError, MissingError, TakenError
from katgen.leader.feeds.objects import ObjectsFeed
from katgen.leader.objects import Objects
from katgen.leader.secrets import SealError, SecretBox
from katgen.leader.store import Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.names import WorkloadKey
from katgen.parse import parse
from katgen.validate import check
from tests.unit.leader.given import (
    BOX,
    NOW_SHOWN,
    WITH_CONFIG,
    StandingClock,
    balancer,
    config,
    key,
    objects_in,
    read,
    secret,
    workload,
)

WEB = WorkloadKey("default/web")


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    made = MemoryStore()
    yield made
    await made.close()


@pytest.fixture
def objects(store: MemoryStore) -> Objects:
    return objects_in(store)


async def test_a_new_object_gets_what_the_leader_sets(objects: Objects) -> None:
    applied = await objects.apply(read(workload()))
    (stored,) = await objects.all()
    metadata = stored.document["metadata"]
    assert [(c.kind, c.name, c.result) for c in applied.changed] == [("Workload", "web", "created")]
    assert stored.revision == applied.revision
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] == NOW_SHOWN
    assert len(metadata["uid"]) == 36


async def test_the_same_again_writes_nothing(objects: Objects, store: MemoryStore) -> None:
    await objects.apply(read(workload()))
    before = (await store.list("")).revision
    applied = await objects.apply(read(workload()))
    assert [c.result for c in applied.changed] == ["unchanged"]
    assert (await store.list("")).revision == before


async def test_a_change_keeps_the_uid_and_counts_the_generation(objects: Objects) -> None:
    await objects.apply(read(workload()))
    (first,) = await objects.all()
    await objects.apply(read(workload(extra="replicas: 3")))
    (second,) = await objects.all()
    assert second.document["metadata"]["uid"] == first.document["metadata"]["uid"]
    assert second.document["metadata"]["generation"] == 2


async def test_what_get_printed_can_be_applied_again(objects: Objects) -> None:
    await objects.apply(read(workload()))
    (stored,) = await objects.all()
    printed = msgspec.json.encode({**shown(stored), "status": {"running": 1}})
    applied = await objects.apply(parse([("get.json", printed)]))
    assert [c.result for c in applied.changed] == ["unchanged"]


async def test_a_printed_list_can_be_applied_again(objects: Objects) -> None:
    await objects.apply(read(workload(), workload("api")))
    items = [shown(one) for one in await objects.all()]
    printed = msgspec.json.encode({"kind": "WorkloadList", "items": items})
    applied = await objects.apply(parse([("get.json", printed)]))
    assert [c.result for c in applied.changed] == ["unchanged", "unchanged"]


async def test_a_write_of_something_older_is_refused(objects: Objects) -> None:
    await objects.apply(read(workload()))
    (old,) = await objects.all()
    await objects.apply(read(workload(extra="replicas: 2")))
    stale = {**shown(old), "spec": {**old.document["spec"], "replicas": 9}}
    with pytest.raises(TakenError, match="its resourceVersion is 2, and yours 1"):
        await objects.apply(parse([("edit", msgspec.json.encode(stale))]))


async def test_of_two_writers_that_saw_the_same_one_is_refused(objects: Objects) -> None:
    await objects.apply(read(workload()))
    writers = [
        objects.apply(read(workload(extra=f"replicas: {n}")), expected={key("Workload", "web"): 1})
        for n in (2, 3)
    ]
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Applied", "TakenError"]


async def test_all_problems_come_at_once_and_nothing_is_written(objects: Objects) -> None:
    bad = workload("one", extra="replica: 1"), workload("two", extra="replicas: -1"), config()
    with pytest.raises(InputError) as caught:
        await objects.apply(read(*bad))
    paths = [problem.at.path for problem in caught.value.problems]
    assert paths == ["spec.replica", "spec.replicas"]
    assert await objects.all() == ()


async def test_a_change_is_validated_with_what_is_stored(objects: Objects) -> None:
    await objects.apply(read(config()))
    await objects.apply(read(workload(extra=WITH_CONFIG)))
    assert [str(one.key) for one in await objects.all()] == [
        "Config default/conf",
        "Workload default/web",
    ]


async def test_what_is_in_use_is_not_deleted(objects: Objects) -> None:
    await objects.apply(read(config(), workload(extra=WITH_CONFIG)))
    with pytest.raises(TakenError) as caught:
        await objects.delete([key("Config", "conf")])
    (problem,) = caught.value.problems
    assert str(problem).startswith(
        "stored Workload default/web spec.volumes[0].config.name: there is no Config default/conf"
    )


async def test_a_workload_takes_what_belongs_to_it_along(objects: Objects) -> None:
    await objects.apply(read(workload(), balancer(), config()))
    applied = await objects.delete([key("Workload", "web")])
    assert [(c.kind, c.result) for c in applied.changed] == [
        ("VirtualLoadBalancer", "deleted"),
        ("Workload", "deleted"),
    ]
    assert [str(one.key) for one in await objects.all()] == ["Config default/conf"]


async def test_what_is_not_there_is_not_deleted(objects: Objects) -> None:
    with pytest.raises(MissingError, match="there is no Workload default/web"):
        await objects.delete([key("Workload", "web")])


async def test_a_dry_run_tells_the_whole_outcome_and_writes_nothing(objects: Objects) -> None:
    await objects.apply(read(config()))
    applied = await objects.apply(read(workload()), dry=True)
    assert [str(one.key) for one in applied.after] == [
        "Config default/conf",
        "Workload default/web",
    ]
    assert [c.result for c in applied.changed] == ["created"]
    assert len(await objects.all()) == 1


async def test_the_value_of_a_secret_is_nowhere_in_the_store(
    objects: Objects, store: MemoryStore
) -> None:
    await objects.apply(read(secret(value="hunter2")))
    stored = b"".join(item.value for item in (await store.list("")).items)
    assert b"hunter2" not in stored
    assert b"password" in stored


async def test_a_secret_is_shown_with_its_keys_and_no_value(objects: Objects) -> None:
    await objects.apply(read(secret()))
    (stored,) = await objects.all()
    told = shown(stored)
    assert told["keys"] == ["password"]
    assert "data" not in told


async def test_a_printed_secret_is_refused_lest_it_lose_its_values(objects: Objects) -> None:
    await objects.apply(read(secret()))
    (stored,) = await objects.all()
    with pytest.raises(InputError) as caught:
        await objects.apply(parse([("get.json", msgspec.json.encode(shown(stored)))]))
    assert [problem.at.path for problem in caught.value.problems] == ["keys"]


async def test_the_same_secret_again_writes_nothing(objects: Objects) -> None:
    await objects.apply(read(secret()))
    applied = await objects.apply(read(secret()))
    assert [c.result for c in applied.changed] == ["unchanged"]


async def test_a_sealed_value_opens_only_in_its_place_and_with_its_key() -> None:
    sealed = BOX.seal("objects/Secret/a/db#password", "hunter2")
    assert BOX.open("objects/Secret/a/db#password", sealed) == "hunter2"
    with pytest.raises(SealError, match="cannot be decrypted"):
        BOX.open("objects/Secret/b/db#password", sealed)
    with pytest.raises(SealError, match="cannot be decrypted"):
        SecretBox(bytes(32)).open("objects/Secret/a/db#password", sealed)


async def test_a_workload_with_a_secret_is_not_supported_yet(objects: Objects) -> None:
    env = "container: {env: [{name: P, valueFrom: {secret: {name: db, key: password}}}]}"
    with pytest.raises(InputError) as caught:
        await objects.apply(read(secret(), workload(extra=env)))
    (problem,) = caught.value.problems
    assert problem.at.path == "spec.container.env[0].valueFrom.secret.name"
    assert problem.what.startswith("not supported yet: Secrets of workloads")


async def test_a_node_that_has_not_joined_cannot_be_written(objects: Objects) -> None:
    text = "apiVersion: kat/v1alpha1\nkind: Node\nmetadata: {name: n9}"
    with pytest.raises(InputError) as caught:
        await objects.apply(read(text))
    assert [problem.what for problem in caught.value.problems] == ["no such node has joined"]


CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: kat}
spec: {clusterCIDR: 10.20.0.0/16, serviceCIDR: 10.21.0.0/16}
"""
NODE = """
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: n1}
spec: {advertiseAddress: 192.0.2.1}
"""


@pytest.fixture
async def running(store: MemoryStore, objects: Objects) -> Objects:
    """Return the objects of a cluster with a node, as `init` writes them."""
    first = Incoming(read(CLUSTER, NODE + "status: {overlayNetwork: {interface: eth0}}"), {})
    draft = Draftsman(BOX, 0).applied(first, {}, is_running=False)
    await store.commit(Transaction(puts={k.path: encode(one) for k, one in draft.puts.items()}))
    return objects


async def test_what_a_cluster_is_built_on_does_not_change(running: Objects) -> None:
    with pytest.raises(InputError) as caught:
        await running.apply(read(CLUSTER.replace("10.20", "10.30")))
    (problem,) = caught.value.problems
    assert problem.at.path == "spec.clusterCIDR"
    assert problem.what == "cannot change on a running cluster: it is 10.20.0.0/16"
    with pytest.raises(InputError, match="the objects have problems"):
        await running.apply(read(CLUSTER.replace("name: kat", "name: other")))


async def test_other_settings_change(running: Objects) -> None:
    text = CLUSTER.replace("{clusterCIDR", "{scheduling: BinPack, clusterCIDR")
    applied = await running.apply(read(text))
    assert [c.result for c in applied.changed] == ["configured"]


async def test_a_node_keeps_what_is_known_of_it(running: Objects) -> None:
    await running.apply(read(NODE.replace("name: n1", "name: n1, labels: {disk: ssd}")))
    stored = await running.get(key("Node", "n1", "-"))
    assert stored is not None
    assert stored.document["metadata"]["labels"] == {"disk": "ssd"}
    assert stored.document["status"] == {"overlayNetwork": {"interface": "eth0"}}


async def test_a_job_that_becomes_a_service_leaves_its_definition_behind(
    objects: Objects,
) -> None:
    job = workload().replace("type: Service", "type: Job")
    definition = balancer().replace("VirtualLoadBalancer", "JobDefinition")
    await objects.apply(read(job, definition.replace("{ports: [{port: 80}]}", "{completions: 2}")))
    applied = await objects.apply(read(workload()))
    assert [(c.kind, c.result) for c in applied.changed] == [
        ("Workload", "configured"),
        ("JobDefinition", "deleted"),
    ]


async def test_stored_objects_are_valid_specs(objects: Objects) -> None:
    await objects.apply(read(workload(), balancer(), config(), secret()))
    specs = check(objects.parsed(await objects.all())).specs
    assert specs is not None
    assert [*specs.workloads] == ["default/web"]
    assert specs.secrets == {"default/db": ("password",)}


def test_an_object_without_a_namespace_gets_that_of_the_request() -> None:
    (document,) = incoming(read(workload()), "shop").parsed.documents
    assert document.value["metadata"] == {"name": "web", "namespace": "shop"}


class TracingClock(StandingClock):
    """Notes whether what asks is in the event loop's thread."""

    def __init__(self) -> None:
        self.asked_here: list[bool] = []

    def now(self) -> float:
        self.asked_here.append(threading.current_thread() is threading.main_thread())
        return super().now()


async def test_what_was_quick_needs_no_thread_the_next_time_and_many_do(
    store: MemoryStore,
) -> None:
    clock = TracingClock()
    objects = Objects(store, BOX, clock)
    feed = ObjectsFeed(store, lambda _: {})
    await feed.load()
    objects.follow(feed)
    many = "---".join(config(f"c{number}") for number in range(5))
    async with following(feed):
        for text in (config("a"), config("b"), config("c"), many, config("d")):
            await objects.apply(read(text))
    assert clock.asked_here == [False, False, True, False, True]


class BusyClock(TracingClock):
    """Has whoever asks work for as long as makes a write slow."""

    is_busy = False

    def now(self) -> float:
        end = time.thread_time() + (0.006 if self.is_busy else 0.0)
        while time.thread_time() < end:
            pass
        return super().now()


async def test_what_is_refused_late_gets_a_thread_and_what_is_refused_early_takes_none_away(
    store: MemoryStore,
) -> None:
    clock = BusyClock()
    objects = Objects(store, BOX, clock)
    feed = ObjectsFeed(store, lambda _: {})
    await feed.load()
    objects.follow(feed)
    bad = config("bad").replace("data:", "datum:")
    async with following(feed):
        for text in (config("a"), config("b"), config("c")):
            await objects.apply(read(text))
        clock.is_busy = True
        for _ in range(2):
            with pytest.raises(InputError):
                await objects.apply(read(bad))
        with pytest.raises(TakenError):
            await objects.apply(read(config("a")), expected={key("Config", "a"): 0})
        await objects.apply(read(config("d")))
    assert clock.asked_here == [False, False, True, True, False, False]


@asynccontextmanager
async def following(feed: ObjectsFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
