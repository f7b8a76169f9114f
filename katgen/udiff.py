"""The unified diff of two texts, also of long ones: as exact as diff(1), and never quadratic.

Lines that both texts have exactly once, in the same order, anchor the comparison (patience diff);
only what lies between two anchors is searched.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

CONTEXT: Final = 3
_SEARCHED: Final = 2_000
"""Lines between two anchors; more, without a line of their own in common, are replaced whole."""


class Block(NamedTuple):
    """Lines `old[a:a_end]` become `new[b:b_end]`."""

    a: int
    a_end: int
    b: int
    b_end: int


def unified(old: str | None, new: str | None, names: tuple[str, str]) -> list[str]:
    """Return the lines of a unified diff, without newlines; None is a file that is not there.

    `names` stand in the header. Equal texts give no line.
    """
    olds, news = _lines(old), _lines(new)
    blocks = _blocks(olds, news)
    if not blocks:
        return []
    head = [f"--- {names[0] if old is not None else '/dev/null'}"]
    head.append(f"+++ {names[1] if new is not None else '/dev/null'}")
    return [*head, *(line for hunk in _hunks(blocks) for line in _shown(hunk, olds, news))]


def _lines(text: str | None) -> list[str]:
    """Cut at newlines only: a form feed or U+2028 is part of its line."""
    if not text:
        return []
    lines = text.split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


def _blocks(olds: Sequence[str], news: Sequence[str]) -> list[Block]:
    """Return what differs, in order, adjacent blocks joined."""
    blocks: list[Block] = []
    for a, a_end, b, b_end in _gaps(olds, news):
        for tag, i, i_end, j, j_end in _searched(olds[a:a_end], news[b:b_end]):
            if tag != "equal":
                blocks.append(Block(a + i, a + i_end, b + j, b + j_end))
    return blocks


def _searched(olds: Sequence[str], news: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if max(len(olds), len(news)) > _SEARCHED:
        return [("replace", 0, len(olds), 0, len(news))]
    return SequenceMatcher(None, olds, news, autojunk=False).get_opcodes()


def _gaps(olds: Sequence[str], news: Sequence[str]) -> Iterator[Block]:
    """Yield what lies between equal beginnings, ends and anchors."""
    a = b = 0
    for i, j in (*_anchors(olds, news), (len(olds), len(news))):
        gap = _trimmed(olds, news, Block(a, i, b, j))
        if gap.a < gap.a_end or gap.b < gap.b_end:
            yield gap
        a, b = i + 1, j + 1


def _trimmed(olds: Sequence[str], news: Sequence[str], gap: Block) -> Block:
    a, a_end, b, b_end = gap
    while a < a_end and b < b_end and olds[a] == news[b]:
        a, b = a + 1, b + 1
    while a < a_end and b < b_end and olds[a_end - 1] == news[b_end - 1]:
        a_end, b_end = a_end - 1, b_end - 1
    return Block(a, a_end, b, b_end)


def _anchors(olds: Sequence[str], news: Sequence[str]) -> list[tuple[int, int]]:
    """Return the longest rising sequence of places of lines that are unique on both sides."""
    in_old, in_new = Counter(olds), Counter(news)
    places = {line: j for j, line in enumerate(news) if in_new[line] == 1}
    pairs = [
        (i, places[line]) for i, line in enumerate(olds) if in_old[line] == 1 and line in places
    ]
    ends: list[int] = []  # the least place in `news` that ends a sequence of each length
    tails: list[int] = []  # which pair that is
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(tails[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        tails[length : length + 1] = [number]
    chain = []
    at = tails[-1] if tails else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]


def _hunks(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Group blocks whose contexts touch."""
    group: list[Block] = []
    for block in blocks:
        if group and block.a - group[-1].a_end > 2 * CONTEXT:
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _shown(hunk: Sequence[Block], olds: Sequence[str], news: Sequence[str]) -> Iterator[str]:
    lead = min(CONTEXT, hunk[0].a)
    tail = min(CONTEXT, len(olds) - hunk[-1].a_end)
    start, end = hunk[0].a - lead, hunk[-1].a_end + tail
    new_start, new_end = hunk[0].b - lead, hunk[-1].b_end + tail
    yield f"@@ -{_range(start, end)} +{_range(new_start, new_end)} @@"
    at = start
    for block in hunk:
        yield from _prefixed(" ", olds[at : block.a])
        yield from _prefixed("-", olds[block.a : block.a_end])
        yield from _prefixed("+", news[block.b : block.b_end])
        at = block.a_end
    yield from _prefixed(" ", olds[at:end])


def _prefixed(sign: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        text, newline, note = line.partition("\n")
        yield f"{sign}{text}"
        if newline:
            yield note


def _range(start: int, end: int) -> str:
    """Return a range as diff(1) writes it: an empty one names the line before."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
