r"""Encoders: text of a user → the grammars of systemd's unit files and of Quadlet's.

Text reaches a container over five readers: Quadlet's lines, Quadlet's words, systemd's lines,
systemd's words with `%` and `$`, Podman's options. Two ways lead through them:

- *direct*: the value stands where a reader of the unit expects it, quoted: `word`, `raw`;
- *by variable*: systemd puts `${KAT_1}` in ExecStart= back to a value of the service's own
  environment, whatever it holds: `Variables`. The container does not see the variable.

docs/adr/0003-encoders-and-refusals.md says which key takes which, what is refused and why.
Sources: systemd.syntax(7), systemd.service(5) "Command lines", systemd.exec(5), podman-run(1).
"""

import json
import re
from collections.abc import Sequence

from katgen.errors import EncodeError
from katgen.model.text import MAX_TEXT, MAX_WORD, PATH_MAX

LINE_MAX = 1024 * 1024
"""systemd reads no longer line: LONG_LINE_MAX."""

_LOST = re.compile(
    "[\0\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
"""No variable holds a NUL; systemd ignores a line with a code point that is no character."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")
"""Needs no quotes in any of the grammars."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@+=-]*")
_PRINTABLE = re.compile(r"[ -~]*")
_ESCAPED = re.compile('[\\\\"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]')
"""Quotes, backslashes, controls, and characters that do not show or change the direction."""
_SHORT = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
"""White space to Go, whose strings.TrimSpace Quadlet uses on every line."""


class Variables:
    """Variables of one service that carry what cannot stand in its lines directly."""

    def __init__(self) -> None:
        self._values: list[str] = []

    def reference(self, value: str) -> str:
        """Return `${KAT_<n>}`, which systemd replaces in ExecStart= by `value`, as it is.

        EncodeError if Linux passes on no such variable.
        """
        name = f"KAT_{len(self._values) + 1}"
        _check(value, limit=MAX_WORD - len(name) - 1)
        self._values.append(value)
        return f"${{{name}}}"

    def lines(self) -> list[str]:
        """Return the lines of [Service] that set the variables."""
        numbered = enumerate(self._values, 1)
        return [f"Environment={_quoted(f'KAT_{n}={value}', '%')}" for n, value in numbered]


def is_plain_path(path: str) -> bool:
    """Whether a path needs no encoding in any of the grammars."""
    return _PLAIN_PATH.fullmatch(path) is not None


def word(value: str) -> str:
    r"""Return one word of a key that Quadlet splits into words and writes to ExecStart= again.

    EncodeError for what Quadlet itself does not write so that systemd reads it back: an empty word
    (it drops the rest of the line), a word `;` (it writes it bare, and systemd starts a second
    command), and U+0080 (it writes `\x80`, which is half of the character).
    """
    _check(value, limit=MAX_WORD)
    if value in {"", ";"} or "\x80" in value:
        raise EncodeError(f"Quadlet cannot pass on {value[:40]!r} as a word")
    return _doubled(value, "%$") if _PLAIN.fullmatch(value) else _quoted(value, "%$")


def exec_word(value: str, variables: Variables) -> str:
    """Return one word of such a key: directly if Quadlet passes it on, else by variable.

    EncodeError for a NUL, for what is no character to systemd, and for more than MAX_TEXT bytes.
    """
    _check(value)
    if value in {"", ";"} or "\x80" in value:
        return variables.reference(value)
    return word(value)


def raw(value: str, variables: Variables) -> str:
    """Return the value of a key that Quadlet takes as it is, up to blanks and quotes at its ends.

    Such as WorkingDir=, Entrypoint=, HealthCmd=, Image=, AddDevice=. An empty value is no value
    to Quadlet.
    """
    if not value:
        raise EncodeError("Quadlet takes an empty value for none")
    _check(value)
    edges = value[0] in ' "' or value[-1] in ' "\\'
    if edges or value == ";" or not _PRINTABLE.fullmatch(value):
        return variables.reference(value)
    return _doubled(value, "%$")


def image(reference: str, variables: Variables) -> str:
    """Return the line of [Container] with the image; Quadlet takes some names for its own units."""
    unit_like = reference.endswith((".build", ".image"))
    return f"Image={variables.reference(reference) if unit_like else raw(reference, variables)}"


def environment(name: str, value: str, variables: Variables) -> str:
    r"""Return the line of [Container] that sets a variable in the container.

    --env reads CSV, in which CR LF becomes LF; --env-merge does not, but reads `\ ' " $`.
    """
    _check(value)
    if "\r\n" not in value:
        return f"Environment={_pair(name, value, variables)}"
    escaped = re.sub(r"[\\'\"$]", r"\\\g<0>", value)
    _check(escaped)
    return f"PodmanArgs=--env-merge {_pair(name, escaped, variables)}"


def label(key: str, value: str, variables: Variables) -> str:
    """Return the line of [Container] that sets a label."""
    _check(value)
    return f"Label={_pair(key, value, variables)}"


def _pair(name: str, value: str, variables: Variables) -> str:
    """Return one word; its `=` has to be there for Quadlet to see, which drops other words."""
    if "\x80" in value:
        return f"{name}={variables.reference(value)}"
    return word(f"{name}={value}")


def arguments(words: Sequence[str], variables: Variables) -> list[str]:
    """Return the line of [Container] with the words after the image, or none."""
    return [f"Exec={' '.join(exec_word(w, variables) for w in words)}"] if words else []


