"""What goes wrong between a written object and a running unit, and what goes on all the same."""

import asyncio
import logging
from collections.abc import Callable

import msgspec
import pytest

from katgen.leader.agents.roll import DEFAULT_TIMEOUT_S as NODE_LOSS_S
from katgen.leader.agents.roll import RETURN_S
from katgen.leader.answers import HeldBack
from katgen.leader.loop import BATCH_S
from katgen.leader.store import StoreError, Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.names import NodeName, WorkloadKey
from katgen.protocol import Abort, Cancel, Complaint, Propose, Pull, Pulled, Settings, Verdict
from tests.fakes.agents import DIGEST, Box, FakeAgent, leader
from tests.unit.leader.given import read, workload
from tests.unit.leader.test_loop import NGINX, PINNED, images, states

WEB = WorkloadKey("default/web")
BAD = "docker.io/library/nginx:nosuch"


def holds(box: Box) -> dict[str, tuple[str, str]]:
    return {key: (one.reason.value, one.message) for key, one in box.cluster.holds.items()}


def refusing(agent: FakeAgent, part: str, outcome: str = "refused") -> Callable[[Propose], Verdict]:
    """Return an agent's verdict on every bundle with a file whose path has `part` in it."""

    def verdict(proposal: Propose) -> Verdict:
        answer = agent.cluster.bundle(agent.node, proposal.generation)
        assert answer is not None
        entries = msgspec.json.decode(answer.manifest.content)["entries"]
        for entry in entries:
            if part in entry["path"]:
                told = Complaint(entry["path"], "unsupported key", entry["digest"], "quadlet")
                return Verdict(proposal.generation, outcome, (told,))
        return Verdict(proposal.generation, "ok")

    return verdict


async def test_a_bad_image_is_held_back_and_the_old_revision_stays() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web", image=NGINX)))
        agent.pulls[BAD] = "! manifest unknown"
        await box.settled(await box.apply(workload("web", image=BAD), workload("api")))
        assert holds(box) == {"default/web": ("ImagePullFailed", "manifest unknown")}
        assert images(box) == {"default/api": "localhost/web:1", "default/web": PINNED}
        await box.until(
            lambda: states(box) == {"default/api/0-1": "running", "default/web/0-1": "running"}
        )
        events = await box.chronicle.events("default", "web")
        assert ("ImagePullFailed", "manifest unknown") in [(e.reason, e.message) for e in events]


async def test_a_bad_image_is_tried_again_later_and_later() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "! manifest unknown"
        await box.settled(await box.apply(workload("web", image=BAD)))
        assert len(agent.asked(Pull)) == 1
        await box.turn(10)
        await box.until(lambda: box.cluster.holds[WEB].tries == 2)
        agent.pulls[BAD] = DIGEST
        await box.turn(19)
        assert len(agent.asked(Pull)) == 2
        await box.turn(1)
        await box.until(lambda: states(box) == {"default/web/0-1": "running"})
        assert holds(box) == {}


async def test_a_change_of_the_object_ends_a_hold_at_once() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "! manifest unknown"
        await box.settled(await box.apply(workload("web", image=BAD)))
        await box.settled(await box.apply(workload("web", image=NGINX)))
        assert holds(box) == {}
        assert images(box) == {"default/web": PINNED}


async def test_a_slow_pull_delays_only_its_own_workload() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[NGINX] = "..."
        await box.settled(await box.apply(workload("slow", image=NGINX)))
        await box.settled(await box.apply(workload("web")))
        assert sorted(images(box)) == ["default/web"]
        assert box.cluster.pending == {"default/slow": f"pulling {NGINX}"}
        (pull,) = [p for p in agent.asked(Pull) if isinstance(p, Pull) and p.image == NGINX]
        agent.say(Pulled(pull.id, DIGEST))
        await box.until(lambda: sorted(images(box)) == ["default/slow", "default/web"])


async def test_what_a_tool_refuses_holds_back_its_owner_alone() -> None:
    async with leader() as box, box.agent() as agent:
        await box.until(lambda: box.cluster.mark[1] == 1)
        await box.settled(await box.apply(workload("web")))
        agent.verdict = refusing(agent, "kat.default.api.")
        await box.settled(await box.apply(workload("api"), workload("db")))
        assert sorted(images(box)) == ["default/db", "default/web"]
        ((key, (reason, message)),) = holds(box).items()
        assert (key, reason) == ("default/api", "Refused")
        assert message.startswith("node a refuses /etc/containers/systemd/kat/kat.default.api.0-1")
        assert message.endswith("unsupported key")
        aborted = [one.generation for one in agent.asked(Abort) if isinstance(one, Abort)]
        assert aborted == [3]
        assert box.cluster.mark == (1, 4)
        found = [one for one in range(6) if box.cluster.bundle(NodeName("a"), one) is not None]
        assert found == [2, 4]  # the node has gone beyond 1


