"""What a node gets: artifacts of its own, and references to sets of artifacts that nodes share.

A shared set is rendered and digested once per cluster. A manifest names the sets it uses; their
digests stand once beside the manifests under the root, so that a change inside a set touches no
manifest.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import TypedDict, Unpack

import msgspec

from katgen.names import InstanceKey, NodeName

FORMAT = 1
"""Of manifests and of the root over them."""


class Activation(StrEnum):
    """How a changed file takes effect on the node, spec §4."""

    NONE = "none"  # read by something else at its next start
    START = "start"  # a unit systemd has never seen: start it, no reload
    STOP_FIRST = "stop-first"  # the same, after its predecessor (same pair key) is stopped and gone
    DAEMON_RELOAD = "daemon-reload"
    NETWORKD = "networkd"
    PEER = "peer"  # live by netlink; the file is for the next boot
    NFT = "nft"
    DNS = "dns"
    TMPFILES = "tmpfiles"
    SYSUSERS = "sysusers"
    SYSCTL = "sysctl"
    PROXY = "proxy"


class Artifact(msgspec.Struct, frozen=True, gc=False):
    """One file.

    `path` is absolute on the node. `owner` is `user:group`. `unit` is the unit that runs because of
    this file, or ''. `pair_key` is stable over revisions: a diff pairs old and new files by it.
    `digest` is SHA-256 of `content`, hex.
    """

    path: str
    content: bytes
    digest: str
    mode: int = 0o644
    owner: str = "root:root"
    activation: Activation = Activation.NONE
    unit: str = ""
    pair_key: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An artifact without its content, as a manifest lists it.

    Defaults are written: msgspec omits by identity, so that of two equal modes one would be in the
    digested bytes and the other not.
    """

    path: str
    digest: str
    mode: int = 0o644
    owner: str = "root:root"
    activation: Activation = Activation.NONE
    unit: str = ""
    pair_key: str = ""


class SharedSet(msgspec.Struct, frozen=True):
    """Artifacts that several nodes carry, sorted by path. `digest` covers every entry."""

    name: str
    artifacts: tuple[Artifact, ...]
    digest: str


class Bundle(msgspec.Struct, frozen=True):
    """All of one node's files: its own, sorted by path, and the names of the sets it carries."""

    node: NodeName
    own: tuple[Artifact, ...]
    shared: tuple[str, ...]
    manifest: "Manifest"


class Probe(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A health check that the agent makes; liveness by command is Podman's, from the unit."""

    purpose: str  # readiness | liveness
    kind: str  # http | tcp | exec
    port: int = 0
    path: str = ""
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 3
    success_threshold: int = 1
    failure_threshold: int = 3
    command: tuple[str, ...] = ()  # of exec


class InstanceEntry(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What the agent must know of an instance beyond its files.

    `is_run`: a Job's, which is never ready and has no probes.
    """

    instance: InstanceKey
    unit: str
    address: str
    probes: tuple[Probe, ...] = ()
    drain_seconds: int = 0
    restart_policy: str = "Always"  # OnFailure, Never
    is_run: bool = False


class SecretSlot(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A place for one secret value: which, for which instance, where, readable by whom.

    Never the value.
    """

    instance: InstanceKey
    secret: str  # <ns>/<name>
    key: str
    path: str  # on the node, below /run/kat/secrets
    mode: int = 0o400
    uid: int = 0  # on the node


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The full state of a node.

    `shared_sets` are names of sets; one that ends in `/*` means every set of that prefix, so that a
    new namespace changes no manifest. `excludes` are paths of shared sets that this node leaves out
    (its own peer file).
    """

    format: int
    node: NodeName
    entries: tuple[Entry, ...]
    shared_sets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    instances: tuple[InstanceEntry, ...] = ()
    secret_slots: tuple[SecretSlot, ...] = ()


class Root(msgspec.Struct, frozen=True, rename="camel"):
    """What one signature covers: the digest of every node's manifest and of every shared set.

    `digest` is the root of a Merkle tree (`katgen.merkle`) whose leaves are `node NUL name NUL
    digest` for each manifest by name, then `set NUL name NUL digest` for each set by name.
    """

    format: int
    digest: str
    manifests: Mapping[NodeName, str]
    shared_sets: Mapping[str, str]


class Rest(TypedDict, total=False):
    """The fields of an artifact that have defaults."""

    mode: int
    owner: str
    activation: Activation
    unit: str
    pair_key: str


def artifact(path: str, content: bytes | str, **rest: Unpack[Rest]) -> Artifact:
    """Return an artifact with its digest."""
    data = content.encode() if isinstance(content, str) else content
    return Artifact(path=path, content=data, digest=hashlib.sha256(data).hexdigest(), **rest)


def entry(source: Artifact) -> Entry:
    """Return the manifest's line for an artifact."""
    return Entry(
        source.path, source.digest, source.mode, source.owner,
        source.activation, source.unit, source.pair_key,
    )  # fmt: skip


def shared_set(name: str, artifacts: tuple[Artifact, ...]) -> SharedSet:
    """Return a set with its digest over its sorted entries."""
    ordered = tuple(sorted(artifacts, key=lambda a: a.path))
    data = msgspec.json.encode([entry(a) for a in ordered], order="deterministic")
    return SharedSet(name, ordered, hashlib.sha256(data).hexdigest())
