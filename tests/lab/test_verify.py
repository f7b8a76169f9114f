"""A node's own tools on what it is given: sound files pass, and each fault is its file's."""

import json
from collections.abc import Iterator, Mapping

import pytest

from tests.environment import REPOSITORY
from tests.lab import Node, host
from tests.oracles.cell import static_units

SHOP = REPOSITORY / "tests/golden/shop/want/a"
QUADLETS = "/etc/containers/systemd/kat"
API = f"{QUADLETS}/kat.shop.api.1-2.container"
TIMER = "/etc/systemd/system/kat.shop.backup.timer"
TARGET = "/etc/systemd/system/kat.shop.target"
SERVICES = "/etc/kat/services/shop.nft"
KAT_NFT = "/etc/kat/kat.nft"
TMPFILES = "/etc/tmpfiles.d/kat.conf"
SYSUSERS = "/etc/sysusers.d/kat.conf"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with host("a", kat=True) as booted:
        booted.put_tree(static_units())
        booted.put("/run/verifying.py", (REPOSITORY / "tests/lab/verifying.py").read_bytes())
        yield booted


def verified(node: Node, changed: Mapping[str, str]) -> list[list[str]]:
    """Return the complaints about the shop's files with a line added to some of them."""
    files = {f"/{p.relative_to(SHOP)}": p.read_bytes() for p in SHOP.rglob("*") if p.is_file()}
    for path, line in changed.items():
        files[path] += f"\n{line}\n".encode()
    node.run(["rm", "-rf", "/run/rendered"])
    node.put_tree({f"/run/rendered{path}": content for path, content in files.items()})
    command = "PYTHONPATH=/usr/lib/kat python3 /run/verifying.py /run/rendered"
    found: list[list[str]] = json.loads(node.run(["sh", "-c", command]).stdout)
    return found


def test_what_kat_renders_is_taken(node: Node) -> None:
    assert verified(node, {}) == []


@pytest.mark.parametrize(
    ("path", "line", "tool", "text"),
    [
        (API, "[Container]\nNoSuchKey=1", "node", "KAT writes no such NoSuchKey="),
        (API, '[Container]\nExec=a ";" touch /x', "quadlet", "with 2 commands"),
        (API, "[Service]\nRestart=perhaps", "node", "KAT writes no such Restart="),
        (TARGET, "[Unit]\nConflicts=sshd.service", "node", "KAT writes no such Conflicts="),
        (TIMER, "[Timer]\nOnCalendar=someday", "systemd-analyze calendar", "someday"),
        (SERVICES, "add rule inet kat sticky-77 jump balance", "nft", "Could not process rule"),
        (KAT_NFT, 'include "/etc/shadow"', "node", "no line that KAT writes"),
        (TMPFILES, "f+ /etc/kat/policy 0644 root root -", "node", "no line that KAT writes"),
        (SYSUSERS, "u evil 0 - /root /bin/sh", "node", "no line that KAT writes"),
    ],
)  # fmt: skip
def test_each_fault_is_named_by_the_node_or_in_the_tools_own_words(
    node: Node, path: str, line: str, tool: str, text: str
) -> None:
    found = verified(node, {path: line})
    assert [one for one in found if one[:2] == [tool, path] and text in one[2]], found
    assert {one[1] for one in found} == {path}