async def test_what_an_equal_accepted_makes_the_refusing_node_unfit() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a"), box.agent("b") as b:
        await box.until(
            lambda: len(box.cluster.plan.inventory.nodes) == 2 if box.cluster.plan else False
        )

        def verdict(proposal: Propose) -> Verdict:
            rendered = box.cluster.bundles._generations[proposal.generation]  # noqa: SLF001 -- a digest that node a has too
            zone = rendered.shared["base"].artifacts[0]
            return Verdict(
                proposal.generation, "refused", (Complaint(zone.path, "no", zone.digest, "t"),)
            )

        b.verdict = verdict
        await box.settled(await box.apply(workload("web", "replicas: 2")))
        assert states(box).keys() == {"default/web/0-1", "default/web/1-2"}
        assert box.cluster.unfit == {"b": "refuses what other nodes accept: no"}
        assert holds(box) == {}


@pytest.mark.parametrize("outcome", ["unfit", None])
async def test_an_unfit_or_silent_node_blocks_nobody(outcome: str | None) -> None:
    async with leader() as box, box.agent() as agent:
        await box.until(lambda: box.cluster.mark[1] == 1)
        told = (Complaint("", "No space left on device"),)
        agent.verdict = lambda p: Verdict(p.generation, outcome, told) if outcome else None
        await box.settled(await box.apply(workload("web")))
        assert sorted(images(box)) == ["default/web"]
        said = "No space left on device" if outcome else "did not answer the last proposal in time"
        assert box.cluster.unfit == {"a": said}


async def test_the_number_of_a_proposal_that_a_crash_cut_is_not_used_again() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent() as agent:
            await box.until(lambda: box.cluster.mark[1] == 1)
            asked = asyncio.Event()
            agent.verdict = lambda _: asked.set()
            await box.apply(workload("web"))
            await asked.wait()
            await box.stop()
    async with leader(store) as box, box.agent() as agent:
        await box.until(lambda: states(box) == {"default/web/0-1": "running"})
        assert agent.generations() == [1, 3]
    await store.close()


async def test_a_restarted_leader_changes_nothing() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent():
            await box.settled(await box.apply(workload("web", image=NGINX)))
            mark, plan = box.cluster.mark, box.cluster.plan
    async with leader(store) as box, box.agent() as agent:
        await box.until(lambda: box.cluster.considered)
        assert box.cluster.mark == mark
        assert box.cluster.plan == plan
        assert agent.asked(Pull) == []
    await store.close()


