"""`kat-leader init`: makes a cluster. All of the leader's state appears at once, or not at all.

The state is made in a directory beside its place and renamed there last, after the node's files are
written and the caller has its answer: a cut anywhere before leaves nothing that looks finished, and
`init` can be run again.
"""

import asyncio
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from katgen.errors import Problem, RefusedError, Source, SpecError
from katgen.leader import backend, pki
from katgen.leader.clock import SystemClock, shown_time
from katgen.leader.documents import Incoming, encode
from katgen.leader.draft import Draftsman
from katgen.leader.errors import InputError
from katgen.leader.secrets import KEY_BYTES, SecretBox
from katgen.leader.signing import Signer, make_signer
from katgen.leader.store import Transaction
from katgen.leader.tokens import NewToken, make_token
from katgen.model.cluster import ClusterConfiguration
from katgen.model.spec import API_VERSION
from katgen.parse import Parsed, parse
from katgen.validate.load import load
from katgen.validate.objects import DEFAULT_CLUSTER
from katgen.wire.specs import as_document

ADMIN: Final = "admin"
MARK: Final = "cluster.json"
"""A state directory with it is complete."""
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Options:
    """What `init` is told. `config` is a cluster.kat, or None for the defaults.

    `interface` is the link that carries the advertised address. `owner` is (uid, gid) of the
    leader's files, or None to leave them ours.
    """

    node: str
    advertise_address: str
    state_dir: Path
    node_out: Path
    config: tuple[str, bytes] | None = None
    interface: str = ""
    owner: tuple[int, int] | None = None


class Made(msgspec.Struct, frozen=True, rename="camel"):
    """What the caller gets, and nobody else ever: secrets that are stored nowhere, or hashed."""

    cluster_uid: str
    cluster_name: str
    leader: str
    ca_hash: str
    token: str
    recovery_kit: str

    def __repr__(self) -> str:
        return f"Made({self.cluster_name}, {self.cluster_uid})"


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Everything that is made once."""

    config: ClusterConfiguration
    uid: str
    now: float
    ca: pki.Authority = field(repr=False)
    signer: Signer = field(repr=False)
    secrets_key: bytes = field(repr=False)
    root_key: Ed25519PrivateKey = field(repr=False)
    token: NewToken = field(repr=False)

    def leader(self, address: str) -> str:
        return f"https://{address}:{self.config.spec.api_port}"


def init(options: Options, tell: Callable[[Made], None]) -> None:
    """Make a cluster; `tell` gets the answer just before the state takes its place.

    Raises SpecError with all problems of the configuration, RefusedError if there is a cluster
    already, OSError.
    """
    _refuse_if_there(options.state_dir)
    objects = _objects(options)
    config = _config(objects)
    credentials = backend.copied(config.spec)
    cluster = _new_cluster(config)
    parent = _parent(options.state_dir)
    prefix = f".{options.state_dir.name}.init-"
    for left in parent.glob(f"{prefix}*"):  # by an init that was killed: keys of no cluster
        shutil.rmtree(left)
    begun = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        _write_all(begun, credentials)
        _write_state(begun, options, cluster, objects)
        _write_node(options, cluster)
        tell(_made(options, cluster))
        begun.rename(options.state_dir)
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise
    _flush(parent)


def _refuse_if_there(state_dir: Path) -> None:
    at = Source(str(state_dir))
    if (state_dir / MARK).exists():
        what = "is already initialised: here is the state of a cluster"
        raise RefusedError([Problem(at, what, "`kat-agent reset` removes it, with all it holds")])
    if state_dir.exists() and any(state_dir.iterdir()):
        raise RefusedError([Problem(at, "is not empty", "name another directory, or clear it")])


def _parent(state_dir: Path) -> Path:
    """Return the directory above; other users pass through it on their way to what is theirs."""
    parent = state_dir.parent
    if not parent.exists():
        parent.mkdir(parents=True)
        parent.chmod(0o755)
    return parent


def _objects(options: Options) -> Parsed:
    """Return the cluster's configuration and its first node, as documents."""
    given = parse([options.config]) if options.config else Parsed((_default_cluster(),))
    strangers = [
        Problem(one.at(("kind",)), "only a ClusterConfiguration is taken here", "`apply` the rest")
        for one in given.documents
        if one.value.get("kind") != "ClusterConfiguration"
    ]
    if len(given.documents) > 1 and not strangers:
        strangers = [Problem(given.documents[1].at(), "is a second one", "keep one")]
    if strangers or given.problems:
        raise SpecError([*given.problems, *strangers])
    node: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Node",
        "metadata": {"name": options.node},
        "spec": {"advertiseAddress": options.advertise_address},
    }
    if options.interface:
        node["status"] = {"overlayNetwork": {"interface": options.interface}}
    return Parsed((*given.documents, as_document(node, f"node {options.node}")))


def _default_cluster() -> Any:  # noqa: ANN401 -- a parsed document
    wire = DEFAULT_CLUSTER.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return as_document({"apiVersion": API_VERSION, **wire}, "cluster.kat")


