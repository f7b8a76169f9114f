"""What shall be in place: a bundle whose every part is proved to be under one root."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from agent.ports import Files, UnfitError
from agent.state import GENERATIONS, PRIVATE, load
from katgen.bundle import FORMAT, Entry, Manifest
from katgen.errors import KatError
from katgen.merkle import is_included
from katgen.names import NodeName
from katgen.protocol import BundleAnswer, CommitRecord, Proven, SignedRecord


class BundleError(KatError):
    """A bundle that is not what its root says, or that asks for what no signature can allow."""


@dataclass(frozen=True, slots=True)
class Target:
    """`entries` is every file by path. `epoch` is 0 and `signed` None as long as it is proposed.

    `manifest_text` and `set_texts` are the exact bytes, to be kept.
    """

    generation: int
    root: str
    manifest: Manifest
    entries: Mapping[str, Entry]
    manifest_text: bytes
    set_texts: Mapping[str, bytes]
    epoch: int = 0
    signed: SignedRecord | None = None

    @property
    def folder(self) -> str:
        """The name of its folder below `generations`: `<epoch>-<generation>`."""
        return f"{self.epoch}-{self.generation}"

    def committed(self, signed: SignedRecord, record: CommitRecord) -> "Target":
        """Return it as what a record commits. Raises BundleError if the record means another."""
        if (record.generation, record.root) != (self.generation, self.root):
            raise BundleError(
                f"the bundle is that of generation {self.generation}, root {self.root[:12]}; "
                f"committed is {record.generation}, root {record.root[:12]}"
            )
        return replace(self, epoch=record.epoch, signed=signed)


# What a leader may have a node write. No signature widens this: not /etc/kat/policy, no .service.
_PATHS: Final = re.compile(
    r"""(?x)
    /etc/containers/systemd/kat/ kat(\.{label}){3}\.container
    | /etc/containers/systemd/kat/ kat(\.{label}){2}\.build
    | /etc/containers/networks/kat\.json
    | /etc/systemd/system/ kat\.(target|slice)
    | /etc/systemd/system/ kat\.{label}\.target
    | /etc/systemd/system/ (kat-dns\.socket | sockets\.target\.d/kat-dns\.conf)
    | /etc/systemd/system/ kat-([a-z0-9]|\\x2d)+\.slice
    | /etc/systemd/system/ kat(\.{label}){2}\.timer
    | /etc/systemd/system/ multi-user\.target\.d/kat\.conf
    | /etc/systemd/system/ kat(\.{label})?\.target\.d/{label}\.conf
    | /etc/systemd/network/ 50-kat-br0\.(netdev|network)
    | /etc/systemd/network/ 50-(kat0|kat-dns0)\.(netdev|network) (\.d/{label}\.conf)?
    | /etc/systemd/network/ 50-kat-(dns1|port)\.network
    | /etc/kat/ (kat|cluster)\.nft
    | /etc/kat/dns\.json
    | /etc/kat/services/[A-Za-z0-9][A-Za-z0-9._-]*\.nft
    | /etc/(tmpfiles|sysusers)\.d/ kat\.conf
    | /etc/sysctl\.d/50-kat\.conf
    | /var/lib/kat/dns/{label}(\.{label})*\.zone
    | /var/lib/kat/services/{label}\.json
    | /var/lib/kat/ingress/traefik/kat\.yaml
    | /var/lib/kat/config/{label}/{label}/[0-9a-f]+/[^/]+
    """.replace("{label}", "[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
)
_HALF_WRITTEN: Final = ".kat-new"
"""How the agent calls a file until it is whole, and what it clears away after a power cut."""
_OWNERS: Final = frozenset({"root:root", "root:systemd-network", "root:kat-dns"})
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PERMISSIONS: Final = 0o777
_OTHERS_WRITE: Final = 0o022


def target_from(answer: BundleAnswer, node: NodeName, root: str, size: int) -> Target:
    """Return what an answer holds, if all of it is under `root`. Raises BundleError."""
    if (answer.root, answer.size) != (root, size):
        raise BundleError(f"the bundle is of root {answer.root[:12]}, not {root[:12]}")
    _prove("node", answer.manifest, root, size)
    if answer.manifest.name != node:
        raise BundleError(f"the manifest is that of node {answer.manifest.name}, not {node}")
    for one in answer.sets:
        _prove("set", one, root, size)
    texts = {one.name: bytes(one.content) for one in answer.sets}
    made = _read(answer.generation, root, bytes(answer.manifest.content), texts)
    if made.manifest.node != node:
        raise BundleError(f"the manifest names node {made.manifest.node}, not {node}")
    return made


def _prove(kind: str, part: Proven, root: str, size: int) -> None:
    digest = hashlib.sha256(bytes(part.content)).hexdigest()
    leaf = f"{kind}\0{part.name}\0{digest}".encode()
    try:
        proof = [bytes.fromhex(one) for one in part.proof]
        proved = is_included(leaf, part.position, size, proof, bytes.fromhex(root))
    except ValueError:
        proved = False
    if not proved:
        raise BundleError(f"{kind} {part.name}: not part of root {root[:12]}")


def _read(generation: int, root: str, manifest: bytes, sets: Mapping[str, bytes]) -> Target:
    try:
        decoded = msgspec.json.decode(manifest, type=Manifest)
        shared = {n: msgspec.json.decode(t, type=tuple[Entry, ...]) for n, t in sets.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise BundleError(f"the bundle cannot be read: {err}") from err
    if decoded.format > FORMAT:
        raise UnfitError(
            f"the manifest has format {decoded.format}, this agent knows {FORMAT}; update KAT"
        )
    problem = next(_wrong_sets(decoded.shared_sets, shared), None)
    if problem:
        raise BundleError(problem)
    left_out = frozenset(decoded.excludes)
    common = (e for name in sorted(shared) for e in shared[name] if e.path not in left_out)
    entries = _by_path((*decoded.entries, *common))
    return Target(generation, root, decoded, entries, manifest, sets)


def _wrong_sets(wanted: Iterable[str], sent: Mapping[str, object]) -> Iterator[str]:
    """Yield what is missing among the sets, and what the manifest does not name.

    A cluster of one node has no set of peers.
    """
    names = frozenset(wanted)
    prefixes = tuple(name[:-1] for name in names if name.endswith("/*"))
    for name in sorted(n for n in names - sent.keys() if not n.endswith("/*")):
        if name.partition("/")[0] != "peers":
            yield f"the bundle lacks the set {name}"
    for name in sorted(sent.keys() - names):
        if not (prefixes and name.startswith(prefixes)):
            yield f"the manifest does not name the set {name}"


def _by_path(entries: Iterable[Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in found:
            raise BundleError(f"{entry.path} is in the bundle twice")
        problem = _fault_of(entry)
        if problem:
            raise BundleError(f"{entry.path!r}: {problem}")
        found[entry.path] = entry
    return dict(sorted(found.items()))


def _fault_of(entry: Entry) -> str:
    """Return why a node never takes this file, whoever signed it; '' if it does."""
    parts = entry.path.split("/")[1:]
    if not _PATHS.fullmatch(entry.path) or any(part in ("", ".", "..") for part in parts):
        return "KAT does not write there"
    if not entry.path.isprintable() or entry.path.endswith(_HALF_WRITTEN):
        return "KAT gives no file such a name"
    if entry.owner not in _OWNERS:
        return f"no file of KAT belongs to {entry.owner}"
    if entry.mode & ~_PERMISSIONS or entry.mode & _OTHERS_WRITE:
        return f"mode {entry.mode:04o} lets others than root write it, or is more than permissions"
    if not _DIGEST.fullmatch(entry.digest):
        return "its digest is none"
    return "" if _is_own(entry) else f"unit {entry.unit} is not that of this file"


def _is_own(entry: Entry) -> bool:
    """Whether the unit is the file's own: by any other, a bundle could stop what is not KAT's."""
    name = entry.path.rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    if suffix == "container":
        return entry.unit == f"{stem}.service"
    if suffix == "build":
        return entry.unit in ("", f"{stem}-build.service")
    return entry.unit in ("", name)


# --- generations on disk --------------------------------------------------------------------------


class _Kept(msgspec.Struct, frozen=True):
    """One shared set of a kept generation."""

    name: str
    content: msgspec.Raw


def keep(files: Files, target: Target) -> None:
    """Write a committed target to its folder below `generations`, durably.

    The manifest comes last: a folder without it holds nothing.
    """
    folder = f"{GENERATIONS}/{target.folder}"
    sets = [_Kept(name, msgspec.Raw(text)) for name, text in sorted(target.set_texts.items())]
    files.write(f"{folder}/record.json", msgspec.json.encode(target.signed), PRIVATE)
    files.write(f"{folder}/sets.json", msgspec.json.encode(sets), PRIVATE)
    files.write(f"{folder}/manifest.json", target.manifest_text, PRIVATE)
    files.flush([folder, GENERATIONS])


def kept(files: Files, folder: str) -> Target:
    """Return a generation from disk. Raises UnfitError if it is not there whole."""
    where = f"{GENERATIONS}/{folder}"
    signed = load(files, f"{where}/record.json", SignedRecord)
    manifest, sets = files.read(f"{where}/manifest.json"), files.read(f"{where}/sets.json")
    if signed is None or manifest is None or sets is None:
        raise UnfitError(f"{where} is not complete")
    try:
        record = msgspec.json.decode(signed.record, type=CommitRecord)
        shared = msgspec.json.decode(sets, type=tuple[_Kept, ...])
        texts = {one.name: bytes(one.content) for one in shared}
        made = _read(record.generation, record.root, manifest, texts)
    except (msgspec.MsgspecError, UnicodeDecodeError, BundleError) as err:
        raise UnfitError(f"{where} is damaged: {err}") from err
    return made.committed(signed, record)


def kept_folders(files: Files) -> tuple[str, ...]:
    """Return the folders of the generations on disk, oldest first."""
    found = []
    for path in files.folders(GENERATIONS):
        epoch, _, generation = path.rpartition("/")[2].partition("-")
        if epoch.isdecimal() and generation.isdecimal():
            found.append((int(epoch), int(generation)))
    return tuple(f"{epoch}-{generation}" for epoch, generation in sorted(found))
