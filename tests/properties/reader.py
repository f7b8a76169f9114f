r"""Reads unit files as the manual pages say: systemd.syntax(7), systemd.service(5), podman-run(1).

Slow, and without a line in common with what writes them. Where Quadlet's habits differ from
systemd's the reader takes the safe side: it fails on what either would misread.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
CODES = {"x": 2, "u": 4}
BLANKS = " \t"


class MisreadError(AssertionError):
    """A reader of the unit would see something else than was meant."""


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return (key, value) pairs by section."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    name = ""
    for line in text.split("\n"):
        if any(mark in line for mark in "\r\0"):
            raise MisreadError(f"systemd ends a line inside {line!r}")
        if line.endswith("\\"):
            raise MisreadError(f"the next line continues {line!r}")
        if line.startswith("["):
            name = line[1:-1]
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            if value != value.strip():
                raise MisreadError(f"white space is stripped from {line!r}")
            found[name].append((key, value))
    return found


def words(value: str) -> list[str]:
    """Split like systemd's extract-word with unquoting and C escapes, and like Quadlet."""
    found: list[str] = []
    rest = value
    while rest := rest.lstrip(BLANKS):
        one, rest = _word(rest)
        if not one:
            raise MisreadError(f"an empty word ends the line {value!r}")
        found.append(one)
    return found


def _word(text: str) -> tuple[str, str]:
    if text[0] != '"':
        end = next((i for i, c in enumerate(text) if c in BLANKS), len(text))
        one = text[:end]
        if set(one) & set("\"'\\"):
            raise MisreadError(f"a bare word with quotes or escapes: {one!r}")
        return one, text[end:]
    out = []
    at = 1
    while text[at] != '"':
        if text[at] != "\\":
            out.append(text[at])
            at += 1
            continue
        kind = text[at + 1]
        if kind in ESCAPES:
            out.append(ESCAPES[kind])
            at += 2
            continue
        digits = text[at + 2 : at + 2 + CODES[kind]]
        code = int(digits, 16)
        if kind == "x" and code > 0x7F:
            raise MisreadError("Quadlet and systemd differ on bytes above ASCII")
        out.append(chr(code))
        at += 2 + len(digits)
    rest = text[at + 1 :]
    if rest and rest[0] not in BLANKS:
        raise MisreadError(f"a word goes on after its quotes: {text!r}")
    return "".join(out), rest


def specifiers(text: str, known: Mapping[str, str]) -> str:
    """Expand `%`, systemd.unit(5)."""

    def expand(match: re.Match[str]) -> str:
        name = match[0][1:]
        if name not in known:
            raise MisreadError(f"specifier {match[0]!r} in {text!r}")
        return known[name]

    return re.sub("%(.|$)", expand, text, flags=re.DOTALL)


def _variables(text: str, values: Mapping[str, str]) -> str:
    """Expand `$`, systemd.service(5): `$$`, `${NAME}`; a bare `$NAME` would split."""

    def expand(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] is None or match[1] not in values:
            raise MisreadError(f"{match[0]!r} in {text!r}")
        return values[match[1]]

    return re.sub(r"\$\$|\$\{(\w+)\}|\$", expand, text)


def _one_argument(quadlet_saw: str, values: Mapping[str, str], known: Mapping[str, str]) -> str:
    """Return what a word of ExecStart= becomes after Quadlet has written it again."""
    if quadlet_saw == ";" or not quadlet_saw:
        raise MisreadError(f"systemd starts a second command at {quadlet_saw!r}")
    if "\x80" in quadlet_saw:
        raise MisreadError("Quadlet writes U+0080 as one byte")
    return _variables(specifiers(quadlet_saw, known), values)


