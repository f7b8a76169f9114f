import pytest

from agent import state
from agent.collect import collect
from agent.ports import UnfitError
from agent.target import kept_folders
from katgen.bundle import Artifact, artifact
from tests.fakes import FakeNode
from tests.unit.agent.cluster import QUADLETS, Cluster


def web(incarnation: int, image: str) -> Artifact:
    stem = f"kat.shop.web.0-{incarnation}"
    text = f"[Container]\nImage={image}\nContainerName={stem}\n"
    path = f"{QUADLETS}/{stem}.container"
    return artifact(path, text, unit=f"{stem}.service", pair_key="shop/web/0")


async def after(*images: str) -> FakeNode:
    """Return a node that ran these images, one generation after the other."""
    node, cluster = FakeNode(), Cluster()
    for number, image in enumerate(images, 1):
        node.podman.local[image] = f"sha256:{number}"
        await cluster.apply(node.ports, cluster.target(number, web(number, image)))
    node.trace.clear()
    return node


async def test_the_last_five_generations_are_kept_with_their_contents() -> None:
    node = await after(*(f"localhost/web:{n}" for n in range(1, 8)))
    await collect(node.ports)
    assert kept_folders(node.files) == ("1-3", "1-4", "1-5", "1-6", "1-7")
    contents = {path.rpartition("/")[2] for path in node.files.below(state.CONTENT)}
    assert contents == {web(n, f"localhost/web:{n}").digest for n in range(3, 8)}


async def test_an_image_goes_with_the_last_generation_that_needs_it() -> None:
    images = ["a", "b", "a", "c", "c", "c", "d"]
    node = await after(*images)
    node.podman.local["somebody's own"] = "sha256:0"
    await collect(node.ports)
    assert set(node.podman.local) == {"a", "c", "d", "somebody's own"}


async def test_what_a_proposal_left_behind_goes() -> None:
    node = await after("a")
    aborted = state.content_path("f" * 64)
    node.files.put(aborted, b"x")
    await collect(node.ports)
    assert aborted not in node.files.tree


async def test_a_second_time_there_is_nothing_to_do() -> None:
    node = await after("a", "b")
    await collect(node.ports)
    node.trace.clear()
    await collect(node.ports)
    assert node.trace.changes() == []


async def test_nothing_is_collected_while_an_apply_is_unfinished() -> None:
    node = await after(*"abcdefg")
    node.files.put(state.JOURNAL, b"{}")
    await collect(node.ports)
    assert node.trace.changes() == []


async def test_nothing_is_deleted_if_what_is_kept_cannot_be_read() -> None:
    node = await after(*"abcdefg")
    node.files.put(f"{state.GENERATIONS}/1-5/manifest.json", b"{")
    with pytest.raises(UnfitError, match="1-5 is damaged"):
        await collect(node.ports)
    assert node.trace.changes() == []
