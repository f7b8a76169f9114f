"""Field paths as people read them: `spec.env[0].name`, `metadata.labels['example.org/tier']`."""

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

Step: TypeAlias = str | int
Path: TypeAlias = Sequence[Step]

_BARE = re.compile(r"[A-Za-z0-9_-]{1,63}")
LONGEST: Final = 63


def shown(path: Path) -> str:
    """Return a path as text; odd keys are quoted, long ones cut."""
    return "".join(map(_step, path)).removeprefix(".")


def _step(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _BARE.fullmatch(step) else f"[{quoted(step)}]"


def quoted(text: str, longest: int = LONGEST) -> str:
    """Return the text in quotes, cut to `longest`, with nothing that a terminal would act on."""
    return repr(text if len(text) <= longest else f"{text[: longest - 1]}…")
