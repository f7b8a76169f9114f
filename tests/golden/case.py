"""A golden case: a folder of input, and of the files that every node must get."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from katgen.bundle import Artifact
from katgen.check import check
from katgen.cli.options import Named
from katgen.cli.pipeline import Loaded, load, planned
from katgen.names import InstanceKey
from katgen.plan import make_plan
from katgen.planned import Plan
from katgen.render.cluster import Rendered, render
from tests.environment import REPOSITORY

CASES = Path(__file__).parent
EXAMPLES = REPOSITORY / "examples"
LISTING = "files"


@dataclass(frozen=True, slots=True)
class Case:
    """`spec` is what `-f` gets. With `parent`, the plan of those files is the parent.

    With `steps`, this is replaced step by step; each says which instances are ready before it.
    """

    name: str
    spec: tuple[str, ...]
    parent: tuple[str, ...] = ()
    steps: tuple[frozenset[InstanceKey], ...] = ()

    @property
    def want(self) -> Path:
        """Where the expected files are."""
        return CASES / self.name / "want"


def golden_cases() -> list[Case]:
    """Return every folder here that has a `spec`."""
    folders = sorted(path.parent for path in CASES.glob("*/spec"))
    return [
        Case(folder.name, _inputs(folder, "spec"), _inputs(folder, "parent"), _steps(folder))
        for folder in folders
    ]


def _steps(folder: Path) -> tuple[frozenset[InstanceKey], ...]:
    """Return the steps of a rollout: a line for each, with the instances that are ready then."""
    file = folder / "steps"
    lines = file.read_text().splitlines() if file.exists() else []
    return tuple(frozenset(map(InstanceKey, line.split())) for line in lines)


def _inputs(folder: Path, kind: str) -> tuple[str, ...]:
    if not (folder / kind).is_dir():
        return ()
    nodes = folder / "nodes.kat"
    return (str(folder / kind), *((str(nodes),) if nodes.exists() else ()))


def made(case: Case) -> Plan:
    """Return the case's plan."""
    loaded = load(Named(case.spec))
    if not case.parent:
        return planned(loaded)
    parent = planned(load(Named(case.parent)))
    if not case.steps:
        return planned(Loaded(loaded.specs, loaded.inventory, parent))
    for ready in case.steps:
        available = dict.fromkeys(parent.workloads, ready)
        inventory = msgspec.structs.replace(loaded.inventory, available=available)
        made = make_plan(loaded.specs, inventory, parent)
        assert check(made, parent) == ()
        parent = made
    return parent


def rendered(case: Case) -> Rendered:
    """Return the case's files."""
    return render(made(case))


def trees(result: Rendered) -> dict[str, list[Artifact]]:
    """Return every node's files, sorted by path."""
    return {name: list(result.files(name)) for name in result.nodes}


def contents(files: Iterable[Artifact]) -> dict[str, bytes]:
    """Return files as oracles take them."""
    return {file.path: file.content for file in files}


def listing(files: Iterable[Artifact]) -> str:
    """Return a line for each file: mode, owner, how it is made active, path, unit."""
    return "".join(
        f"{file.mode:04o} {file.owner:<26} {file.activation:<13} {file.path}"
        f"{f' -> {file.unit}' if file.unit else ''}\n"
        for file in files
    )


def wanted(case: Case) -> dict[str, bytes]:
    """Return the expected tree: `<node>/<path>` and `<node>.files`."""
    return {
        str(path.relative_to(case.want)): path.read_bytes()
        for path in sorted(case.want.rglob("*"))
        if path.is_file()
    }


def tree_of(result: Rendered) -> Mapping[str, bytes]:
    """Return what `wanted` would be for this result."""
    tree: dict[str, bytes] = {}
    for node, files in trees(result).items():
        tree[f"{node}.{LISTING}"] = listing(files).encode()
        tree |= {f"{node}{file.path}": file.content for file in files}
    return tree