class Unit:
    """A `.container` file, read up to what Podman is given."""

    def __init__(self, text: str, unit: str = "kat.shop.web.0-1") -> None:
        self.sections = sections(text)
        self.known = {"%": "%", "N": unit, "i": "", "n": f"{unit}.service"}
        self.values = self._service_environment()

    def _service_environment(self) -> dict[str, str]:
        found = {}
        for value in self.all("Service", "Environment"):
            for one in words(value):
                name, _, rest = specifiers(one, self.known).partition("=")
                found[name] = rest
        return found

    def all(self, section: str, key: str) -> list[str]:
        """Return a key's values."""
        return [value for one, value in self.sections[section] if one == key]

    def arguments(self, key: str) -> list[str]:
        """Return the words of a key that Quadlet splits."""
        return [
            _one_argument(word, self.values, self.known)
            for value in self.all("Container", key)
            for word in words(value)
        ]

    def pairs(self, key: str) -> list[tuple[str, str]]:
        """Return (name, value) of a key of assignments; Quadlet drops a word without `=`."""
        found = []
        for value in self.all("Container", key):
            for word in words(value):
                name, equals, rest = word.partition("=")
                if not equals or "\x80" in rest:
                    raise MisreadError(f"Quadlet loses {word!r}")
                found.append((name, _variables(specifiers(rest, self.known), self.values)))
        return found

    def plain(self, key: str) -> str:
        """Return the value of a key that Quadlet takes whole, without quotes at its ends."""
        (value,) = self.all("Container", key)
        if value != value.strip('"'):
            raise MisreadError(f"Quadlet strips quotes from {value!r}")
        if set(value) - set(map(chr, range(32, 127))):
            raise MisreadError(f"not printable: {value!r}")
        return _one_argument(value, self.values, self.known)

    def environment(self) -> dict[str, str]:
        """Return what the container sees: --env by way of CSV, --env-merge by a shell's quoting."""
        found = {name: value.replace("\r\n", "\n") for name, value in self.pairs("Environment")}
        options = iter(self.arguments("PodmanArgs"))
        for option in options:
            value = next(options)
            if option == "--env-merge":
                name, _, rest = value.partition("=")
                found[name] = _shell_word(rest)
        return found

    def mounts(self) -> list[tuple[str, str]]:
        """Return (source, target) of every bind mount."""
        found = []
        for value in self.all("Container", "Volume"):
            source, target, *_ = value.split(":")
            found.append((source, target))
        options = iter(self.arguments("PodmanArgs"))
        for option in options:
            value = next(options)
            if option == "--mount":
                fields = dict(field.split("=", 1) for field in _csv(value) if "=" in field)
                found.append((fields["source"], fields["target"]))
        return found

    def description(self) -> str:
        """Return the description as systemd shows it."""
        (value,) = self.all("Unit", "Description")
        return specifiers(value, self.known)

    def mounts_for(self) -> list[str]:
        """Return the paths of RequiresMountsFor=, in which a backslash keeps any character."""
        found = []
        for value in self.all("Unit", "RequiresMountsFor"):
            inner = value[1:-1] if value[0] == '"' else value
            found.append(specifiers(re.sub(r"\\(.)", r"\1", inner), self.known))
        return found


def _shell_word(text: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*[\"'$]", text):
        raise MisreadError(f"--env-merge expands {text!r}")
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _csv(line: str) -> list[str]:
    """Read one line of RFC 4180."""
    if "\r\n" in line:
        raise MisreadError("Go's CSV reader makes LF of CR LF")
    fields = re.findall(r'(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))(?=,|$)', line, re.DOTALL)
    return [quoted.replace('""', '"') or bare for quoted, bare in fields]


def entrypoint(value: str) -> list[str]:
    """Return what Podman makes of --entrypoint: JSON if it is a list, else one word."""
    try:
        read = json.loads(value)
    except ValueError:
        return [value]
    if read is None or isinstance(read, list):
        return read or []
    return [value]


def health_command(value: str) -> list[str]:
    """Return the words that Podman runs for --health-cmd."""
    is_space: Callable[[str], list[str]] = re.compile(
        "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
    ).split
    try:
        read = json.loads(value)
    except ValueError:
        first, *rest = is_space(value)
        if first != "CMD":
            raise MisreadError(f"a shell runs {value!r}") from None
        return rest
    if len(read) == 1 or read[0].upper() in {"CMD", "CMD-SHELL", "NONE"}:
        raise MisreadError(f"Podman takes {value!r} for something else")
    return [str(word) for word in read]
