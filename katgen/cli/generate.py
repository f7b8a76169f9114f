"""`make generate`: writes what is made from the model and the commands into docs/reference.

`python -m katgen.cli.generate [DIRECTORY]`; a test compares, so that stale output fails.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from katgen import reference
from katgen.cli.reference import markdown
from katgen.model.kinds import KINDS
from katgen.schema import schema

DIRECTORY = Path("docs/reference")


def files() -> Mapping[str, str]:
    """Return every generated file, by its path below the directory."""
    schemas = {
        f"schema/{kind}.json": json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"
        for kind in KINDS
    }
    return {**reference.pages(), **schemas, "katcall.md": markdown()}


def main(arguments: Sequence[str]) -> int:
    """Write the files, and remove others of the same kinds that are no longer made."""
    directory = Path(arguments[0]) if arguments else DIRECTORY
    made = files()
    for name, text in made.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for pattern in ("*.md", "schema/*.json"):
        for path in directory.glob(pattern):
            if str(path.relative_to(directory)) not in made:
                path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
