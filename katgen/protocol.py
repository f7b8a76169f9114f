"""What leader and agents say to each other: JSON over the agent's own connection, mutual TLS.

An agent opens a WebSocket to `/v1alpha1/nodes/<name>/session` and fetches bundles and contents by
GET and POST. Each message is one text frame, told apart by its `type`. Unknown fields are ignored;
an unknown type is an answer of a newer peer, logged and ignored.

What is digested or signed travels as the exact bytes (`msgspec.Raw`, or a string), so that no
second encoding can differ.
"""

from typing import Final

import msgspec

from katgen.names import InstanceKey, NodeName

RECORD_FORMAT: Final = 1
RECORD_FIELDS: Final = frozenset(
    {"cluster", "epoch", "generation", "plan", "root", "size", "formatVersion", "critical"}
)
"""Of a commit record, as this version knows them; others count only if `critical` names them."""
SIGNING_CONTEXT: Final = b"kat commit record v1\0"
"""Precedes the record's bytes under the signature, so that no other signed text can pass for it."""


class CommitRecord(msgspec.Struct, frozen=True, rename="camel"):
    """One committed plan, spec §6.2.

    `cluster` is the cluster's uid, `plan` the digest of the plan, `root` that of the Merkle tree
    over manifests and shared sets with its `size` in leaves. (`epoch`, `generation`) only grows.
    `critical` names fields that a reader must know to act on the record.
    """

    cluster: str
    epoch: int
    generation: int
    plan: str
    root: str
    size: int
    format_version: int = RECORD_FORMAT
    critical: tuple[str, ...] = ()


class SignedRecord(msgspec.Struct, frozen=True, rename="camel"):
    """A commit record as it travels and is kept: the signed text itself, and the signature.

    `signature` is Ed25519 over `SIGNING_CONTEXT` and the UTF-8 bytes of `record`, base64. `key_id`
    is the first 16 hex digits of SHA-256 over the raw public key.
    """

    record: str
    signature: str
    key_id: str


class Proven(msgspec.Struct, frozen=True, rename="camel"):
    """Exact JSON bytes, and the proof that their digest is a leaf of the root's tree.

    `name` is the node's for a manifest, the set's for the entries of a shared set. `proof` is hex,
    bottom first (`katgen.merkle.is_included`); the leaf is `node|set NUL name NUL digest`.
    """

    name: str
    content: msgspec.Raw
    position: int
    proof: tuple[str, ...]


class BundleAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /v1alpha1/nodes/<name>/bundle?generation=N`: what to install, without file contents.

    `manifest.content` decodes to a `bundle.Manifest`, each set's to a list of `bundle.Entry`. The
    sets are those that the manifest names, wildcards resolved. Contents are fetched by digest:
    `POST /v1alpha1/nodes/<name>/contents` with a JSON list of digests answers with a MessagePack
    map of digest to bytes.
    """

    generation: int
    root: str
    size: int
    manifest: Proven
    sets: tuple[Proven, ...] = ()


# --- leader to agent -----------------------------------------------------------------------------


class Propose(msgspec.Struct, frozen=True, tag="propose", rename="camel"):
    """Stage this bundle and verify it with the node's own tools; answer with a `Verdict`."""

    generation: int
    root: str
    size: int
    timeout_s: float


class Abort(msgspec.Struct, frozen=True, tag="abort", rename="camel"):
    """The proposal will not be committed; its number is never used again."""

    generation: int


class Commit(msgspec.Struct, frozen=True, tag="commit", rename="camel"):
    """This is what must run. Sent at the beginning of a session too."""

    signed: SignedRecord


class Pull(msgspec.Struct, frozen=True, tag="pull", rename="camel"):
    """Make an image available; answer with `PullProgress`, then `Pulled` or `Failed`.

    `policy` is `Always` (ask the registry), `IfNotPresent`, or `Never` (only look).
    """

    id: str
    image: str
    policy: str
    timeout_s: float


class ReadLogs(msgspec.Struct, frozen=True, tag="read-logs", rename="camel"):
    """Send the journal of these units as `LogLines`, at the end `LogEnd`. Times are Unix seconds.

    `since` 0 means from the beginning, `lines` < 0 all of them. Without `everything` only what the
    containers wrote, else also what systemd and Podman say of the units.
    """

    id: str
    units: tuple[str, ...]
    follow: bool = False
    since: float = 0
    lines: int = -1
    everything: bool = False


class ReadUsage(msgspec.Struct, frozen=True, tag="read-usage", rename="camel"):
    """Measure what instances use now; answer with `UsageAnswer`."""

    id: str


class Cancel(msgspec.Struct, frozen=True, tag="cancel", rename="camel"):
    """Nobody waits for the answer to this request any more."""

    id: str


class EndpointRecord(msgspec.Struct, frozen=True, rename="camel"):
    """What the agent that runs an instance says of it: `state` is ready, notready or draining.

    Of one `boot` (the node's boot id) the higher `sequence` is the newer; records never expire.
    `is_new`: it has not been ready on this boot. Who does not say so counts as not new.
    """

    instance: InstanceKey
    boot: str
    sequence: int
    state: str
    is_new: bool = False


class EndpointNews(msgspec.Struct, frozen=True, tag="endpoint-news", rename="camel"):
    """Records of instances on other nodes; apply them, then answer with `EndpointsTaken`.

    `full`: these are all that there are; others are forgotten. Sent so at a session's beginning.
    """

    number: int
    records: tuple[EndpointRecord, ...]
    full: bool = False


class EndpointKnown(msgspec.Struct, frozen=True, tag="endpoint-known", rename="camel"):
    """Every connected node that uses the service has taken this draining record."""

    instance: InstanceKey
    boot: str
    sequence: int


class Settings(msgspec.Struct, frozen=True, tag="settings", rename="camel"):
    """What a ClusterConfiguration says to agents. Sent at the beginning of a session, and anew.

    `drift_policy` is `Report` or `Revert`; a node's own policy goes before it.
    """

    tick_seconds: float
    drift_policy: str


ToAgent = (
    Propose | Abort | Commit | Pull | ReadLogs | ReadUsage | Cancel | Settings | EndpointNews
    | EndpointKnown
)  # fmt: skip


# --- agent to leader -----------------------------------------------------------------------------


class Versions(msgspec.Struct, frozen=True, rename="camel"):
    """Of programs on the node; '' if missing."""

    kat: str = ""
    systemd: str = ""
    podman: str = ""
    netavark: str = ""
    nft: str = ""
    kernel: str = ""


class Facts(msgspec.Struct, frozen=True, rename="camel"):
    """Slow facts about a machine: planner input. Bytes, thousandths of a CPU, counts.

    `interface` is the link that carries the advertised address.
    """

    cpu_millis: int
    memory_bytes: int
    custom: dict[str, int] = {}
    interface: str = ""
    public_key: str = ""
    versions: Versions = Versions()
    formats: tuple[int, ...] = (1,)


class Hello(msgspec.Struct, frozen=True, tag="hello", rename="camel"):
    """First message of a session."""

    node: NodeName
    boot_id: str
    facts: Facts
    epoch: int
    generation: int  # applied last
    held: bool = False  # by `kat-agent rollback`


class Complaint(msgspec.Struct, frozen=True, rename="camel"):
    """Why a bundle or a record is not taken: `path` is the artifact's or '', `text` the tool's."""

    path: str
    text: str
    digest: str = ""
    tool: str = ""


class Verdict(msgspec.Struct, frozen=True, tag="verdict", rename="camel"):
    """Answer to `Propose`. `outcome` is `ok`, `refused` (the artifacts are wrong) or `unfit`."""

    generation: int
    outcome: str
    complaints: tuple[Complaint, ...] = ()


class UnitReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One unit as systemd has it. `since` is Unix seconds of the last change of `active_state`.

    `instance` is '' for units that are none. `exit_code` is the main process's last; `lines` are
    the last of the journal if it failed.
    """

    unit: str
    instance: InstanceKey = InstanceKey("")
    active_state: str = ""
    sub_state: str = ""
    result: str = ""
    restarts: int = 0
    exit_code: int = 0
    since: float = 0
    image_digest: str = ""
    health: str = ""
    lines: tuple[str, ...] = ()


class Drift(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What somebody changed: `kind` is edited, missing, mode, stopped or foreign.

    `diff` is a unified diff from what KAT wrote to what is there, at most 16 KiB.
    """

    kind: str
    path: str = ""
    unit: str = ""
    diff: str = ""


class Report(msgspec.Struct, frozen=True, tag="report", rename="camel"):
    """The state of a node, sent when it changes and as a heartbeat at every tick.

    `sync` is `in sync`, `applying`, `degraded` or `late`. `generation` is the one whose files are
    in place. `problems` say why the node does not follow, or what failed.
    """

    node: NodeName
    boot_id: str
    epoch: int
    generation: int
    sync: str
    held: bool = False
    problems: tuple[Complaint, ...] = ()
    units: tuple[UnitReport, ...] = ()
    drift: tuple[Drift, ...] = ()
    facts: Facts | None = None  # when they changed


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", rename="camel"):
    """Nothing has changed since the last report."""


class PullProgress(msgspec.Struct, frozen=True, tag="pull-progress", rename="camel"):
    """A line for people."""

    id: str
    text: str


class Pulled(msgspec.Struct, frozen=True, tag="pulled", rename="camel"):
    """The image is there. `digest` is `sha256:…` of its manifest in the registry.

    '' for an image that came from no registry.
    """

    id: str
    digest: str


class Failed(msgspec.Struct, frozen=True, tag="failed", rename="camel"):
    """A request could not be answered; `text` is that of the registry, Podman or the journal."""

    id: str
    text: str


class LogLine(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of the journal; `time` is Unix seconds."""

    time: float
    unit: str
    text: str


class LogLines(msgspec.Struct, frozen=True, tag="log-lines", rename="camel"):
    """Some entries, in order."""

    id: str
    lines: tuple[LogLine, ...]


class LogEnd(msgspec.Struct, frozen=True, tag="log-end", rename="camel"):
    """There is no more."""

    id: str


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    """What one unit uses: CPU time since its start, and memory now, from its cgroup."""

    unit: str
    cpu_ns: int
    memory_bytes: int


class UsageAnswer(msgspec.Struct, frozen=True, tag="usage", rename="camel"):
    """Answer to `ReadUsage`; `time` is the agent's monotonic clock, seconds, to take rates by."""

    id: str
    time: float
    units: tuple[Usage, ...]


UNHEALTHY: Final = "Unhealthy"
KILLING: Final = "Killing"
NOT_RESTARTED: Final = "Failed"
NOTE_REASONS: Final = frozenset({UNHEALTHY, KILLING, NOT_RESTARTED})
"""What an agent may say of an instance's health; Kubernetes has events with these reasons."""


class Note(msgspec.Struct, frozen=True, rename="camel"):
    """What became of an instance's health, for people: an event of its workload."""

    instance: InstanceKey
    reason: str
    text: str


class EndpointRecords(msgspec.Struct, frozen=True, tag="endpoints", rename="camel"):
    """Records of this node's own instances that have changed; `full`: all of them.

    `notes` are told once; those of a time without a leader come with the next session.
    """

    records: tuple[EndpointRecord, ...]
    full: bool = False
    notes: tuple[Note, ...] = ()


class EndpointsTaken(msgspec.Struct, frozen=True, tag="endpoints-taken", rename="camel"):
    """The news of this number holds on this node."""

    number: int


ToLeader = (
    Hello | Verdict | Report | Heartbeat | PullProgress | Pulled | Failed | LogLines | LogEnd
    | UsageAnswer | EndpointRecords | EndpointsTaken
)  # fmt: skip
