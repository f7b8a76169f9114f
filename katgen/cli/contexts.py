"""The leaders that this user can ask, and by which name: `~/.config/kat/config.json`.

`kat-agent init` writes the first one. Whoever reads the file can act as its user, so it is 0600.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from katgen.cli import inputs
from katgen.cli.failures import failure
from katgen.errors import SpecError

_LOGIN = "katcall login --server https://ADDRESS:9115 --ca ca.crt --token-file FILE makes one"
_INIT = "kat-agent init writes one for root on the first node"


class Context(msgspec.Struct, frozen=True):
    """A leader and how to be known to it. `ca` is the certificate as PEM; '' trusts the system."""

    server: str
    ca: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Context({self.server})"


class Contexts(msgspec.Struct, frozen=True):
    """All contexts by name; `current` is the one that is used if none is named."""

    current: str = ""
    contexts: dict[str, Context] = {}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The context that a command uses, and its name; '' if the environment alone makes it."""

    name: str
    context: Context


def location() -> Path:
    """Return where the file is."""
    if given := os.environ.get("KATCALL_CONFIG"):
        return Path(given)
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "kat/config.json"


def load() -> Contexts:
    """Return what the file says; nothing if there is none. Raises SpecError, LeaderError."""
    path = location()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except OSError as err:
        raise SpecError([inputs.unreadable(str(path), err)]) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise failure(f"{path}: {err}", f"correct it, or remove it; {_LOGIN}") from err


def save(contexts: Contexts) -> None:
    """Write the file whole, for its owner only. Raises SpecError."""
    path = location()
    content = msgspec.json.format(msgspec.json.encode(contexts), indent=2) + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        try:
            _write_through(number, content)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)  # it holds the token
            raise
    except OSError as err:
        raise SpecError([inputs.unwritable(str(path), err)]) from err


def _write_through(number: int, content: bytes) -> None:
    """Write an open file to the disk itself: a rename may get there before what was written."""
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def choose(named: str = "") -> Chosen:
    """Return the context of this name, or the current one, as changed by the environment.

    KATCALL_CONTEXT names it; KATCALL_SERVER, KATCALL_CA (a file) and KATCALL_TOKEN stand in for
    its parts. Raises SpecError, LeaderError.
    """
    known = load()
    name = named or os.environ.get("KATCALL_CONTEXT") or known.current
    context = _changed(known.contexts.get(name), os.environ)
    if context is None or (name and name not in known.contexts and named):
        raise _missing(name, known)
    return Chosen(name, context)


def _changed(context: Context | None, environment: Mapping[str, str]) -> Context | None:
    server = environment.get("KATCALL_SERVER")
    if context is None and not server:
        return None
    found = context or Context("")
    if server and server != found.server:
        found = Context(server)  # another leader is not shown this one's token
    if ca := environment.get("KATCALL_CA"):
        found = replace_ca(found, inputs.read_one(ca))
    if token := environment.get("KATCALL_TOKEN"):
        found = replace_token(found, token)
    return found


def replace_ca(context: Context, pem: bytes) -> Context:
    """Return the context with another certificate to trust."""
    return msgspec.structs.replace(context, ca=pem.decode(errors="replace"))


def replace_token(context: Context, text: str) -> Context:
    """Return the context with the token that is a text's first line."""
    return msgspec.structs.replace(context, token=text.strip().partition("\n")[0].strip())


def _missing(name: str, known: Contexts) -> Exception:
    if name:
        there = f"there are {', '.join(known.contexts)}" if known.contexts else _LOGIN
        return failure(f"there is no context {name!r} in {location()}", there)
    return failure(f"no leader is known: {location()} has no context", f"{_INIT}; {_LOGIN}")


def with_context(known: Contexts, name: str, context: Context) -> Contexts:
    """Return the contexts with this one added or replaced, and current."""
    return Contexts(name, {**known.contexts, name: context})
