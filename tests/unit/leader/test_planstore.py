import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from katgen.cli.options import Named
from katgen.cli.pipeline import load as loaded
from katgen.cli.pipeline import planned
from katgen.errors import SpecError
from katgen.leader.planstore import CHUNK, Committed, load, next_number, transaction
from katgen.leader.store import ConflictError, Store, Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.model.objects import Config
from katgen.model.specs import Specs
from katgen.names import WorkloadKey, instance
from katgen.plan import advance, changed_workloads, make_plan, start
from katgen.planned import Inventory, Plan
from katgen.protocol import SignedRecord
from katgen.wire import plan_json
from tests.bench import synthetic
from tests.golden.case import EXAMPLES, Case, golden_cases, made
from tests.properties.worlds import nodes, worlds
from tests.unit.schedule.world import inventory, node, specs, workload

SIGNED = SignedRecord('{"generation":7}', "c2lnbmVk", "0123456789abcdef")

ROLLED = WorkloadKey("shop/web")


def committed(plan: Plan) -> Committed:
    return Committed(plan, 3, SIGNED)


async def save(store: Store, plan: Plan) -> Transaction:
    """Put a plan in the place of the one that is stored, and return how."""
    before = await load(store)
    changed = changed_workloads(before.plan.specs, plan.specs) if before else ()
    wanted = transaction(before, committed(plan), changed, before.revision if before else 0)
    await store.commit(wanted)
    return wanted


async def reloaded(*history: Plan) -> tuple[Committed, dict[str, bytes]]:
    """Return what is loaded after these plans were saved in turn, and all that is stored."""
    store = MemoryStore()
    for plan in history:
        await save(store, plan)
    found = await load(store)
    assert found is not None
    return found, {item.key: item.value for item in (await store.list("")).items}


def example(name: str) -> Plan:
    return planned(loaded(Named((str(EXAMPLES / name),))))


async def test_an_empty_store_has_no_plan() -> None:
    assert await load(MemoryStore()) is None


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.name)
async def test_the_plan_of_a_golden_case_comes_back(case: Case) -> None:
    plan = made(case)
    found, _ = await reloaded(plan)
    assert found == committed(plan)
    assert plan_json(found.plan) == plan_json(plan)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
async def test_the_plan_of_an_example_comes_back(name: str) -> None:
    plan = example(name)
    found, _ = await reloaded(plan)
    assert found == committed(plan)
    assert plan_json(found.plan) == plan_json(plan)


async def test_a_rollout_comes_back_as_it_stood_at_each_of_its_steps() -> None:
    before, after = (specs(workload("web", 2, container={"args": [a]})) for a in "12")
    state = start(before, inventory(node("n1"))).state
    history = [state.plan]
    for _ in range(4):
        placed = state.plan.workloads[ROLLED].placements
        ready = frozenset(instance(ROLLED, p.ordinal, p.incarnation) for p in placed)
        state = advance(state, after, [ROLLED], {ROLLED: ready}).state
        history.append(state.plan)
        assert (await reloaded(*history))[0] == committed(state.plan)
    assert [len(plan.earlier) for plan in history] == [0, 1, 1, 0, 0]


async def test_a_record_from_before_there_were_rollouts_is_read() -> None:
    plan = start(specs(workload("web")), inventory(node("n1"))).state.plan
    _, stored = await reloaded(plan)
    assert sorted(msgspec.json.decode(stored[f"plan/workloads/{ROLLED}"])) == ["objects", "plan"]


@settings(max_examples=60, deadline=None)
@given(st.lists(worlds(), min_size=1, max_size=3), st.lists(nodes(), min_size=3, max_size=3))
def test_after_any_history_the_store_is_as_if_the_last_plan_were_its_first(
    written: Sequence[Specs], machines: Sequence[Inventory]
) -> None:
    history: list[Plan] = []
    for some, there in zip(written, machines, strict=False):
        history.append(make_plan(some, there, history[-1] if history else None))
    found, stored = asyncio.run(reloaded(*history))
    assert found.plan == history[-1]
    assert plan_json(found.plan) == plan_json(history[-1])
    assert stored == asyncio.run(reloaded(history[-1]))[1]


def world() -> tuple[Specs, Inventory]:
    return synthetic.specs(40, 3), synthetic.inventory(8)


