"""Text that ends in a file's grammar: which values each place accepts.

Refused is only what no encoding carries; docs/adr/0003-encoders-and-refusals.md lists it with the
evidence. The encoders in `katgen.render` refuse the same values again, and a property test holds
the two equal.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from katgen import names

DESCRIPTION = "kat/description"
"""The annotation that becomes the `Description=` of a workload's units."""
MAX_WORD = 128 * 1024 - 1
"""Bytes of one argument or variable in Linux: MAX_ARG_STRLEN, execve(2), without the final NUL."""
MAX_TEXT = MAX_WORD - 1024
"""Bytes of a value that is passed on together with a name, as `NAME=value`."""
MAX_CONTAINER = 192 * 1024
"""Bytes of all commands, arguments and variables of a container.

Even with every character escaped they fit the 1 MiB that systemd reads as one line (LONG_LINE_MAX).
"""
WORD_OVERHEAD = 16
"""Bytes that a word costs beside itself: its option, blanks and quotes."""
MAX_LABELS = 48 * 1024
"""Bytes of an object's labels; they share that line."""
MAX_FILE = 1024 * 1024
"""Bytes of one file of a Config or Secret."""
PATH_MAX = 4095
"""Bytes of a path, path_resolution(7)."""
MAX_SHORT = 255
"""Bytes of volumeBasePath and of a host path; each of a container's mounts has one."""
MAX_DEPTH = 32
"""Folders below each other in a subPath; each start looks at all of them."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,252}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?")
_NO_TEXT = re.compile(
    "[\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
"""Surrogates, and the 66 code points that Unicode calls noncharacters."""
SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
"""What Go's unicode.IsSpace takes for white space; Python's str.isspace is wider."""
_GIT_PLACE = re.compile(
    r"[a-z]+://([^/@]*@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/+(?!\.git/?$)[^/]"
)
_SHELL_SPECIAL = re.compile(r"[\\'\"$]")


def _checked(*checks: Callable[[str], str]) -> AfterValidator:
    """Return a validator in which each check gives a complaint, or ''."""

    def check(text: str) -> str:
        for one in checks:
            complaint = one(text)
            if complaint:
                raise ValueError(complaint)
        return text

    return AfterValidator(check)


def _byte_size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _shorter(limit: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        size = _byte_size(text)
        return "" if size <= limit else f"{size} bytes are too many; at most {limit} are carried"

    return check


def _carried(text: str) -> str:
    if "\0" in text:
        return "a NUL character ends every argument and variable in Linux; remove it"
    found = _NO_TEXT.search(text)
    if found is None:
        return ""
    code = f"U+{ord(found[0]):04X}"
    return f"{code} is no character to systemd, which would ignore the whole line; remove it"


def _label(text: str) -> str:
    if names.is_label(text):
        return ""
    return (
        f"{text[:80]!r} is not a name; use at most 63 lower-case letters, digits and '-', "
        "beginning and ending with a letter or digit"
    )


def _not_reserved_namespace(text: str) -> str:
    reserved = text in names.RESERVED_NAMESPACES
    return f"the namespace {text!r} is reserved; choose another name" if reserved else ""


def _not_reserved_name(text: str) -> str:
    reserved = text in names.RESERVED_WORKLOADS
    return f"the name {text!r} is reserved; choose another name" if reserved else ""


def _no_instance_name(text: str) -> str:
    reserved = text in names.RESERVED_WORKLOADS
    what = f"{text!r} is reserved: it stands before a workload's name in DNS"
    return f"{what}; choose another name" if reserved else ""


def _service_label(text: str) -> str:
    if len(text) < names.LABEL_MAX:
        return ""
    what = f"a port's name has at most {names.LABEL_MAX - 1} characters: DNS puts '_' before it"
    return f"{what}; choose a shorter one"


def _env_name(text: str) -> str:
    if _ENV_NAME.fullmatch(text):
        return ""
    return f"{text[:80]!r} is not a variable's name; use letters, digits, '_', '.', '-'"


def _env_value(text: str) -> str:
    """CR LF travels in --env-merge, where four characters take a backslash."""
    size = _byte_size(text) + (len(_SHELL_SPECIAL.findall(text)) if "\r\n" in text else 0)
    return "" if size <= MAX_TEXT else f"{size} bytes are too many; at most {MAX_TEXT} are carried"


def _label_key(text: str) -> str:
    if _LABEL_KEY.fullmatch(text):
        return ""
    return f"{text[:80]!r} is not a label's key; use letters, digits, '_', '.', '-', '/'"


def _absolute(text: str) -> str:
    parts = text.split("/")
    if not text.startswith("/") or ".." in parts or "." in parts:
        return f"{text[:80]!r} is not an absolute path without '.' and '..'"
    return ""


def _relative(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        return f"{text[:80]!r} is not a relative path without '..'"
    return ""


def _part(text: str) -> str:
    parts = [part for part in text.split("/") if part]
    if text.startswith("/") or "." in parts or ".." in parts:
        return f"{text[:80]!r} is not a relative path without '.' and '..'"
    if len(parts) > MAX_DEPTH:
        return f"{len(parts)} folders below each other are too many; at most {MAX_DEPTH} are taken"
    return ""


def _file_path(text: str) -> str:
    if text.rpartition("/")[2] in {"", "."}:
        return f"{text[:80]!r} names no file; write it as Dockerfile"
    return _relative(text)


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        return "systemd's grammar has no way to write a line break here; remove it"
    return ""


def _no_crlf(text: str) -> str:
    if "\r\n" in text:
        return "Podman's --mount reads CSV, in which CR LF becomes LF; remove the CR"
    return ""


def _no_colon(text: str) -> str:
    return (
        "Podman's --device ends a path at ':'; use another path to the device"
        if ":" in text
        else ""
    )


def _git_url(text: str) -> str:
    if not text.startswith(("https://", "http://", "git://")):
        return "Podman clones https://, http:// and git:// only; use one of them"
    if not text.startswith("git://") and not text.endswith(".git"):
        return "Podman takes a URL that does not end in .git for an archive; add .git"
    if "#" in text:
        return "a URL with '#' is not a repository's; remove it"
    if _GIT_PLACE.match(text) is None:
        return (
            "a repository has a host and a path; write it as https://git.example.org/shop/web.git"
        )
    return ""


def _context(text: str) -> str:
    found = next((c for c in "#:" if c in text), "")
    return f"Podman's git context ends a path at {found!r}; use another folder" if found else ""


def _file_name(text: str) -> str:
    if text in {"", ".", ".."} or "/" in text or _byte_size(text) > 255:  # noqa: PLR2004 -- NAME_MAX
        return f"{text[:80]!r} is not a file name; use 1 to 255 bytes without '/'"
    return ""


def _any_file(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate is not text; write the character itself"
    return ""


def _first_word(command: tuple[str, ...]) -> tuple[str, ...]:
    if command and not command[0]:
        raise ValueError("the first word names the program and cannot be empty")
    if command and _byte_size(command[0]) > PATH_MAX:
        raise ValueError(f"the first word names the program: at most {PATH_MAX} bytes")
    return command


def _health_words(command: tuple[str, ...]) -> tuple[str, ...]:
    """Podman reads a list as JSON, or the words after CMD split at white space; see the ADR."""
    if all(word and not SPACE.search(word) for word in command):
        size = _byte_size(" ".join(("CMD", *command)))
    elif len(command) == 1:
        raise ValueError("Podman gives a single word with white space to a shell; add an argument")
    elif command[0].upper() in {"CMD", "CMD-SHELL", "NONE"}:
        raise ValueError(
            f"Podman takes a first word {command[0]!r} for its own; use the program's path"
        )
    else:
        size = _byte_size(json.dumps(command))
    if size > MAX_TEXT:
        raise ValueError(f"{size} bytes are too many; at most {MAX_TEXT} are carried")
    return command


def check_description(text: str) -> None:
    """Raise ValueError if a unit's `Description=` cannot carry the text."""
    complaint = _one_line(text)
    if complaint:
        raise ValueError(f"annotation {DESCRIPTION}: {complaint}")


