"""The code blocks of a Markdown file, and what they mean as tests.

| block | meaning |
|---|---|
| console | commands after `$ `, each followed by what it prints on both streams |
| yaml | KAT objects, which must be valid |

A line `…` stands for any lines, `…` within a line for any characters of it. Commands run in a
scratch folder where `examples` is the repository's. A comment on the line before a block says
more: `<!-- file: NAME -->` writes it to NAME for the commands that follow, `<!-- not run: REASON
-->` keeps it from being run, `<!-- on a host: STORY -->` runs it as root on a machine of the lab,
with the other blocks of that story in their order (`tests/lab/test_stories.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>file|not run|on a host): (?P<value>.+?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    `file` is where it is also written to, `reason` why it is not run, `story` what it is part of on
    a machine of the lab.
    """

    language: str
    body: str
    line: int
    file: str = ""
    reason: str = ""
    story: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block, and the lines that it must print."""

    text: str
    output: tuple[str, ...]
    line: int


def blocks(document: Path) -> list[Block]:
    """Return every block of a document, in order."""
    text = document.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        value = {match["mark"]: match["value"]}
        line = text.count("\n", 0, match.start("body"))
        marks = [value.get(mark, "") for mark in ("file", "not run", "on a host")]
        found.append(Block(match["language"], match["body"], line, *marks))
    return found


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block; `> ` continues one."""
    text, start = "", 0
    output: list[str] = []
    for number, line in enumerate(block.body.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if text:
                yield Command(text, tuple(output), start)
            text, output, start = line[2:], [], number
        elif line.startswith("> ") and not output:
            text += f"\n{line[2:]}"
        else:
            output.append(line)
    if text:
        yield Command(text, tuple(output), start)


def is_match(shown: tuple[str, ...], printed: tuple[str, ...]) -> bool:
    """Whether lines are as shown; `…` stands for any lines or characters, also none."""
    pattern = "".join("(?:.*\n)*" if line == "…" else f"{_within(line)}\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def _within(line: str) -> str:
    return ".*".join(map(re.escape, line.split("…")))
