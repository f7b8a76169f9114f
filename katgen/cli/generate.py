"""`make generate`: writes what is made from the model and the commands into docs/reference.

`python -m katgen.cli.generate [--check]`; with `--check` nothing is written, and stale files are
named and fail.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from katgen import reference
from katgen.cli.reference import markdown
from katgen.model.kinds import KINDS
from katgen.schema import schema

DIRECTORY = Path("docs/reference")


def files() -> Mapping[str, str]:
    """Return every generated file, by its path below the directory."""
    return {**model_files(), "katcall.md": markdown()}


def model_files() -> Mapping[str, str]:
    """Return the files that are made from the model."""
    schemas = {
        f"schema/{kind}.json": json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"
        for kind in KINDS
    }
    return {**reference.pages(), **schemas}


def stale(directory: Path, made: Mapping[str, str]) -> Iterator[str]:
    """Return the names of files that are missing, differ, or are no longer made."""
    for name, text in made.items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield name
    for pattern in ("*.md", "schema/*.json"):
        found = (str(path.relative_to(directory)) for path in directory.glob(pattern))
        yield from (name for name in found if name not in made)


def write(directory: Path, made: Mapping[str, str]) -> None:
    """Make the directory's files equal to what is made."""
    for name in [*stale(directory, made)]:
        path = directory / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[name], encoding="utf-8")
        else:
            path.unlink()


def main(arguments: Sequence[str]) -> int:
    """Write, or check. Return the exit code."""
    made = files()
    if "--check" not in arguments:
        write(DIRECTORY, made)
        return 0
    found = sorted(stale(DIRECTORY, made))
    for name in found:
        sys.stderr.write(f"{DIRECTORY / name} is stale; run `make generate`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