def entrypoint(program: str, variables: Variables) -> str:
    """Return the line of [Container] that replaces the image's entrypoint by one word.

    Podman takes a value for JSON if it is a list in JSON, else for the word itself.
    """
    if not program:
        raise EncodeError("the first word names the program and cannot be empty")
    _check(program, limit=PATH_MAX)
    plain = is_plain_path(program)
    return f"Entrypoint={raw(program if plain else json.dumps([program]), variables)}"


def health_command(words: Sequence[str], variables: Variables) -> str:
    """Return the value of HealthCmd= and its like that runs exactly these words, with no shell.

    Podman splits what follows the word CMD at white space; else it reads JSON, of which it gives
    a list of one to a shell, and takes CMD, CMD-SHELL and NONE, in any case, for its own.
    """
    if not words or not words[0]:
        raise EncodeError("the first word names the program and cannot be empty")
    if all(w and not _SPACE.search(w) for w in words):
        return raw(" ".join(("CMD", *words)), variables)
    if len(words) == 1:
        raise EncodeError("Podman gives a single word with white space to a shell")
    if words[0].upper() in {"CMD", "CMD-SHELL", "NONE"}:
        raise EncodeError(f"Podman takes a first word {words[0]!r} for its own")
    for one in words:
        _check(one)
    return raw(json.dumps(list(words)), variables)


def bind_mount(source: str, target: str, *, read_only: bool, variables: Variables) -> str:
    """Return the line of [Container] that mounts a path of the node.

    Volume= knows no quoting and ends a path at ':', and Quadlet copies the source of Volume= and
    Mount= bare into a line of [Unit]. So what is not plain goes past it to --mount, which reads
    CSV (RFC 4180), and wants a line `requires_mounts_for` beside it.
    """
    if is_plain_path(source) and is_plain_path(target):
        return f"Volume={source}:{target}{':ro' if read_only else ''}"
    fields = ["type=bind", _csv(f"source={source}"), _csv(f"target={target}")]
    return _mount([*fields, *(["readonly"] if read_only else [])], variables)


def tmpfs_mount(target: str, size_bytes: int | None, variables: Variables) -> str:
    """Return the line of [Container] that mounts a tmpfs which every user may write."""
    size = [f"tmpfs-size={size_bytes}"] if size_bytes is not None else []
    if is_plain_path(target):
        return "Mount=" + ",".join(["type=tmpfs", f"target={target}", *size, "tmpfs-mode=1777"])
    return _mount(["type=tmpfs", _csv(f"target={target}"), *size, "tmpfs-mode=1777"], variables)


def _mount(fields: Sequence[str], variables: Variables) -> str:
    return f"PodmanArgs=--mount {variables.reference(','.join(fields))}"


def _csv(field: str) -> str:
    if "\r\n" in field:
        raise EncodeError("--mount cannot take CR LF: its CSV makes LF of it")
    return '"' + field.replace('"', '""') + '"'


def device(path: str, variables: Variables) -> str:
    """Return the line of [Container] that passes a device through. --device ends a path at ':'."""
    if ":" in path:
        raise EncodeError(f"--device cannot take {path[:80]!r}: it ends a path at ':'")
    plain = is_plain_path(path)
    return f"AddDevice={path if plain else variables.reference(_one_line(path))}"


def requires_mounts_for(path: str) -> str:
    r"""Return the line of [Unit] that waits for the mounts below a path.

    systemd unquotes the value and takes a character after `\` as it is, so none is a line break.
    """
    _check(_one_line(path))
    if is_plain_path(path):
        return f"RequiresMountsFor={path}"
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'RequiresMountsFor="{quoted}"'


def description(text: str) -> str:
    """Return a unit's `Description=` line: the text, then the unit's name in parentheses.

    systemd expands `%` there, strips white space and joins the next line after a backslash at the
    end; the name protects the end of the text, `%i` its start (it is empty in a unit without `@`).
    """
    _check(_one_line(text))
    start = "" if text[:1].strip() else "%i"
    return f"Description={start}{_doubled(text, '%')} (%N)"


def command(*words: str) -> str:
    """Return the words of an ExecStartPre= or its like in [Service], which Quadlet does not read.

    The first word is a plain path: systemd reads prefixes such as `-` there.
    """
    for one in words:
        _check(one)
    return " ".join(_doubled(w, "%$") if _PLAIN.fullmatch(w) else _quoted(w, "%$") for w in words)


def check_line(line: str) -> str:
    """Return a line of a unit as it is. EncodeError if systemd would not read it."""
    if len(line.encode()) >= LINE_MAX:
        raise EncodeError(f"systemd reads no line of {LINE_MAX} bytes: {line[:40]}…")
    return line


def _check(value: str, limit: int = MAX_TEXT) -> None:
    found = _LOST.search(value)
    if found is not None:
        raise EncodeError(f"no unit file carries U+{ord(found[0]):04X}")
    size = len(value.encode())
    if size > limit:
        raise EncodeError(f"{size} bytes are more than the {limit} that Linux passes on")


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise EncodeError("a line break cannot be written here")
    return text


def _doubled(value: str, expanded: str) -> str:
    for character in expanded:
        value = value.replace(character, character * 2)
    return value


def _quoted(value: str, expanded: str) -> str:
    r"""Quote and escape; what is beyond ASCII never by `\x`, which Quadlet decodes as Latin-1."""
    return f'"{_ESCAPED.sub(_escape, _doubled(value, expanded))}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"  # noqa: PLR2004 -- ASCII ends there