def check_total(texts: Iterable[str], limit: int, what: str) -> None:
    """Raise ValueError if texts that share a line of a unit are longer than systemd reads."""
    size = sum(_byte_size(text) + WORD_OVERHEAD for text in texts)
    if size > limit:
        raise ValueError(f"{what}: {size} bytes together are too many; at most {limit} are carried")


_carried_word = (_carried, _shorter(MAX_TEXT))

Text = Annotated[str, _checked(*_carried_word)]
Name = Annotated[str, _checked(_label, _not_reserved_name)]
NamespaceName = Annotated[str, _checked(_label, _not_reserved_namespace)]
DnsLabel = Annotated[str, _checked(_label)]
NodeLabel = Annotated[str, _checked(_label, _no_instance_name)]
"""A node's name: a DaemonService's ordinal, and so a label before the workload's."""
PortLabel = Annotated[str, _checked(_label, _service_label)]
LabelKey = Annotated[str, _checked(_label_key)]
LabelValue = Annotated[str, _checked(*_carried_word)]
EnvName = Annotated[str, _checked(_env_name)]
EnvValue = Annotated[str, _checked(_carried, _env_value)]
ExecWord = Annotated[str, _checked(*_carried_word)]
Command = Annotated[tuple[ExecWord, ...], AfterValidator(_first_word)]
HealthCommand = Annotated[
    tuple[ExecWord, ...],
    Field(min_length=1),
    AfterValidator(_first_word),
    AfterValidator(_health_words),
]
AbsolutePath = Annotated[str, _checked(_carried, _one_line, _absolute, _shorter(PATH_MAX))]
ShortPath = Annotated[str, _checked(_carried, _one_line, _absolute, _shorter(MAX_SHORT))]
"""The part of a mount's source that a container's size cannot count otherwise."""
SubPath = Annotated[str, _checked(_carried, _one_line, _part, _shorter(PATH_MAX))]
DockerfilePath = Annotated[str, _checked(_carried, _one_line, _file_path, _shorter(PATH_MAX))]
WorkingDir = Annotated[str, _checked(_carried, _absolute, _shorter(PATH_MAX))]
MountPath = Annotated[str, _checked(_carried, _no_crlf, _absolute, _shorter(PATH_MAX))]
DevicePath = Annotated[str, _checked(_carried, _one_line, _absolute, _no_colon, _shorter(PATH_MAX))]
ContextPath = Annotated[str, _checked(_carried, _one_line, _relative, _context, _shorter(PATH_MAX))]
GitUrl = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=2048), _checked(_git_url)]
FileName = Annotated[str, _checked(_carried, _file_name)]
FileContent = Annotated[str, _checked(_any_file, _shorter(MAX_FILE))]
