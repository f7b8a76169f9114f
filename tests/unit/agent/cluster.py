"""A leader's half in a test: bundles with proofs, records with signatures, contents by digest."""

import base64
import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import state
from agent.apply import Outcome, apply
from agent.ports import LeaderError, NodePorts
from agent.state import HighWater, SigningKey, Trust
from agent.target import Target, target_from
from agent.traffic import NO_TRAFFIC, Traffic
from agent.trust import key_id, verify
from katgen.bundle import (
    Activation,
    Artifact,
    InstanceEntry,
    Manifest,
    artifact,
    entry,
    shared_set,
)
from katgen.merkle import merkle_tree
from katgen.names import InstanceKey, NodeName
from katgen.protocol import (
    SIGNING_CONTEXT,
    BundleAnswer,
    CommitRecord,
    Proven,
    SignedRecord,
    ToAgent,
    ToLeader,
)
from katgen.render.cluster import leaf, manifest_digest

NODE = NodeName("a")
QUADLETS = "/etc/containers/systemd/kat"
TARGET = "kat.shop.target"
IMAGE = "localhost/web:1"
_ENCODER = msgspec.json.Encoder(order="deterministic")


def instance(
    ordinal: int,
    incarnation: int,
    *,
    workload: str = "web",
    more: str = "",
    activation: Activation = Activation.START,
) -> Artifact:
    """Return an instance's file; its address is `10.100.0.1<ordinal>`."""
    stem = f"kat.shop.{workload}.{ordinal}-{incarnation}"
    text = f"""[Unit]
PartOf={TARGET}

[Container]
Image={IMAGE}
ContainerName={stem}
UIDMap=0:200000:65536
Network=kat:ip=10.100.0.1{ordinal},mac=0a:4b:0a:64:00:0a,host_interface_name=kat-0a64000a
NoNewPrivileges=true
{more}
[Service]
Slice=kat-shop.slice

[Install]
WantedBy={TARGET}
"""
    return artifact(
        f"{QUADLETS}/{stem}.container",
        text,
        activation=activation,
        unit=f"{stem}.service",
        pair_key=f"shop/{workload}/{ordinal}",
    )


def target_unit(text: str = "[Unit]\nDescription=Namespace shop of KAT\n") -> Artifact:
    path = f"/etc/systemd/system/{TARGET}"
    return artifact(path, text, activation=Activation.DAEMON_RELOAD, unit=TARGET, pair_key=path)


def rules(text: str = "# rules\n") -> Artifact:
    path = "/etc/kat/kat.nft"
    return artifact(path, text, activation=Activation.NFT, pair_key=path)


def zone(address: str = "10.100.0.10") -> Artifact:
    path = "/var/lib/kat/dns/shop.example.zone"
    text = (
        "shop.example. 30 IN SOA example. hostmaster.example. 1 3600 600 86400 5\n"
        f"web.shop.example. 5 IN A {address}\n"
    )
    return artifact(path, text, activation=Activation.DNS, pair_key=path)


@dataclass(slots=True)
class Cluster:
    """Makes generations of one node's files; `shared` goes into a set of its own.

    Every instance drains for `drain_seconds`.
    """

    uid: str = "cluster-1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    contents: dict[str, bytes] = field(default_factory=dict)
    drain_seconds: int = 0

    @property
    def trust(self) -> Trust:
        raw = self.key.public_key().public_bytes_raw()
        key = SigningKey(key_id(raw), base64.b64encode(raw).decode())
        return Trust(1, self.uid, (key,))

    def answer(
        self, generation: int, *own: Artifact, shared: tuple[Artifact, ...] = ()
    ) -> BundleAnswer:
        for one in (*own, *shared):
            self.contents[one.digest] = one.content
        common = shared_set("base", shared)
        manifest = Manifest(
            1,
            NODE,
            tuple(map(entry, own)),
            ("base",),
            instances=tuple(
                InstanceEntry(
                    InstanceKey(_instance_of(one)),
                    one.unit,
                    _address_of(one),
                    drain_seconds=self.drain_seconds,
                )
                for one in own
                if one.path.endswith(".container")
            ),
        )
        leaves = [
            leaf("node", NODE, manifest_digest(manifest)),
            leaf("node", "b", "0" * 64),
            leaf("set", "base", common.digest),
        ]
        tree = merkle_tree(leaves)
        texts = (
            (NODE, 0, _ENCODER.encode(manifest)),
            ("base", 2, _ENCODER.encode([entry(one) for one in common.artifacts])),
        )
        mine, base = (
            Proven(name, msgspec.Raw(text), at, tuple(step.hex() for step in tree.proof(at)))
            for name, at, text in texts
        )
        return BundleAnswer(generation, tree.root.hex(), len(leaves), mine, (base,))

    def record(self, answer: BundleAnswer, epoch: int = 1) -> CommitRecord:
        return CommitRecord(self.uid, epoch, answer.generation, "0" * 64, answer.root, answer.size)

    def sign(self, record: CommitRecord | str) -> SignedRecord:
        text = record if isinstance(record, str) else msgspec.json.encode(record).decode()
        signature = self.key.sign(SIGNING_CONTEXT + text.encode())
        return SignedRecord(
            text, base64.b64encode(signature).decode(), self.trust.signing_keys[0].id
        )

    def target(self, generation: int, *own: Artifact, shared: tuple[Artifact, ...] = ()) -> Target:
        """Return a committed target."""
        answer = self.answer(generation, *own, shared=shared)
        made = target_from(answer, NODE, answer.root, answer.size)
        signed = self.sign(self.record(answer))
        return made.committed(signed, verify(signed, self.trust, HighWater()))

    def put_contents(self, node: NodePorts) -> None:
        """Lay all contents on a node, as staging does."""
        for digest, content in self.contents.items():
            node.files.write(state.content_path(digest), content, state.PRIVATE)

    async def apply(
        self, node: NodePorts, target: Target, traffic: Traffic = NO_TRAFFIC
    ) -> Outcome:
        """Apply a target whose contents are staged."""
        self.put_contents(node)
        return await apply(target, node, traffic)


def _address_of(one: Artifact) -> str:
    found = re.search(r"ip=([0-9.]+)", one.content.decode(errors="replace"))
    return found.group(1) if found else ""


def _instance_of(one: Artifact) -> str:
    stem = one.path.rpartition("/")[2].removesuffix(".container").removeprefix("kat.")
    return stem.replace(".", "/", 2)


@dataclass(slots=True)
class FakeSession:
    """A connection to a leader that has these bundles and contents; `asked` digests in order."""

    answers: Mapping[int, BundleAnswer] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: list[ToLeader] = field(default_factory=list)

    async def send(self, message: ToLeader) -> None:
        self.sent.append(message)

    async def messages(self) -> AsyncIterator[ToAgent]:
        nothing: tuple[ToAgent, ...] = ()
        for message in nothing:
            yield message

    async def bundle(self, generation: int) -> BundleAnswer:
        if generation not in self.answers:
            raise LeaderError(f"there is no bundle of generation {generation}")
        return self.answers[generation]

    async def contents(self, digests: Collection[str]) -> Mapping[str, bytes]:
        self.asked += digests
        return {digest: self.files[digest] for digest in digests if digest in self.files}
