"""katcall's configuration of whoever runs `init`: the new cluster becomes its current context."""

import os
from typing import Any, Final

import msgspec

from agent import state
from agent.ports import Files, UnfitError

MADE: Final = f"{state.AGENT}/config.json"


def path() -> str:
    """Return where katcall looks, as katcall does."""
    own = os.environ.get("KATCALL_CONFIG", "")
    if own:
        return own
    folder = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '/root')}/.config"
    return f"{folder}/kat/config.json"


def take_over(files: Files, to: str | None = None) -> str:
    """Add the context that `kat-leader init` made to katcall's own; return where they are."""
    at = to or path()
    content = files.read(MADE)
    if content is None:
        return at  # an init that was cut has done it
    new = _read(MADE, content)
    old = _read(at, files.read(at) or b"{}")
    merged = {**old, **new, "contexts": {**old.get("contexts", {}), **new["contexts"]}}
    files.write(at, msgspec.json.format(msgspec.json.encode(merged)) + b"\n", 0o600)
    files.flush([at.rpartition("/")[0]])
    files.delete(MADE)
    return at


def _read(name: str, content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise UnfitError(f"{name} is damaged: {err}; mend it or move it away") from err
    if not isinstance(found.get("contexts", {}), dict):
        raise UnfitError(f"{name} is damaged: contexts is no map; mend it or move it away")
    return found


def drop(files: Files, at: str | None = None) -> None:
    """Remove the contexts of this node's own leader. Whatever is odd stays as it is."""
    where = at or path()
    try:
        config = state.load(files, state.NODE, state.NodeConfig)
        known = _read(where, files.read(where) or b"{}")
    except UnfitError:
        return
    contexts = known.get("contexts", {})
    server = config.leader if config else ""
    gone = {
        name
        for name, one in contexts.items()
        if isinstance(one, dict) and one.get("server") == server
    }
    if not gone:
        return
    left = {name: one for name, one in contexts.items() if name not in gone}
    if not left:
        files.delete(where)
        return
    current = known.get("current", "")
    new = {**known, "contexts": left, "current": "" if current in gone else current}
    files.write(where, msgspec.json.format(msgspec.json.encode(new)) + b"\n", 0o600)
