"""Which store a cluster has: chosen at its beginning, and kept in the leader's state.

`cluster.json` names the endpoints of an etcd; without them the store is `store.db`. The files for
TLS are copied to the state directory, since the leader's user sees neither root's files nor homes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from katgen.errors import KatError, Problem, Source, SpecError
from katgen.leader.store import Store
from katgen.leader.store.sqlite import SqliteStore
from katgen.model.cluster import ClusterSpec

FILE: Final = "store.db"
CA: Final = "etcd-ca.crt"
CERTIFICATE: Final = "etcd.crt"
KEY: Final = "etcd.key"
_CLUSTER: Final = "objects/ClusterConfiguration/"


class StateError(KatError):
    """The state directory is not what `init` makes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What `cluster.json` has on a store. Without endpoints it is the embedded one."""

    etcd: tuple[str, ...] = ()


def kept(spec: ClusterSpec) -> Kept:
    """Return what is kept of a cluster's settings."""
    return Kept(spec.etcd.endpoints if spec.store == "etcd" else ())


def copied(spec: ClusterSpec) -> Mapping[str, bytes]:
    """Return the files for TLS by their names in the state. Raises SpecError with all problems."""
    etcd = spec.etcd
    paths = {CA: etcd.ca_file, CERTIFICATE: etcd.cert_file, KEY: etcd.key_file}
    found, problems = dict[str, bytes](), list[Problem]()
    for name, path in paths.items():
        if path is None:
            continue
        try:
            found[name] = Path(path).read_bytes()
        except OSError as err:
            what = (err.strerror or str(err)).lower()
            problems.append(Problem(Source(path), what, "check the path of etcd's file"))
    if KEY in found and not problems:
        problems += _refused(etcd.key_file or "", found[KEY])
    if problems:
        raise SpecError(problems)
    return found


def _refused(path: str, pem: bytes) -> list[Problem]:
    hint = "give the leader a P-256 or RSA key without a passphrase"
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return [Problem(Source(path), "is not a key in PEM without a passphrase", hint)]
    if isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        return []
    return [Problem(Source(path), "is of a kind that gRPC cannot use", hint)]


async def made(state_dir: Path, uid: str, store: Kept) -> Store:
    """Make the store of a new cluster. Raises StoreError."""
    if not store.etcd:
        return await SqliteStore.open(state_dir / FILE)
    return await _etcd(state_dir, uid, store, found=True)


async def opened(state_dir: Path, uid: str, store: Kept) -> Store:
    """Open the store that `init` has made. Raises StateError, StoreError.

    An empty one in its place would take from the nodes what they run.
    """
    if store.etcd:
        return await _begun(await _etcd(state_dir, uid, store), _lost_in_etcd(uid))
    path = state_dir / FILE
    lost = StateError(
        f"{path} is lost: restore its backup, or remove {state_dir} and begin anew with "
        "`kat-agent reset` and `kat-agent init`"
    )
    if not path.exists():
        raise lost
    return await _begun(await SqliteStore.open(path), lost)


def _lost_in_etcd(uid: str) -> StateError:
    return StateError(f"etcd has the cluster {uid} without its objects: restore etcd's backup")


async def _begun(store: Store, lost: StateError) -> Store:
    try:
        is_lost = not (await store.list(_CLUSTER, limit=1)).items
    except BaseException:
        await store.close()
        raise
    if is_lost:
        await store.close()
        raise lost
    return store


async def _etcd(state_dir: Path, uid: str, store: Kept, *, found: bool = False) -> Store:
    # Imported only where it is needed: gRPC is an extra, and costs memory.
    try:
        from katgen.leader.store.etcd import EtcdStore  # noqa: PLC0415 -- see above
        from katgen.leader.store.etcd_calls import Credentials, Members  # noqa: PLC0415 -- the same
    except ImportError as err:
        what = f"store: etcd needs more packages ({err.name} is missing)"
        raise StateError(f"{what}; install KAT as `kat[etcd]`") from err
    names = (CA, CERTIFICATE, KEY)
    try:
        files = [(state_dir / name).read_bytes() for name in names if _is_tls(store)]
    except OSError as err:
        raise StateError(f"{err.filename}: {err.strerror}; it is etcd's, put it back") from err
    credentials = Credentials(*files) if files else None
    return await EtcdStore.open(Members(store.etcd, credentials), uid, found=found)


def _is_tls(store: Kept) -> bool:
    return any(endpoint.startswith("https:") for endpoint in store.etcd)
