from pathlib import Path

import msgspec
import pytest

from agent.ports import UnfitError
from agent.target import BundleError, Target, keep, kept, kept_folders, target_from
from katgen.bundle import Artifact, artifact
from katgen.names import NodeName
from katgen.protocol import BundleAnswer
from tests.environment import REPOSITORY
from tests.fakes import FakeNode
from tests.unit.agent.cluster import NODE, QUADLETS, Cluster, instance, rules, target_unit, zone

GOLDEN = REPOSITORY / "tests/golden"
WEB = instance(0, 1)


def target_of(answer: BundleAnswer) -> Target:
    return target_from(answer, NODE, answer.root, answer.size)


def refusal(*own: Artifact, shared: tuple[Artifact, ...] = ()) -> str:
    with pytest.raises(BundleError) as error:
        target_of(Cluster().answer(1, *own, shared=shared))
    return str(error.value)


def test_a_target_holds_the_nodes_own_files_and_the_shared_ones() -> None:
    target = target_of(Cluster().answer(1, WEB, shared=(zone(),)))
    assert list(target.entries) == [WEB.path, zone().path]


def test_a_manifest_that_is_not_under_the_root_is_refused() -> None:
    answer, other = Cluster().answer(1, WEB), Cluster().answer(1, instance(0, 2))
    mixed = msgspec.structs.replace(answer, manifest=other.manifest)
    with pytest.raises(BundleError, match=r"node a: not part of root [0-9a-f]{12}$"):
        target_of(mixed)


def test_a_set_that_is_not_under_the_root_is_refused() -> None:
    answer, other = Cluster().answer(1, shared=(zone(),)), Cluster().answer(1)
    mixed = msgspec.structs.replace(answer, sets=other.sets)
    with pytest.raises(BundleError, match="set base: not part of root"):
        target_of(mixed)


def test_a_proof_that_is_no_proof_is_refused() -> None:
    answer = Cluster().answer(1, WEB)
    broken = msgspec.structs.replace(answer.manifest, proof=("zz",))
    with pytest.raises(BundleError, match="node a: not part of root"):
        target_of(msgspec.structs.replace(answer, manifest=broken))


def test_a_bundle_of_another_root_than_asked_for_is_refused() -> None:
    answer = Cluster().answer(1, WEB)
    with pytest.raises(BundleError, match="not 000000000000"):
        target_from(answer, NODE, "0" * 64, answer.size)


def test_the_bundle_of_another_node_is_refused() -> None:
    answer = Cluster().answer(1, WEB)
    with pytest.raises(BundleError, match="the manifest is that of node a, not b"):
        target_from(answer, NodeName("b"), answer.root, answer.size)


def test_a_bundle_that_lacks_a_set_is_refused() -> None:
    answer = Cluster().answer(1, WEB)
    with pytest.raises(BundleError, match="the bundle lacks the set base"):
        target_of(msgspec.structs.replace(answer, sets=()))


def test_a_path_in_two_sets_is_refused() -> None:
    assert refusal(WEB, shared=(WEB,)) == f"{WEB.path} is in the bundle twice"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/kat/policy",
        "/etc/systemd/system/sshd.service",
        "/etc/systemd/system/kat.shop.service",
        "/etc/systemd/system/multi-user.target",
        "/etc/systemd/network/10-lan.network",
        "/etc/containers/systemd/other/x.container",
        "/etc/containers/systemd/kat/other.container",
        "/var/lib/kat/config/shop/../../../../etc/cron.d/0",
        "/var/lib/kat/agent/trust.json",
        "/var/lib/kat/dns/..",
        "relative",
        "/etc/kat/kat.nft\n",
        "/etc/kat/services/a/b.nft",
        "/etc/systemd/system/multi-user.target.d/10-admin.conf",
        "/etc/systemd/system/kat-nft.service.d/x.conf",
        "/etc/systemd/network/50-kat-eth0.network",
        "/etc/containers/systemd/kat/kat.web.container",
    ],
)
def test_no_signature_makes_kat_write_elsewhere(path: str) -> None:
    assert refusal(artifact(path, "x")) == f"{path!r}: KAT does not write there"


@pytest.mark.parametrize("name", ["x\ny", "x\x1b[2J", "nginx.conf.kat-new", "\u202etxt"])
def test_a_config_has_names_that_can_be_shown_and_are_not_the_agents_own(name: str) -> None:
    path = f"/var/lib/kat/config/shop/web/0123456789ab/{name}"
    assert refusal(artifact(path, "x")) == f"{path!r}: KAT gives no file such a name"


def test_no_signature_makes_kat_stop_the_unit_of_another() -> None:
    path = f"{QUADLETS}/kat.shop.web.0-1.container"
    assert refusal(artifact(path, "x", unit="sshd.service")) == (
        f"{path!r}: unit sshd.service is not that of this file"
    )


@pytest.mark.parametrize("mode", [0o4755, 0o666, 0o664])
def test_no_file_is_for_others_to_write_or_run_as_root(mode: int) -> None:
    assert "lets others than root write it" in refusal(artifact(zone().path, "x", mode=mode))


def test_no_file_is_anybody_elses() -> None:
    what = refusal(artifact(zone().path, "x", owner="user:user"))
    assert what == f"{zone().path!r}: no file of KAT belongs to user:user"


def test_every_path_that_kat_renders_is_taken() -> None:
    nodes = [node for node in GOLDEN.glob("*/want/*") if node.is_dir()]
    paths = {f"/{p.relative_to(n)}" for n in nodes for p in n.rglob("*") if p.is_file()}
    files = [artifact(path, Path(path).name) for path in sorted(paths)]
    units = [
        artifact(
            f.path,
            f.content,
            unit=f"{f.path.rpartition('/')[2].removesuffix('.container')}.service",
        )
        if f.path.endswith(".container")
        else f
        for f in files
    ]
    assert set(target_of(Cluster().answer(1, *units)).entries) == paths


def test_a_record_of_another_root_commits_something_else() -> None:
    cluster = Cluster()
    answer, other = cluster.answer(1, WEB), cluster.answer(1, instance(0, 2))
    record = cluster.record(other)
    with pytest.raises(BundleError, match="the bundle is that of generation 1"):
        target_of(answer).committed(cluster.sign(record), record)


def test_a_target_comes_back_from_disk_as_it_was() -> None:
    node = FakeNode()
    target = Cluster().target(12, WEB, rules(), shared=(zone(), target_unit()))
    keep(node.files, target)
    assert kept(node.files, "1-12") == target


def test_generations_are_listed_by_number() -> None:
    node, cluster = FakeNode(), Cluster()
    for generation in (10, 9, 100):
        keep(node.files, cluster.target(generation, WEB))
    assert kept_folders(node.files) == ("1-9", "1-10", "1-100")


def test_a_generation_that_was_cut_while_it_was_written_is_not_taken() -> None:
    node = FakeNode()
    keep(node.files, Cluster().target(1, WEB))
    node.files.take("/var/lib/kat/generations/1-1/manifest.json")
    with pytest.raises(UnfitError, match="1-1 is not complete"):
        kept(node.files, "1-1")


def test_a_generation_with_a_flipped_bit_is_not_taken() -> None:
    node = FakeNode()
    keep(node.files, Cluster().target(1, WEB))
    path = "/var/lib/kat/generations/1-1/manifest.json"
    node.files.put(path, node.files.tree[path].content.replace(b"{", b"[", 1))
    with pytest.raises(UnfitError, match="1-1 is damaged"):
        kept(node.files, "1-1")
