"""The agent's adapters on a real node: the contract's cases, and what only a real one can do."""

import io
import json
import tarfile
from collections.abc import Iterator

import pytest

from tests.contract.agent.cases import CASES
from tests.contract.agent.hardships import HARDSHIPS
from tests.contract.agent.world import Case
from tests.environment import REPOSITORY
from tests.lab import Node, host
from tests.lab.images import import_busybox

ALL_S = 300
PATH = "/run/contract:/usr/lib/kat"
SENT = ("tests/__init__.py", "tests/contract/__init__.py", "tests/contract/agent")


@pytest.fixture(scope="module")
def said() -> Iterator[dict[str, str]]:
    with host(kat=True) as node:
        import_busybox(node)
        send(node)
        program = ["python3", "-m", "tests.contract.agent.inside"]
        ran = node.run(["env", f"PYTHONPATH={PATH}", *program], timeout_s=ALL_S)
        assert ran.stderr == ""
        yield json.loads(ran.stdout)


@pytest.mark.parametrize("case", [*CASES, *HARDSHIPS], ids=lambda case: case.__name__)
def test_a_real_machine_does(said: dict[str, str], case: Case) -> None:
    assert said[case.__name__] == ""


def send(node: Node) -> None:
    """Put the cases on a node."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in SENT:
            archive.add(REPOSITORY / name, name, filter=_source)
    node.run(["mkdir", "-p", "/run/contract"])
    node.run(["tar", "-x", "-C", "/run/contract"], stdin=buffer.getvalue())


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member
