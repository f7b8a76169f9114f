"""From a written object to a running unit."""

from katgen.leader.agents.bundles import KEPT
from katgen.leader.documents import ObjectKey
from katgen.names import NodeName
from katgen.protocol import Propose, Pull
from tests.fakes.agents import DIGEST, Box, leader
from tests.unit.leader.given import WITH_CONFIG, config, key, secret, workload

NGINX = "docker.io/library/nginx:1.27"
A = NodeName("a")
NAMESPACE = "apiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {{name: n{}}}\n"
PINNED = f"{NGINX}@{DIGEST}"


def images(box: Box) -> dict[str, str | None]:
    """Return the image of every workload in the committed plan."""
    plan = box.cluster.plan
    specs = plan.specs.workloads if plan else {}
    return {key: one.workload.spec.source.image for key, one in specs.items()}


def states(box: Box) -> dict[str, str]:
    return {one.key: one.state for one in box.cluster.instances()}


async def test_what_is_applied_is_committed_and_runs() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web")))
        await box.until(lambda: states(box) == {"default/web/0-1": "running"})
        assert agent.generations()[-1] == box.cluster.mark[1]


async def test_nothing_is_planned_before_a_node_has_said_what_it_is() -> None:
    async with leader() as box:
        await box.settled(await box.apply(workload("web")))
        assert box.cluster.mark == (0, 0)
        async with box.agent():
            await box.until(lambda: states(box) == {"default/web/0-1": "running"})


async def test_an_image_is_pulled_and_committed_by_its_digest() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web", image=NGINX)))
        assert images(box) == {"default/web": PINNED}
        pulls = [(one.image, one.policy) for one in agent.asked(Pull) if isinstance(one, Pull)]
        assert pulls == [(NGINX, "IfNotPresent")]
        (stored,) = [one for one in await box.objects.all() if one.key.kind == "Workload"]
        assert stored.document["spec"]["source"] == {"image": NGINX}


async def test_an_image_that_is_pinned_is_not_asked_for_again() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web", image=NGINX)))
        agent.pulls[NGINX] = f"sha256:{'e' * 64}"
        await box.settled(await box.apply(workload("web", "replicas: 2", NGINX)))
        assert images(box) == {"default/web": PINNED}


async def test_what_is_deleted_is_gone_from_plan_and_node() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web", image=NGINX)))
        gone = await box.objects.delete([ObjectKey("Workload", "default", "web")])
        await box.settled(gone.revision)
        assert states(box) == {}
        await box.until(lambda: agent.generation == box.cluster.mark[1])
        assert agent.units() == ()
        assert (await box.store.list("images/")).items == ()
        assert (await box.store.list("accepted/")).items == ()


async def test_objects_that_are_applied_together_are_one_plan() -> None:
    async with leader() as box, box.agent():
        await box.until(lambda: box.cluster.mark[1] == 1)
        await box.settled(await box.apply(workload("web"), workload("api"), workload("db")))
        assert box.cluster.mark == (1, 2)
        assert sorted(images(box)) == ["default/api", "default/db", "default/web"]


async def test_what_arrives_during_a_proposal_is_the_next_plan() -> None:
    async with leader() as box, box.agent() as agent:
        await box.until(lambda: box.cluster.mark[1] == 1)
        agent.verdict = lambda _: None
        first = await box.apply(workload("web"))
        await box.until(lambda: box.cluster.activity == "proposing")
        await box.apply(workload("api"))
        last = await box.apply(workload("db"))
        await box.settled(last)
        assert last > first
        assert box.cluster.mark == (1, 3)
        assert len(agent.asked(Propose)) == 3


async def test_the_same_objects_again_make_no_plan() -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(workload("web")))
        before = box.cluster.mark
        await box.apply(workload("web"))
        await box.settled(await box.apply(config("unused"), workload("web")))
        assert box.cluster.mark == before
        assert states(box) == {"default/web/0-1": "running"}


