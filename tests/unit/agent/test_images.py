"""Images are here before anything is stopped for an instance that needs them."""

import pytest

from agent import state
from agent.apply import apply
from agent.ports import UnfitError
from katgen.bundle import Activation, Artifact, artifact
from tests.fakes import FakeNode
from tests.unit.agent.cluster import IMAGE as HERE
from tests.unit.agent.cluster import Cluster, instance

DIGEST = "sha256:" + "1" * 64
IMAGE = f"registry.example/web:2@{DIGEST}"
OLD = instance(0, 1)


def using(image: str, more: str = "Pull=never\n", *, ordinal: int = 0) -> Artifact:
    """Return the file of an instance that runs an image."""
    one = instance(ordinal, 2 + ordinal, more=more, activation=Activation.STOP_FIRST)
    text = one.content.replace(HERE.encode(), image.encode())
    return artifact(one.path, text, activation=one.activation, unit=one.unit, pair_key=one.pair_key)


NEW = using(IMAGE)


async def on_a_node(*, known: bool) -> tuple[FakeNode, Cluster]:
    """Return a node that runs the old instance; `known`: the registry has the new one's image."""
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, OLD))
    if known:
        node.podman.registry[IMAGE] = DIGEST
    else:
        node.podman.refusals[IMAGE] = "manifest unknown"
    node.trace.clear()
    return node, cluster


async def test_an_image_that_is_missing_is_pulled_before_the_old_instance_stops() -> None:
    node, cluster = await on_a_node(known=True)
    await cluster.apply(node.ports, cluster.target(2, NEW))
    calls = node.trace.texts()
    pulled = calls.index(f"podman.pull {IMAGE}")
    assert pulled < calls.index("files.write /var/lib/kat/agent/journal.json")
    assert pulled < calls.index(f"systemd.stop {OLD.unit}")
    assert list(node.podman.running) == ["kat.shop.web.0-2"]


async def test_without_its_image_nothing_is_begun_and_the_old_instance_runs_on() -> None:
    node, cluster = await on_a_node(known=False)
    with pytest.raises(UnfitError, match="cannot be pulled: manifest unknown"):
        await cluster.apply(node.ports, cluster.target(2, NEW))
    assert list(node.podman.running) == ["kat.shop.web.0-1"]
    assert node.files.stat(state.JOURNAL) is None
    assert node.trace.texts("systemd.") == []


async def test_an_image_that_is_here_takes_one_question() -> None:
    node, cluster = await on_a_node(known=False)
    node.podman.local[IMAGE] = DIGEST
    await cluster.apply(node.ports, cluster.target(2, NEW, using(IMAGE, ordinal=1)))
    assert node.trace.texts("podman.digest") == [f"podman.digest {IMAGE}"]
    assert node.trace.texts("podman.pull") == []


async def test_nothing_is_asked_when_no_instance_is_new() -> None:
    node, cluster = await on_a_node(known=True)
    await cluster.apply(node.ports, cluster.target(2, NEW))
    node.trace.clear()
    await apply(cluster.target(3, NEW), node.ports)
    assert node.trace.texts("podman.") == []


@pytest.mark.parametrize(
    ("image", "more"),
    [
        ("localhost/web:2", ""),
        ("kat.shop.web.build", ""),
        ("registry.example/web:2", "Pull=never\n"),
    ],
)
async def test_what_no_registry_has_or_may_give_is_not_asked_for(image: str, more: str) -> None:
    node, cluster = await on_a_node(known=False)
    await cluster.apply(node.ports, cluster.target(2, using(image, more)))
    assert node.trace.texts("podman.pull") == []
