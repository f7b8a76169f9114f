from collections.abc import Collection, Mapping

import pytest

from agent import state
from agent.ports import LeaderError, UnfitError
from agent.stage import stage, unstage
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, FakeSession, instance, rules, zone

WEB = instance(0, 1)


async def test_contents_are_fetched_once_and_kept_by_digest() -> None:
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, WEB, rules())
    session = FakeSession(files=cluster.contents)
    await stage(target, session, node.ports)
    await stage(target, session, node.ports)
    assert session.asked == sorted([WEB.digest, rules().digest])
    assert state.content(node.files, WEB.digest) == WEB.content


async def test_what_is_in_place_is_not_fetched() -> None:
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, WEB))
    target = cluster.target(2, WEB, zone())
    session = FakeSession(files=cluster.contents)
    staged = await stage(target, session, node.ports)
    assert session.asked == [zone().digest]
    assert [entry.path for entry in staged.fresh] == [zone().path]


async def test_a_content_with_a_flipped_bit_is_told_and_fetched_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, WEB)
    node.files.put(state.content_path(WEB.digest), WEB.content[:-1] + b"\0")
    await stage(target, FakeSession(files=cluster.contents), node.ports)
    assert state.content(node.files, WEB.digest) == WEB.content
    path = state.content_path(WEB.digest)
    assert [one.getMessage() for one in caplog.records] == [
        f"{path} is damaged: its digest is another; is the disk sound? fetching it again"
    ]


async def test_a_leader_that_lies_about_a_content_is_not_believed() -> None:
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, WEB)
    with pytest.raises(LeaderError, match=f"the leader sent another content than {WEB.digest}"):
        await stage(target, FakeSession(files={WEB.digest: b"rm -rf /"}), node.ports)
    assert node.files.below(state.CONTENT) == {}


async def test_a_leader_that_lacks_a_content_is_told_apart() -> None:
    target = Cluster().target(1, WEB)
    with pytest.raises(LeaderError, match="the leader does not have the content"):
        await stage(target, FakeSession(), FakeNode().ports)


async def test_a_full_disk_makes_the_node_unfit() -> None:
    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, WEB)
    node.files.room_bytes = 10
    with pytest.raises(UnfitError, match="No space left on device"):
        await stage(target, FakeSession(files=cluster.contents), node.ports)


async def test_nothing_of_an_aborted_proposal_is_left_in_the_scratch_tree() -> None:
    node = FakeNode()
    node.files.put("/run/kat/staged/7/etc/kat/kat.nft", b"")
    node.files.put("/run/kat/staged/8/etc/kat/kat.nft", b"")
    unstage(node.ports, 7)
    assert list(node.files.below("/run/kat/staged")) == ["/run/kat/staged/8/etc/kat/kat.nft"]


async def test_what_does_not_fit_into_one_answer_is_asked_for_again() -> None:
    class Narrow(FakeSession):
        async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
            return await FakeSession.contents(self, list(digests)[:1])

    node, cluster = FakeNode(), Cluster()
    target = cluster.target(1, instance(0, 1), instance(1, 2), instance(2, 3))
    session = Narrow(files=cluster.contents)
    await stage(target, session, node.ports)
    assert sorted(session.asked) == sorted(entry.digest for entry in target.entries.values())
