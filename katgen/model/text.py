"""Text that ends in a file's grammar: which values each place accepts.

Refused is only what the grammar cannot carry; `docs/adr/` lists it with the evidence. The encoders in `katgen.render`
refuse the same values again, and a property test holds the two equal.
"""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from katgen import names

MAX_TEXT = 128 * 1024
"""Bytes; Linux refuses a longer single argument or variable, MAX_ARG_STRLEN in execve(2)."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?")


def _checked(*checks: Callable[[str], str]) -> AfterValidator:
    """Return a validator in which each check gives a complaint, or ''."""

    def check(text: str) -> str:
        for complaint in filter(None, (one(text) for one in checks)):
            raise ValueError(complaint)
        return text

    return AfterValidator(check)


def _no_nul(text: str) -> str:
    return "a NUL character cannot be carried by any unit file; remove it" if "\0" in text else ""


def _encodable(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "a lone surrogate is not text; write the character itself"
    return "" if size <= MAX_TEXT else f"{size} bytes are more than Linux passes on ({MAX_TEXT})"


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


def _exec_word(text: str) -> str:
    if text == ";":
        return (
            "a word that is only ';' would start a second command in systemd; write it in a script"
        )
    return "" if text else "an empty word makes Quadlet drop the words after it; leave it out"


def _env_name(text: str) -> str:
    good = _ENV_NAME.fullmatch(text)
    return (
        ""
        if good
        else f"{text[:80]!r} is not a variable's name; use letters, digits, '_', '.', '-'"
    )


def _label_key(text: str) -> str:
    good = _LABEL_KEY.fullmatch(text)
    return (
        ""
        if good
        else f"{text[:80]!r} is not a label's key; use letters, digits, '_', '.', '-', '/'"
    )


def _absolute(text: str) -> str:
    parts = text.split("/")
    if not text.startswith("/") or ".." in parts or "." in parts:
        return f"{text[:80]!r} is not an absolute path without '.' and '..'"
    return ""


def _path_words(text: str) -> str:
    bad = sorted({c for c in text if c in ":," or ord(c) < 32 or ord(c) == 127})  # noqa: PLR2004 -- ASCII controls
    return f"Podman's mount grammar cannot carry {bad[0]!r} in a path; rename it" if bad else ""


def _file_name(text: str) -> str:
    if text in {"", ".", ".."} or "/" in text or len(text.encode(errors="replace")) > 255:  # noqa: PLR2004 -- NAME_MAX
        return f"{text[:80]!r} is not a file name; use 1 to 255 bytes without '/'"
    return ""


Text = Annotated[str, _checked(_no_nul, _encodable)]
Name = Annotated[str, _checked(_label, _not_reserved_name)]
NamespaceName = Annotated[str, _checked(_label, _not_reserved_namespace)]
DnsLabel = Annotated[str, _checked(_label)]
LabelKey = Annotated[str, _checked(_label_key)]
LabelValue = Annotated[str, _checked(_no_nul, _encodable)]
EnvName = Annotated[str, _checked(_env_name)]
EnvValue = Annotated[str, _checked(_no_nul, _encodable)]
ExecWord = Annotated[str, _checked(_no_nul, _encodable, _exec_word)]
AbsolutePath = Annotated[
    str, Field(max_length=4095), _checked(_no_nul, _encodable, _absolute, _path_words)
]
RelativePath = Annotated[str, Field(max_length=4095), _checked(_no_nul, _encodable, _path_words)]
FileName = Annotated[str, _checked(_no_nul, _encodable, _file_name)]
FileContent = Annotated[str, _checked(_encodable)]
