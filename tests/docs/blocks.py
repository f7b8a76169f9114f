"""The code blocks of a Markdown file, and what they mean as tests.

| block | meaning |
|---|---|
| console | commands after `$ `, each followed by what it prints on both streams |
| yaml | KAT objects, which must be valid |

A line `…` stands for any lines. Commands run in a scratch folder where `examples` is the
repository's. A comment on the line before a block says more: `<!-- file: NAME -->` writes it to
NAME for the commands that follow, `<!-- not run: REASON -->` keeps it from being run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>file|not run): (?P<value>.+?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `file` is where it is also written to, `reason` why it is not run."""

    language: str
    body: str
    line: int
    file: str = ""
    reason: str = ""


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
        block = Block(
            match["language"], match["body"], line, value.get("file", ""), value.get("not run", "")
        )
        found.append(block)
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
    """Whether lines are as shown; `…` stands for any lines, also none."""
    pattern = "".join("(?:.*\n)*" if line == "…" else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None