def test_one_changed_workload_of_many_is_one_record() -> None:
    before = start(*world()).state
    key = synthetic.workload_key(7)
    image = synthetic.objects(7, 3, "registry.example/shop/web:2")
    specs = replace(before.plan.specs, workloads={**before.plan.specs.workloads, key: image})
    after = advance(before, specs, [key]).state.plan
    wanted = transaction(committed(before.plan), committed(after), [key], 5)
    # The addresses that the old instances leave rest; no other part has changed.
    assert sorted(wanted.puts) == ["plan/meta", "plan/parts/resting", f"plan/workloads/{key}"]
    assert wanted.deletes == []
    assert wanted.expected == {"plan/meta": 5}


def test_a_workload_that_nobody_named_as_changed_is_written_too() -> None:
    specs, inventory = world()
    before = make_plan(specs, inventory)
    key = synthetic.workload_key(7)
    planned_anew = msgspec.structs.replace(before.workloads[key], next_incarnation=99)
    workloads = {**before.workloads, key: planned_anew}
    after = msgspec.structs.replace(before, workloads=workloads)
    wanted = transaction(committed(before), committed(after), [], 5)
    assert sorted(wanted.puts) == ["plan/meta", f"plan/workloads/{key}"]


def test_a_new_generation_of_the_same_is_one_record() -> None:
    before = make_plan(*world())
    after = msgspec.structs.replace(before, generation=9, parent=1)
    wanted = transaction(committed(before), committed(after), [], 5)
    assert sorted(wanted.puts) == ["plan/meta"]


def test_a_changed_node_is_one_record() -> None:
    specs, inventory = world()
    before = make_plan(specs, inventory)
    name = next(iter(inventory.nodes))
    cordoned = msgspec.structs.replace(inventory.nodes[name], unschedulable=True)
    other = msgspec.structs.replace(inventory, nodes={**inventory.nodes, name: cordoned})
    after = msgspec.structs.replace(before, inventory=other)
    wanted = transaction(committed(before), committed(after), [], 5)
    assert sorted(wanted.puts) == ["plan/meta", f"plan/nodes/{name}"]


def test_what_is_deleted_leaves_the_store() -> None:
    before = example("shop")
    specs = before.specs
    gone = next(iter(specs.workloads))
    rest = {key: one for key, one in specs.workloads.items() if key != gone}
    after = make_plan(replace(specs, workloads=rest, configs={}), before.inventory, before)
    wanted = transaction(committed(before), committed(after), [gone], 5)
    configs = [f"plan/configs/{key}" for key in specs.configs]
    assert wanted.deletes == sorted([f"plan/workloads/{gone}", *configs])


async def test_of_two_that_replace_one_plan_one_wins() -> None:
    store = MemoryStore()
    first = example("simple-service")
    await save(store, first)
    before = await load(store)
    assert before is not None
    one, other = (
        transaction(
            before, committed(msgspec.structs.replace(first, generation=n)), (), before.revision
        )
        for n in (2, 3)
    )
    await store.commit(one)
    with pytest.raises(ConflictError) as refused:
        await store.commit(other)
    assert refused.value.keys == ("plan/meta",)
    found = await load(store)
    assert found is not None
    assert found.plan.generation == 2


async def test_a_first_plan_never_replaces_another() -> None:
    store = MemoryStore()
    plan = example("simple-service")
    await save(store, plan)
    with pytest.raises(ConflictError):
        await store.commit(transaction(None, committed(plan), (), 0))


