"""Images come from a registry on a node."""

import pytest

from tests.lab import RunError, hosts
from tests.lab.images import import_busybox
from tests.lab.registry import push, registry, trust


def test_a_node_pulls_by_digest_what_another_one_has_pushed() -> None:
    with hosts("a", "b") as (a, b):
        where = registry(a)
        digest = push(a, import_busybox(a), f"{where}/bb:1")
        with pytest.raises(RunError, match="HTTP response to HTTPS client"):
            b.run(["podman", "pull", "-q", f"{where}/bb:1"])
        trust(b, where)
        b.run(["podman", "pull", "-q", f"{where}/bb@{digest}"])
        show = ["podman", "image", "inspect", "--format={{.Digest}}", f"{where}/bb@{digest}"]
        assert b.run(show).stdout.strip() == digest
        with pytest.raises(RunError, match="manifest unknown"):
            b.run(["podman", "pull", "-q", f"{where}/bb:2"])
