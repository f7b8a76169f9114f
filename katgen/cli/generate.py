"""`make generate`: writes what is made from the model, the routes and the commands.

That is docs/reference and `katgen/kat.proto`, with the numbers of what is new in the model.

`python -m katgen.cli.generate [--check]`; with `--check` nothing is written, and stale files are
named and fail.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from katgen import reference
from katgen.cli.reference import markdown
from katgen.leader.openapi import document as openapi
from katgen.model.kinds import KINDS
from katgen.proto import Numbers, grown, proto
from katgen.schema import schema

ROOT = Path(__file__).parent.parent.parent
DIRECTORY = "docs/reference"
NUMBERS = "katgen/proto-numbers.json"


def files(root: Path = ROOT) -> Mapping[str, str]:
    """Return every generated file, by its path below the repository."""
    reference_files = {
        **model_files(),
        "katcall.md": markdown(),
        "openapi.json": openapi.text(),
    }
    made = {f"{DIRECTORY}/{name}": text for name, text in reference_files.items()}
    return {**made, **proto_files(json.loads((root / NUMBERS).read_text(encoding="utf-8")))}


def model_files() -> Mapping[str, str]:
    """Return the files of docs/reference that are made from the model."""
    schemas = {f"schema/{kind}.json": _json(schema(kind)) for kind in KINDS}
    return {**reference.pages(), **schemas}


def proto_files(known: Numbers) -> Mapping[str, str]:
    """Return `kat.proto`, and the numbers that it has from now on."""
    numbers = grown(known)
    return {"katgen/kat.proto": proto(numbers), NUMBERS: _json(numbers)}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def stale(root: Path, made: Mapping[str, str]) -> Iterator[str]:
    """Return the names of files that are missing, differ, or are no longer made."""
    for name, text in made.items():
        path = root / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield name
    for pattern in ("*.md", "*.json", "schema/*.json"):
        found = (str(path.relative_to(root)) for path in (root / DIRECTORY).glob(pattern))
        yield from (name for name in found if name not in made)


def write(root: Path, made: Mapping[str, str]) -> None:
    """Make the files equal to what is made."""
    for name in [*stale(root, made)]:
        path = root / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[name], encoding="utf-8")
        else:
            path.unlink()


def main(arguments: Sequence[str]) -> int:
    """Write, or check. Return the exit code."""
    made = files()
    if "--check" not in arguments:
        write(ROOT, made)
        return 0
    found = sorted(stale(ROOT, made))
    for name in found:
        sys.stderr.write(f"{name} is stale; run `make generate`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
