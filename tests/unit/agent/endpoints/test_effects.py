"""What endpoint state changes on a node: one thing that fails keeps no other back, and follows."""

import asyncio

from agent.endpoints.effects import some
from agent.endpoints.memory import LASTING
from katgen.names import InstanceKey
from tests.unit.agent.endpoints.test_state import FAR, ONE, TWO, news, passed, stage, withdrawn
from tests.unit.agent.traffic import (
    FULL,
    NAMES,
    SNAPSHOT,
    FakePackets,
    Stage,
    living,
    services_file,
)


async def test_packets_that_cannot_be_changed_keep_no_name_back_and_follow_at_a_tick() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.packets.failures.append(FULL)
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert withdrawn(made) == ["10.100.0.12"]
        assert made.packets.kernel == {"shop": (ONE, TWO, FAR)}
        assert made.problems == ["endpoint state, packet rules: No space left on device"]
        await made.endpoints.tick()
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}
        assert made.problems == []


async def test_names_that_cannot_be_written_keep_no_packet_back_and_follow_at_a_tick() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        for attempt in (1, 2):
            made.node.trace.fail(f"files.write {NAMES}", FULL, attempt)
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}
        assert len(withdrawn(made)) == 3
        await made.endpoints.tick()
        await passed(made)
        assert withdrawn(made) == ["10.100.0.12"]


async def test_a_namespace_whose_files_cannot_be_written_keeps_no_other_back() -> None:
    made = await stage()
    bank, folder = services_file(InstanceKey("bank/web/0-9"), namespace="bank"), "endpoints"
    made.node.files.put(bank.path, bank.content)
    for where in (f"/run/kat/{folder}/bank.json", f"/var/lib/kat/{folder}/bank.json"):
        for attempt in range(1, 9):
            made.node.trace.fail(f"files.write {where}", FULL, attempt)
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        await made.endpoints.save()
        assert withdrawn(made) == ["10.100.0.12"]
        assert f"{SNAPSHOT}.nft" in made.node.files.tree
        assert made.problems == [
            "endpoint state, names: No space left on device",
            "endpoint state, boot snapshots: No space left on device",
        ]
        for _ in range(9):
            await made.endpoints.tick()
            await passed(made, 61)
        assert "/run/kat/endpoints/bank.json" in made.node.files.tree
        assert "/var/lib/kat/endpoints/bank.nft" in made.node.files.tree
        assert made.problems == []


async def test_a_namespace_that_left_and_cannot_be_cleared_away_keeps_no_other_back() -> None:
    made = await stage()
    made.node.files.put("/var/lib/kat/endpoints/bank.nft", b"# old")
    made.node.trace.fail("files.delete /var/lib/kat/endpoints/bank.nft", FULL)
    async with living(made):
        await passed(made)
        await made.endpoints.save()
        assert f"{SNAPSHOT}.nft" in made.node.files.tree
        assert "/var/lib/kat/endpoints/bank.nft" in made.node.files.tree
        await made.endpoints.save()
        assert "/var/lib/kat/endpoints/bank.nft" not in made.node.files.tree


async def test_memory_that_cannot_be_written_keeps_no_snapshot_back_and_follows() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.node.trace.fail(f"files.write {LASTING}", FULL)
        made.endpoints.hear(news(1, "ready"))
        await made.endpoints.save()
        assert f"{SNAPSHOT}.nft" in made.node.files.tree
        assert made.problems == ["endpoint state, memory for a boot: No space left on device"]
        await made.endpoints.tick()
        assert LASTING in made.node.files.tree
        assert made.problems == []


def test_of_many_problems_of_one_kind_some_are_told() -> None:
    assert some(["a", "b", "a"]) == "a; b"
    assert some(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


async def test_names_do_not_wait_for_packet_rules() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.packets.hangs = asyncio.Event()
        for one in (ONE, TWO):
            made.turn(one, ready=True)
            await passed(made)
        assert withdrawn(made) == ["10.100.0.12"]


async def test_connections_that_take_long_to_forget_keep_nothing_waiting() -> None:
    class Slow(FakePackets):
        async def forget(self) -> None:
            await made.node.clock.sleep(1000)

    made = await stage()
    made = Stage(made.node, Slow())
    async with living(made):
        await passed(made)
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}


async def test_kat_dns_is_told_at_the_start_lest_an_agent_before_was_cut() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
    again = made.again()
    async with living(again):
        await passed(again)
        assert again.rung == ["shop"]


async def test_a_namespace_that_left_while_no_agent_ran_leaves_nothing() -> None:
    made = await stage()
    made.node.files.put("/run/kat/endpoints/old.json", b"{}")
    made.node.files.put("/var/lib/kat/endpoints/old.json", b"{}")
    made.node.files.put("/var/lib/kat/endpoints/old.nft", b"# old")
    async with living(made):
        await passed(made)
        await made.endpoints.tick()
        assert made.rung.count("old") == 2
    assert [one for one in made.node.files.tree if one.rpartition("/")[2].startswith("old")] == []


async def test_kat_dns_is_told_again_what_it_had_no_room_for() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.deaf = True
        made.turn(ONE, ready=True)
        await passed(made)
        made.deaf, made.rung = False, []
        await made.endpoints.tick()
        assert made.rung == ["shop"]
        await made.endpoints.tick()
        assert made.rung == ["shop"]


async def test_a_fault_of_the_agent_in_one_effect_is_told_and_ends_nothing() -> None:
    made = await stage()
    async with living(made):
        made.packets.failures.append(RuntimeError("a bug"))
        made.turn(ONE, ready=True)
        await passed(made)
        assert "10.100.0.10" not in withdrawn(made)
        assert "a fault in the agent" in made.problems[0]
