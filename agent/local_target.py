"""Files in a directory, as `katcall render` writes them for a node, as a target to be verified."""

import hashlib
from pathlib import Path

import msgspec

from agent import state
from agent.ports import Files
from agent.target import Target
from katgen.bundle import FORMAT, Entry, Manifest
from katgen.errors import Problem, Source, SpecError
from katgen.names import NodeName

ROOT = hashlib.sha256(b"").hexdigest()
"""Of no plan: nothing here can be committed."""


def target_of_folder(files: Files, folder: Path) -> Target:
    """Return the files below a directory by the path that they have there; keeps their contents.

    Modes and units come from `<DIR>.manifest.json` beside it, if that is there. SpecError if the
    directory holds nothing to check.
    """
    known = _manifest(folder)
    entries: dict[str, Entry] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        where, content = f"/{path.relative_to(folder)}", path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if files.stat(state.content_path(digest)) is None:
            files.write(state.content_path(digest), content, state.PRIVATE)
        listed = known.get(where)
        entries[where] = (
            msgspec.structs.replace(listed, digest=digest) if listed else Entry(where, digest)
        )
    if not entries:
        what = "there are no files in this directory"
        raise SpecError([Problem(Source(str(folder)), what, "name DIR/<node> of `katcall render`")])
    manifest = Manifest(FORMAT, NodeName(folder.name), tuple(entries.values()))
    return Target(0, ROOT, manifest, entries, b"", {})


def _manifest(folder: Path) -> dict[str, Entry]:
    beside = folder.with_name(f"{folder.name}.manifest.json")
    try:
        manifest = msgspec.json.decode(beside.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as err:
        raise SpecError([Problem(Source(str(beside)), f"is no manifest: {err}")]) from err
    return {entry.path: entry for entry in manifest.entries}
