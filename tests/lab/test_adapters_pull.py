"""Pulls through the agent's adapter, from a real registry on a node."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Node, host
from tests.lab.images import BUSYBOX, import_busybox
from tests.lab.registry import push, registry, trust

PULL = """
import asyncio, json, sys

from agent.podman import PodmanService
from agent.ports import PullError
from agent.systemd import DBusSystemd

async def main(image, policy):
    systemd = DBusSystemd()
    podman = PodmanService(systemd)
    said, error = [], ""
    try:
        async for line in podman.pull(image, policy, 30):
            said.append(line)
    except PullError as err:
        error = str(err)
    digest = await podman.digest(image)
    await podman.close()
    await systemd.close()
    return {"said": said, "error": error, "digest": digest}

print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
"""


@dataclass(frozen=True, slots=True)
class Place:
    node: Node
    name: str
    digest: str

    def pull(self, image: str, policy: str = "Always") -> dict[str, object]:
        program = ["env", "PYTHONPATH=/usr/lib/kat", "python3", "-c", PULL, image, policy]
        said: dict[str, object] = json.loads(self.node.run(program).stdout)
        return said


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with host(kat=True) as node:
        where = registry(node)
        trust(node, where)
        import_busybox(node)
        name = f"{where}/shop/web"
        yield Place(node, name, push(node, BUSYBOX, f"{name}:1"))


@pytest.fixture(autouse=True)
def nothing_is_here(place: Place) -> None:
    place.node.run(["podman", "rmi", "-af"])


@pytest.mark.parametrize("form", ["{name}:1", "{name}@{digest}", "{name}:1@{digest}"])
def test_an_image_is_pulled_from_a_registry_without_tls_and_has_its_digest(
    place: Place, form: str
) -> None:
    answer = place.pull(form.format(name=place.name, digest=place.digest))
    assert (answer["error"], answer["digest"]) == ("", place.digest)
    assert "Trying to pull" in str(answer["said"])


def test_a_tag_that_the_registry_does_not_have_is_an_error_with_its_words(place: Place) -> None:
    answer = place.pull(f"{place.name}:none")
    assert "manifest unknown" in str(answer["error"])
    assert answer["digest"] is None