def _config(objects: Parsed) -> ClusterConfiguration:
    loaded, problems = load(objects.documents[0])
    if loaded is None or not isinstance(loaded.object, ClusterConfiguration):
        raise SpecError(problems)
    return loaded.object


def _new_cluster(config: ClusterConfiguration) -> _Cluster:
    now = SystemClock().now()
    return _Cluster(
        config=config,
        uid=str(uuid4()),
        now=now,
        ca=pki.make_ca(config.metadata.name),
        signer=make_signer(),
        secrets_key=os.urandom(KEY_BYTES),
        root_key=Ed25519PrivateKey.generate(),
        token=make_token(ADMIN, ADMIN, shown_time(now)),
    )


def _write_state(folder: Path, options: Options, cluster: _Cluster, objects: Parsed) -> None:
    addresses = [options.advertise_address, "127.0.0.1", "::1"]
    server = pki.issue_server(cluster.ca, [options.node, "localhost"], addresses)
    kept = backend.kept(cluster.config.spec)
    identity: dict[str, object] = {
        "uid": cluster.uid,
        "name": cluster.config.metadata.name,
        "apiPort": cluster.config.spec.api_port,
    }
    if kept.etcd:
        identity["etcd"] = kept.etcd
    ca = cluster.ca.pair
    _write_all(
        folder,
        {
            "ca.key": ca.key,
            "ca.crt": ca.certificate,
            "leader.key": server.key,
            "leader.crt": server.certificate,
            "signing.key": cluster.signer.pem(),
            "secrets.key": cluster.secrets_key,
            "trust.json": _trust(cluster),
            MARK: msgspec.json.encode(identity),
        },
    )
    asyncio.run(_fill_store(folder, cluster, objects))
    if options.owner is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, *options.owner)
    _flush(folder)


async def _fill_store(folder: Path, cluster: _Cluster, objects: Parsed) -> None:
    draftsman = Draftsman(SecretBox(cluster.secrets_key), cluster.now)
    try:
        draft = draftsman.applied(Incoming(objects, {}), {}, is_running=False)
    except InputError as err:
        raise SpecError(err.problems) from err
    store = await backend.made(folder, cluster.uid, backend.kept(cluster.config.spec))
    try:
        puts = {key.path: encode(wire) for key, wire in draft.puts.items()}
        puts[cluster.token.path] = cluster.token.value
        await store.commit(Transaction(puts=puts))
    finally:
        await store.close()


def _write_node(options: Options, cluster: _Cluster) -> None:
    pair = pki.issue_node(cluster.ca, cluster.uid, options.node)
    node = {
        "node": options.node,
        "leader": cluster.leader(options.advertise_address),
        "cluster": cluster.uid,
        "advertiseAddress": options.advertise_address,
        "agentPort": cluster.config.spec.agent_port,
    }
    context = {
        "server": node["leader"],
        "ca": cluster.ca.pair.certificate.decode(),
        "token": cluster.token.text,
    }
    name = cluster.config.metadata.name
    options.node_out.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_all(
        options.node_out,
        {
            "node.key": pair.key,
            "node.crt": pair.certificate,
            "ca.crt": cluster.ca.pair.certificate,
            "trust.json": _trust(cluster),
            "node.json": msgspec.json.encode(node),
            "config.json": msgspec.json.encode({"current": name, "contexts": {name: context}}),
        },
    )
    _flush(options.node_out)


def _trust(cluster: _Cluster) -> bytes:
    signer = cluster.signer
    document = {
        "version": 1,
        "cluster": cluster.uid,
        "signingKeys": [{"id": signer.key_id, "publicKey": _text(signer.public_key)}],
        "rootKey": _text(cluster.root_key.public_key().public_bytes_raw()),
    }
    return msgspec.json.encode(document)


def _made(options: Options, cluster: _Cluster) -> Made:
    return Made(
        cluster_uid=cluster.uid,
        cluster_name=cluster.config.metadata.name,
        leader=cluster.leader(options.advertise_address),
        ca_hash=f"sha256:{cluster.ca.digest}",
        token=cluster.token.text,
        recovery_kit=_recovery_kit(cluster),
    )


def _recovery_kit(cluster: _Cluster) -> str:
    return "\n".join(
        (
            f"KAT recovery kit of cluster {cluster.config.metadata.name} ({cluster.uid})",
            f"made {shown_time(cluster.now)}",
            f"root key (Ed25519, secret): {_text(cluster.root_key.private_bytes_raw())}",
            f"CA certificate: sha256:{cluster.ca.digest}",
            "",
            "Whoever has the root key can name new signing keys that every node obeys.",
            "It is stored nowhere: print this, keep it offline, and delete it from this machine.",
            "",
        )
    )


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        begun = folder / f".{name}"
        with open(begun, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        begun.rename(folder / name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_TRUNC | os.O_NOFOLLOW, _PRIVATE)


def _flush(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