def with_config(plan: Plan, size: int) -> Plan:
    """Return the plan with a Config of so many bytes."""
    config = Config.model_validate(
        {
            "kind": "Config",
            "metadata": {"name": "big", "namespace": next(iter(plan.specs.namespaces))},
            "data": {f"part-{n}": "x" * (size // 8) for n in range(8)},
        }
    )
    key = WorkloadKey(f"{config.metadata.namespace}/big")
    specs = replace(plan.specs, configs={**plan.specs.configs, key: config})
    return msgspec.structs.replace(plan, specs=specs)


async def test_a_record_larger_than_a_value_is_cut_and_comes_back() -> None:
    plan = with_config(example("simple-service"), 2 * CHUNK + 8)
    found, stored = await reloaded(plan)
    assert found.plan == plan
    (key,) = plan.specs.configs
    assert [k for k in stored if "configs" in k] == [
        f"plan/configs/{key}",
        f"plan/configs/{key}/00001",
        f"plan/configs/{key}/00002",
    ]
    assert stored[f"plan/configs/{key}"].startswith(b'chunks 3\n{"data":')


async def test_a_record_that_shrinks_leaves_no_parts_behind() -> None:
    plan = example("simple-service")
    found, stored = await reloaded(with_config(plan, 3 * CHUNK), with_config(plan, 800))
    assert found.plan == with_config(plan, 800)
    assert [k for k in stored if "configs" in k] == [
        f"plan/configs/{next(iter(found.plan.specs.configs))}"
    ]


async def test_numbers_only_grow_and_are_never_given_out_twice() -> None:
    store = MemoryStore()
    numbers = await asyncio.gather(*(next_number(store) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert await next_number(store) == 21


async def test_numbers_continue_after_a_plan_that_came_without_its_number() -> None:
    store = MemoryStore()
    await save(store, msgspec.structs.replace(example("simple-service"), generation=41))
    assert await next_number(store) == 42


async def damaged(**changes: bytes | None) -> str:
    """Return what loading says once values were replaced, or removed (None)."""
    store = MemoryStore()
    await save(store, with_config(example("simple-service"), 2 * CHUNK))
    keys = {key.replace("__", "/"): value for key, value in changes.items()}
    puts = {f"plan/{key}": value for key, value in keys.items() if value is not None}
    deletes = [f"plan/{key}" for key, value in keys.items() if value is None]
    await store.commit(Transaction(puts=puts, deletes=deletes))
    with pytest.raises(SpecError) as refused:
        await load(store)
    return str(refused.value)


async def test_a_missing_part_is_named() -> None:
    assert await damaged(parts__subnets=None) == (
        "the stored plan plan/parts/subnets: the record is missing; restore a backup of the store"
    )


async def test_a_missing_chunk_is_named() -> None:
    namespace = next(iter(example("simple-service").specs.namespaces))
    gone: dict[str, Any] = {f"configs__{namespace}__big__00001": None}
    assert await damaged(**gone) == (
        f"the stored plan plan/configs/{namespace}/big/00001: a part of the record is missing; "
        "restore a backup of the store"
    )


async def test_a_record_that_is_no_json_is_named() -> None:
    (key,) = example("simple-service").workloads
    changes: dict[str, Any] = {f"workloads__{key.replace('/', '__')}": b'{"plan":'}
    told = await damaged(**changes)
    assert told.startswith(f"the stored plan plan/workloads/{key}: ")


async def test_what_makes_no_plan_is_refused_by_the_reader_of_plans() -> None:
    told = await damaged(parts__subnets=b'{"local":"nonsense"}')
    assert told.startswith("the stored plan 1 subnets.local: 'nonsense' is not an IPv4 network")


async def test_what_this_version_does_not_know_is_told_in_one_line() -> None:
    (key,) = example("simple-service").workloads
    plan = example("simple-service")
    _, records = await reloaded(plan)
    written = msgspec.json.decode(records[f"plan/workloads/{key}"])
    written["objects"]["workload"]["spec"] |= {"type": "Robot", "wheels": 4}
    changes: dict[str, Any] = {f"workloads__{key.replace('/', '__')}": msgspec.json.encode(written)}
    at = f"the stored plan 1 specs.workloads.{key}.workload spec"
    assert await damaged(**changes) == (
        f"{at}.type: expected one of Service, Job, DaemonService; got the text 'Robot' (and 1 "
        "more): this version of KAT cannot read it; start the version that wrote it, or restore a "
        "backup of the store; nodes keep what they run"
    )


async def test_a_newer_format_is_refused() -> None:
    assert await damaged(meta=b'{"format":2}') == (
        "the stored plan plan/meta: format 2 is not known here, which reads format 1; "
        "start the version of KAT that wrote it"
    )


async def test_records_without_their_meta_are_damage_and_not_an_empty_plan() -> None:
    store = MemoryStore()
    await store.commit(Transaction(puts={"plan/number": b"7", "plan/parts/subnets": b"{}"}))
    with pytest.raises(SpecError, match=r"plan/meta: the record is missing"):
        await load(store)
    await store.close()
