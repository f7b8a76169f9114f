"""Every example is taken by a real node, is no change when it comes again, and goes.

What stands in for the examples' images does not know their commands, so that some of their units
fail; nothing of them is refused.
"""

from collections.abc import Iterator

import pytest

from tests import story
from tests.environment import REPOSITORY
from tests.lab.cluster import APPLY_S, OneNode
from tests.lab.hosts import host

OFFLINE = {"git-build-service", "ingress", "secrets", "shop", "shop-v2"}
"""They need a repository on the network, or Secrets, which are not delivered yet."""
EXAMPLES = sorted(
    path.name
    for path in (REPOSITORY / "examples").iterdir()
    if path.is_dir() and path.name not in OFFLINE
)


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with host(kat=True) as node:
        story.prepare(node, *EXAMPLES)
        config = ["--config", "/root/examples/one-network.kat"]
        made = node.run(["kat-agent", "init", *config], timeout_s=APPLY_S)
        yield OneNode(node, "", made.stdout)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken_and_leaves_again(kat: OneNode, example: str) -> None:
    files = ["-f", f"/root/examples/{example}"]
    assert kat.katcall("apply", *files, check=False).code in {0, 5}
    workloads = kat.ask("get", "workloads", "-A")["items"]
    assert workloads
    assert [one["status"] for one in workloads if one["status"].get("heldBack")] == []
    again = kat.katcall("apply", "--no-wait", *files)
    assert "configured" not in again.stdout + again.stderr
    kat.katcall("delete", *files)
    assert kat.ask("get", "instances", "-A")["items"] == []
