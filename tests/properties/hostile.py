"""Text that means something to some reader on the way into a container, by itself and mixed."""

import random
from collections.abc import Iterator
from typing import Final

ATOMS: Final = (
    "", " ", "  ", ";", ";;", "\n", "\r\n", "\r", "\t", "\v", "\f", "\0", "\x01", "\x1b[31m",
    "\x7f", '"', "'", "\\", "\\\\", "\\n", "\\x41", "\\0", "\\u0000", "\\\n", "$", "$$", "$HOME",
    "${HOME}", "${KAT_1}", "%", "%%", "%n", "%N", "%i", "%h", "#", "[Service]", "=", "A=b",
    "ExecStart=/bin/false", ",", ":", "::", "`id`", "$(id)", "{{ x }}", "{% y %}", "{{.ID}}", "{",
    "[", "]", "[]", '["a"]', "null", "true", "0", "CMD", "cmd-shell", "NONE", "-", "--", "-e", "*",
    "?", "~", "~root", "..", ".", "/", "//", "a", "b c", "x.build", "K", "Kk0", "KAT_1", "@", "+",
    "!", "|", "&", "<", "\x80", "\x85", "\x9f", "\xa0", "\xad", "é", "\u017f", "ß", "日本", "🦀",
    "\u0300", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\u3000", "\ufeff", "\ufffd",
    "\ufdd0", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\ud800", "\udfff", "\ue000",
)  # fmt: skip
LAST: Final = 0x10FFFF
MOST_ATOMS: Final = 6


def texts(seed: int, count: int) -> Iterator[str]:
    """Return every atom, then mixtures of atoms and of any code points; a seed's are the same."""
    yield from ATOMS
    dice = random.Random(seed)  # noqa: S311 -- not for secrets
    for _ in range(count - len(ATOMS)):
        yield "".join(_piece(dice) for _ in range(dice.randint(1, MOST_ATOMS)))


def _piece(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.7:  # mostly what has a meaning
        return dice.choice(ATOMS)
    if kind < 0.9:  # then ASCII, then the rest
        return chr(dice.randrange(128))
    return chr(dice.randint(128, LAST))
