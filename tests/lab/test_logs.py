"""What a container wrote, on a real node: both streams, and nothing that others say of it."""

import json
from collections.abc import Iterator

import pytest

from tests.lab.cluster import OneNode, one_node

LOUD = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: {name}}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ['echo one; echo two >&2; printf three; {end}']
    stopTimeoutSeconds: 1
"""

FAILED = """
until katcall get instances -o json >/tmp/seen && grep -q '"three"' /tmp/seen; do :; done
cat /tmp/seen"""


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        yield made


def test_logs_are_what_the_container_wrote_and_nothing_else(kat: OneNode) -> None:
    kat.apply(LOUD.format(name="loud", image=kat.image, end="echo; exec sleep infinity"))
    # Of two streams that are written to at once, the first to be read is anybody's guess.
    assert {*kat.katcall("logs", "loud").stdout.split()} == {"one", "two", "three"}


def test_logs_of_the_system_have_what_systemd_says_too(kat: OneNode) -> None:
    said = kat.katcall("logs", "loud", "--system").stdout
    assert "Started kat.default.loud" in said
    assert "\ntwo\n" in said


def test_a_failure_shows_the_last_lines_of_its_container(kat: OneNode) -> None:
    document = LOUD.format(name="fails", image=kat.image, end="exit 3")
    kat.apply(document, "--no-wait")
    # Between two failures it runs, and has failed with nothing.
    seen = kat.node.run(["timeout", "30", "sh", "-c", FAILED]).stdout
    found = {one["workload"]: one["lines"] for one in json.loads(seen)["items"]}
    assert sorted(found["fails"]) == ["one", "three", "two"]