class Hiccups(MemoryStore):
    """Loses the answers to some commits of plans, before or after writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = ""

    async def commit(self, transaction: Transaction) -> int:
        lose = self.lose if "plan/meta" in transaction.puts else ""
        if lose:
            self.lose = ""
        if lose == "before":
            raise StoreError("disk I/O error")
        revision = await super().commit(transaction)
        if lose == "after":
            raise StoreError("disk I/O error")
        return revision


async def turned(box: Box, holds: Callable[[], object]) -> None:
    """Turn the clock until something is true."""
    async with asyncio.timeout(5):
        while not holds():
            await box.turn(1)
            await asyncio.sleep(0)


@pytest.mark.parametrize(("lose", "generations"), [("before", [1, 3]), ("after", [1, 2])])
async def test_nobody_hears_of_a_commit_whose_fate_is_not_known(
    lose: str, generations: list[int]
) -> None:
    store = Hiccups()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent() as agent:
            await box.until(lambda: box.cluster.mark[1] == 1)
            store.lose = lose
            revision = await box.apply(workload("web"))
            await turned(box, lambda: box.cluster.considered >= revision)
            await box.until(lambda: states(box) == {"default/web/0-1": "running"})
            assert agent.generations() == generations
    await store.close()


async def test_a_change_of_the_image_ends_the_pull_of_the_old_one() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "..."
        await box.settled(await box.apply(workload("web", image=BAD)))
        await box.settled(await box.apply(workload("web", image=NGINX)))
        assert images(box) == {"default/web": PINNED}
        assert box.cluster.pending == {}
        (pull,) = [p for p in agent.asked(Pull) if isinstance(p, Pull) and p.image == BAD]
        await turned(box, lambda: Cancel(pull.id) in agent.heard)


async def test_beside_a_slow_pull_a_quick_one_is_not_waited_for() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "..."
        await box.settled(await box.apply(workload("slow", image=BAD)))
        begun = asyncio.get_running_loop().time()
        await box.settled(await box.apply(workload("web", image=NGINX)))
        assert images(box) == {"default/web": PINNED}
        assert asyncio.get_running_loop().time() - begun < BATCH_S


async def test_a_dry_run_that_waits_for_a_registry_delays_nobody() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "..."
        await box.until(lambda: box.cluster.mark[1] == 1)
        trial = await box.objects.apply(read(workload("slow", image=BAD)), dry=True)
        asking = asyncio.create_task(box.loop.preview(trial.after))
        await turned(box, lambda: agent.asked(Pull))
        await box.settled(await box.apply(workload("web")))
        assert images(box) == {"default/web": "localhost/web:1"}
        asking.cancel()


async def test_a_workload_that_is_held_back_says_so_and_what_runs() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web", image=NGINX)))
        agent.pulls[BAD] = "! manifest unknown"
        await box.settled(await box.apply(workload("web", image=BAD)))
        shown = box.cluster.workload_status(WEB)
        assert shown.held_back == HeldBack(
            "ImagePullFailed", "manifest unknown", "2027-01-15T08:00:00Z"
        )
        assert (shown.state, shown.running, shown.image) == ("running", 1, PINNED)


async def test_a_workload_whose_image_is_on_its_way_is_held_back_as_pulling() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[NGINX] = "..."
        await box.settled(await box.apply(workload("web", image=NGINX)))
        shown = box.cluster.workload_status(WEB)
        assert shown.held_back == HeldBack("Pulling", f"pulling {NGINX}", "2027-01-15T08:00:00Z")
        assert (shown.state, shown.wanted) == ("waiting", 0)


async def test_a_store_without_a_plan_takes_nothing_from_a_node_that_runs_one() -> None:
    async with leader() as box, box.agent(generation=7) as agent:
        await box.apply(workload("web"))
        await box.until(lambda: box.cluster.trouble)
        assert box.cluster.trouble.startswith(
            "node a runs generation 7 and the store has no plan: nothing is committed; restore"
        )
        assert (box.cluster.mark, agent.generations(), agent.asked(Propose)) == ((0, 0), [], [])


async def test_a_commit_is_logged_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with leader() as box, box.agent():
        await box.until(lambda: box.cluster.mark[1] == 1)
        revision = await box.apply(workload("web"))
        box.cluster.wrote(revision, "r-17")
        await box.settled(revision)
        fields = [one.__dict__["fields"] for one in caplog.records if one.message == "committed"]
        assert fields[-1] == {
            "generation": 2,
            "epoch": 1,
            "nodes": 1,
            "changed": "default/web",
            "ms": 0,
            "requests": "r-17",
        }


async def test_agents_hear_of_a_configuration_at_once() -> None:
    async with leader() as box, box.agent() as agent:
        await turned(box, lambda: Settings(15, "Report") in agent.heard)
        await box.settled(await box.apply(CLUSTER))
        await turned(box, lambda: Settings(3, "Revert") in agent.heard)


CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: kat}
spec:
  clusterCIDR: 10.100.0.0/16
  serviceCIDR: 10.101.0.0/16
  agentTickSeconds: 3
  driftPolicy: Revert
"""


async def test_a_refusal_of_what_is_corrected_by_then_holds_nobody_back() -> None:
    async with leader() as box, box.agent() as agent:
        await box.until(lambda: box.cluster.mark[1] == 1)
        proposals: list[Propose] = []
        agent.verdict = proposals.append
        await box.apply(workload("web"))
        await turned(box, lambda: proposals)
        revision = await box.apply(workload("web", image="localhost/web:2"))
        await box.until(lambda: box.cluster.seen >= revision)
        agent.verdict = lambda proposal: Verdict(proposal.generation, "ok")
        agent.say(refusing(agent, "kat.default.web.")(proposals[0]))
        await box.settled(revision)
        assert images(box) == {"default/web": "localhost/web:2"}
        assert holds(box) == {}


async def test_a_change_waits_a_moment_for_the_only_node_to_come_back() -> None:
    async with leader() as box:
        async with box.agent():
            await box.settled(await box.apply(workload("web", image=NGINX)))
        revision = await box.apply(workload("api", image=NGINX))
        await box.turn(RETURN_S - 1)
        assert holds(box) == {}
        assert box.cluster.considered < revision
        async with box.agent():
            await box.settled(revision)
            assert holds(box) == {}
            assert images(box) == {"default/api": PINNED, "default/web": PINNED}


async def test_a_change_does_not_wait_for_a_node_that_stays_away() -> None:
    async with leader() as box:
        async with box.agent():
            await box.settled(await box.apply(workload("web", image=NGINX)))
        revision = await box.apply(workload("api", image=NGINX))
        await box.turn(RETURN_S)
        await box.settled(revision)
        assert [reason for reason, _ in holds(box).values()] == ["NoNode"]
        async with box.agent():
            await box.until(lambda: images(box).get("default/api") == PINNED)
            assert holds(box) == {}


async def test_who_is_known_to_be_away_is_not_waited_for() -> None:
    async with leader() as box:
        async with box.agent():
            await box.settled(await box.apply(workload("web", image=NGINX)))
        await box.turn(NODE_LOSS_S)
        await box.until(lambda: box.cluster.not_ready)
        await box.settled(await box.apply(workload("api", image=NGINX)))
        assert [reason for reason, _ in holds(box).values()] == ["NoNode"]
