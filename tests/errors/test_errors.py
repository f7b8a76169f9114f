"""Every file here is wrong; its first comment lines are what KAT says, all of it.

`pytest tests/errors --bless` writes those lines anew: read the difference.
"""

from pathlib import Path

import pytest

from katgen.parse import parse
from katgen.validate import check

CASES = sorted(Path(__file__).parent.glob("*.kat"))


def _split(text: str) -> tuple[list[str], str]:
    lines = text.splitlines(keepends=True)
    count = next((n for n, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    return lines[:count], "".join(lines[count:])


def _said(name: str, content: str) -> list[str]:
    problems = check(parse([(name, content.encode())])).problems
    return [f"# {problem}\n" for problem in problems]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_it_says_where_what_and_what_to_do(case: Path, *, blesses: bool) -> None:
    text = case.read_text(encoding="utf-8")
    expected, body = _split(text)
    if blesses:
        count = len(_said(case.name, text))
        expected = _said(case.name, "# \n" * count + body)
        case.write_text("".join(expected) + body, encoding="utf-8")
        text = case.read_text(encoding="utf-8")
    assert expected
    assert _said(case.name, text) == expected
