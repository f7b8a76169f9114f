"""Whether this node can run a bundle, by its own tools and its owner's policy. Changes nothing."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from agent import state, tooling
from agent.policy import complaints, load_policy
from agent.ports import NodePorts, UnfitError
from agent.quadlet import Generated, generate, is_quadlet, made, service_of
from agent.shapes.services import FOLDER as CANDIDATES
from agent.stage import SCRATCH, Staged, scratch_of, spread
from agent.target import Target
from agent.tooling import Checked
from katgen.bundle import Entry
from katgen.protocol import Complaint, Versions

_STAMP: Final = "verified.json"
_CONTENTS: Final = "/var/lib/kat/"
_FRESH_S: Final = 30
"""Nobody asks every program for its version between a proposal and its commit."""


class _Question(msgspec.Struct, frozen=True):
    """What was found right, under which policy."""

    root: str
    policy: str
    files: tuple[tuple[str, str], ...]


class _Stamp(msgspec.Struct, frozen=True):
    """By which tools it was found right, and when: seconds since boot."""

    question: _Question
    versions: Versions
    at: float


async def verify(staged: Staged, node: NodePorts) -> tuple[Complaint, ...]:
    """Return why the artifacts are refused, or () if the node takes them.

    Raises UnfitError if it is the machine that cannot. The same files are checked once by the same
    tools.
    """
    policy = load_policy(node.files)
    files = tuple((entry.path, entry.digest) for entry in staged.fresh)
    question = _Question(staged.target.root, str(policy), files)
    where = f"{staged.scratch}/{_STAMP}"
    known = state.load(node.files, where, _Stamp)
    is_known = known is not None and known.question == question
    if known is not None and is_known and 0 <= node.clock.boottime() - known.at < _FRESH_S:
        return ()
    versions = (await node.machine.facts()).versions
    if known is not None and is_known and known.versions == versions:
        return ()
    spread(node, staged.scratch, staged.fresh)
    found = [*complaints(policy, _texts(node, staged))]
    if not found:
        fresh = {entry.path: entry for entry in staged.fresh}
        found += await _by_tools(node, staged.scratch, fresh, staged.target.entries)
        found += await _rules(staged, node)
    if not found:
        state.save(node.files, where, _Stamp(question, versions, node.clock.boottime()))
    return tuple(found)


def _texts(node: NodePorts, staged: Staged) -> dict[str, tuple[str, str]]:
    """Return what is to be looked at before any tool reads it; nft reads all rules if one is new.

    What else lies below /var/lib/kat holds a user's text, and no program of the machine obeys it.
    """
    entries = [entry for entry in staged.fresh if _is_obeyed(entry.path)]
    if any(entry.path.startswith(tooling.NFT) for entry in entries):
        entries += (e for p, e in staged.target.entries.items() if p.startswith(tooling.NFT))
    return {e.path: (e.digest, _text(state.content(node.files, e.digest))) for e in entries}


def _is_obeyed(path: str) -> bool:
    return path.startswith(CANDIDATES) or not path.startswith(_CONTENTS)


def _text(content: bytes) -> str:
    """Return bytes as text in which those that are none can be told."""
    return content.decode(errors="surrogateescape")


async def verify_folder(node: NodePorts, folder: str) -> tuple[Complaint, ...]:
    """Check the rendered files of one node below a directory, as `katcall render` writes them.

    They are all taken for new. Raises UnfitError if the machine cannot check them.
    """
    scratch = f"{SCRATCH}/folder"
    node.files.delete_tree(scratch)
    entries, texts = {}, {}
    for path, content in _below(node, folder.rstrip("/")):
        unit = service_of(path) if is_quadlet(path) else ""
        entries[path] = Entry(path, hashlib.sha256(content).hexdigest(), unit=unit)
        for place in (scratch, f"{scratch}/nft"):
            node.files.write(place + path, content, state.PRIVATE)
        if _is_obeyed(path):
            texts[path] = (entries[path].digest, _text(content))
    found = [*complaints(load_policy(node.files), texts)]
    if not found:
        found += await _by_tools(node, scratch, entries, entries)
        found += await tooling.rules(Checked(node, f"{scratch}/nft", entries))
    node.files.delete_tree(scratch)
    return tuple(found)


def _below(node: NodePorts, folder: str, under: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield every file below a directory: its path on the node, and its content."""
    for path in node.files.list(folder + under):
        yield path.removeprefix(folder), node.files.read(path) or b""
    for inner in node.files.folders(folder + under):
        yield from _below(node, folder, inner.removeprefix(folder))


async def _by_tools(
    node: NodePorts, scratch: str, fresh: Mapping[str, Entry], paths: Iterable[str]
) -> list[Complaint]:
    """Run every tool but nft; `paths` are those of the whole node."""
    generated = await _generated(node, scratch, fresh)
    checked = Checked(node, scratch, fresh)
    found = [*generated.complaints]
    found += tooling.timers(checked, generated.services, paths)
    found += tooling.zones(checked)
    found += tooling.networks(checked)
    found += await tooling.units(checked, generated.services)
    found += await tooling.calendars(checked)
    found += await tooling.directories_and_users(checked)
    return found


async def _rules(staged: Staged, node: NodePorts) -> list[Complaint]:
    """Check all packet rules together, changed or not: they are one transaction."""
    if not any(entry.path.startswith(tooling.NFT) for entry in staged.fresh):
        return []
    every = {p: e for p, e in staged.target.entries.items() if p.startswith(tooling.NFT)}
    scratch = f"{staged.scratch}/nft"
    spread(node, scratch, every.values())
    return await tooling.rules(Checked(node, scratch, every))


async def _generated(node: NodePorts, scratch: str, entries: Mapping[str, Entry]) -> Generated:
    quadlets = {path: entry.digest for path, entry in entries.items() if is_quadlet(path)}
    return await generate(node, scratch, quadlets)


async def services(target: Target, units: Iterable[str], node: NodePorts) -> Mapping[str, str]:
    """Return the text of new instances' services, as it goes to `/run/systemd/system`.

    Raises UnfitError if Quadlet makes none: what is committed was verified on this machine.
    """
    wanted = set(units)
    entries = {
        path: entry
        for path, entry in target.entries.items()
        if path.endswith(".container") and service_of(path) in wanted
    }
    if not entries:
        return {}
    scratch = scratch_of(target.generation)
    known = {unit: text for unit, text in _known(node, scratch, entries) if text}
    rest = {path: e for path, e in entries.items() if service_of(path) not in known}
    spread(node, f"{scratch}/start", rest.values())
    generated = await _generated(node, f"{scratch}/start", rest)
    if generated.complaints:
        one = generated.complaints[0]
        raise UnfitError(f"{one.path}: {one.tool}: {one.text}")
    return {**known, **generated.services}


def _known(
    node: NodePorts, scratch: str, entries: Mapping[str, Entry]
) -> Iterator[tuple[str, str]]:
    """Yield the services that were made of the same bytes when they were verified."""
    if node.files.stat(f"{scratch}/{_STAMP}") is None:
        return
    for path, entry in entries.items():
        source = node.files.stat(scratch + path)
        if source is not None and source.digest == entry.digest:
            yield service_of(path), made(node, scratch, service_of(path))
