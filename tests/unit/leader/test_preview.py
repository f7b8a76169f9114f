"""A dry run shows exactly what the change then does."""

import pytest

from katgen.leader.answers import Preview
from katgen.leader.documents import ObjectKey
from katgen.parse import parse
from katgen.protocol import Propose, Pull
from tests.fakes.agents import DIGEST, Box, leader
from tests.unit.leader.given import WITH_CONFIG, config, workload
from tests.unit.leader.test_loop import NGINX, A


async def plan(box: Box, *texts: str) -> Preview:
    """Return the dry run of applying some objects."""
    parsed = parse([("test.kat", "\n---\n".join(texts).encode())])
    applied = await box.objects.apply(parsed, dry=True)
    return await box.loop.preview(applied.after)


def committed_digest(box: Box) -> str:
    assert box.cluster.rendered is not None
    return box.cluster.rendered.root.digest


@pytest.mark.parametrize(
    "texts",
    [
        (workload("web"),),
        (workload("web", image=NGINX),),
        (config(), workload("web", WITH_CONFIG), workload("api", "replicas: 3")),
    ],
    ids=["local", "pulled", "several"],
)
async def test_what_is_shown_is_what_is_committed(texts: tuple[str, ...]) -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(workload("old")))
        shown = await plan(box, *texts)
        await box.settled(await box.apply(*texts))
        assert shown.digest == committed_digest(box)
        assert shown.generation == box.cluster.mark[1]


async def test_a_dry_run_shows_files_and_steps_of_each_node() -> None:
    async with leader() as box, box.agent():
        await box.until(lambda: box.cluster.mark[1] == 1)
        shown = await plan(box, workload("web"))
        steps = [(one.verb.value, one.unit) for one in shown.nodes[A].actions]
        assert ("start", "kat.default.web.0-1.service") in steps
        path = "/etc/containers/systemd/kat/kat.default.web.0-1.container"
        assert f"--- /dev/null\n+++ {path}\n" in shown.nodes[A].diff
        assert "+Image=localhost/web:1\n" in shown.nodes[A].diff


async def test_a_dry_run_changes_nothing() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(workload("web")))
        before, proposals = box.cluster.mark, len(agent.asked(Propose))
        await plan(box, workload("web", "replicas: 5"))
        assert box.cluster.mark == before
        assert len(agent.asked(Propose)) == proposals
        assert (await box.store.list("images/")).items == ()


async def test_the_change_after_a_dry_run_gets_the_digest_that_was_shown() -> None:
    async with leader() as box, box.agent() as agent:
        await box.until(lambda: box.cluster.mark[1] == 1)
        shown = await plan(box, workload("web", image=NGINX))
        agent.pulls[NGINX] = f"sha256:{'e' * 64}"
        await box.settled(await box.apply(workload("web", image=NGINX)))
        assert shown.digest == committed_digest(box)
        assert f"+Image={NGINX}@{DIGEST}" in shown.nodes[A].diff
        texts = [one.image for one in agent.asked(Pull) if isinstance(one, Pull)]
        assert texts == [NGINX, f"{NGINX}@{DIGEST}"]


async def test_a_dry_run_says_what_would_be_held_back() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[NGINX] = "! manifest unknown"
        await box.until(lambda: box.cluster.mark[1] == 1)
        shown = await plan(box, workload("web", image=NGINX))
        (held,) = shown.held
        assert (held.name, held.reason, held.message) == (
            "web",
            "ImagePullFailed",
            "manifest unknown",
        )
        assert shown.nodes == {}


async def test_a_dry_run_names_what_finds_no_node() -> None:
    async with leader() as box, box.agent():
        await box.until(lambda: box.cluster.mark[1] == 1)
        shown = await plan(box, workload("web", "nodeSelector: {disk: ssd}"))
        (lacking,) = shown.unplaced
        assert lacking.at == "default/web"
        assert lacking.what.startswith("instance 0 has no node: ")


async def test_nothing_to_do_is_nothing_to_show() -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(workload("web")))
        shown = await box.loop.preview(None)
        assert (shown.nodes, shown.generation) == ({}, box.cluster.mark[1])
        assert shown.digest == committed_digest(box)


async def test_what_is_explained_is_where_it_could_run() -> None:
    async with leader() as box, box.agent():
        await box.settled(await box.apply(workload("web")))
        found = await box.loop.explain(ObjectKey("Workload", "default", "web").workload)
        assert found is not None
        assert await box.loop.explain(ObjectKey("Workload", "default", "nosuch").workload) is None