async def test_data_that_nobody_uses_makes_no_plan() -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(workload("web")))
        before = box.cluster.mark
        await box.settled(
            await box.apply(
                config(), secret(), config("away").replace("{name:", "{namespace: far, name:")
            )
        )
        await box.settled(await box.apply(config(content="b")))
        gone = await box.objects.delete([key("Config", "away", "far"), key("Secret", "db")])
        await box.settled(gone.revision)
        assert box.cluster.mark == before
        await box.settled(await box.apply(workload("web", WITH_CONFIG)))
        assert box.cluster.mark[1] > before[1]
        plan = box.cluster.plan
        assert plan is not None
        assert {one: data.data for one, data in plan.specs.configs.items()} == {
            "default/conf": {"file": "b"}
        }
        await box.settled(await box.apply(workload("web")))
        assert box.cluster.plan is not None
        assert not box.cluster.plan.specs.configs


async def test_a_config_rolls_the_workloads_that_use_it() -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(config(), workload("web", WITH_CONFIG), workload("api")))
        await box.settled(await box.apply(config(content="b")))
        await box.until(
            lambda: states(box) == {"default/api/0-1": "running", "default/web/0-2": "running"}
        )


async def test_a_change_costs_what_it_changes() -> None:
    async with leader() as box, box.agent():
        many = [workload(f"w{n}") for n in range(20)]
        await box.settled(await box.apply(*many))
        at_once = "updateStrategy: {type: Simultaneous}\n  container: {args: [x]}"
        await box.settled(await box.apply(workload("w7", at_once)))
        rendered = box.cluster.rendered
        assert rendered is not None
        assert rendered.counters.units == 1


async def test_a_node_that_returns_hears_first_what_must_run() -> None:
    async with leader() as box:
        async with box.agent() as agent:
            await box.settled(await box.apply(workload("web")))
        async with box.agent() as agent:
            await box.until(lambda: agent.heard)
            assert agent.generations()[:1] == [box.cluster.mark[1]]
            assert agent.asked(Propose) == []


async def test_a_node_that_is_not_connected_blocks_nobody() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a"):
        async with box.agent("b"):
            await box.settled(await box.apply(workload("web", "replicas: 2")))
        await box.until(lambda: box.cluster.connected == {"a"})
        await box.settled(await box.apply(workload("web", "replicas: 4")))
        nodes = [one.node for one in box.cluster.instances()]
        assert sorted(nodes) == ["a", "a", "b", "b"]


async def test_a_node_without_a_session_is_not_ready_after_the_timeout() -> None:
    async with leader() as box:
        async with box.agent():
            await box.until(lambda: box.cluster.mark[1] == 1)
        await box.until(lambda: not box.cluster.connected)
        await box.turn(59)
        assert box.cluster.node_status(A)["condition"] == "Ready"
        await box.turn(2)
        await box.until(lambda: box.cluster.node_status(A)["condition"] == "NotReady")
        async with box.agent():
            assert box.cluster.node_status(A)["condition"] == "Ready"


async def test_what_an_agent_was_told_of_can_still_be_fetched_some_plans_later() -> None:
    async with leader() as box, box.agent(report=lambda: None):  # it has not got round to it
        await box.until(lambda: box.cluster.mark[1] == 1)
        for number in range(KEPT):
            await box.settled(await box.apply(NAMESPACE.format(number)))
        last = box.cluster.mark[1]
        found = [one for one in range(last + 2) if box.cluster.bundle(A, one) is not None]
        assert found == [*range(last - KEPT + 1, last + 1)]


async def test_what_all_agents_have_gone_beyond_is_not_kept() -> None:
    async with leader() as box, box.agent() as agent:
        for number in range(1, 6):
            await box.settled(await box.apply(NAMESPACE.format(number)))
            await box.until(lambda: box.cluster.applied[A][1] == box.cluster.mark[1])
        assert box.cluster.bundles.generations == (agent.generation - 1, agent.generation)
