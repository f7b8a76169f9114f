"""The agent is killed after every single thing that it does to a node, and started again.

One change makes a namespace with everything in it: copies behind an address, a Config, a volume, a
job. The next replaces it, stop-first where there is a volume; the third deletes it. What counts as
a thing done is in `cut_agent`; what must hold at the cut and after it, in `cut_rounds`.

There are some 280 places to cut at, 3 s each. By default `SAMPLES` of each change are tried, evenly
over what happens between the journal's first write and its end; `KAT_EVERY_CUT=1` tries all.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import pytest

from tests.environment import REPOSITORY
from tests.lab.cluster import OneNode, one_node

SAMPLES = 4
FOLDER = "/run/lab"
CHANGES: Mapping[str, Sequence[str]] = {
    "new": ("apply", "-f", f"{FOLDER}/one.kat"),
    "changed": ("apply", "-f", f"{FOLDER}/two.kat"),
    "deleted": ("delete", "-f", f"{FOLDER}/two.kat"),
}
CUT_AGENT = f"""\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I {FOLDER}/cut_agent.py
Restart=no
"""
EVERYTHING = """\
apiVersion: kat/v1alpha1
kind: Config
metadata: {{name: settings, namespace: cut}}
data: {{word: "{word}"}}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: db, namespace: cut}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ["trap exit TERM; echo {word} >>/data/words; sleep infinity & wait"]
    volumeMounts: [{{name: data, mountPath: /data}}, {{name: settings, mountPath: /settings}}]
  volumes:
    - {{name: data, simpleClusterStorage: {{}}}}
    - {{name: settings, config: {{name: settings}}}}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: sum, namespace: cut}}
spec:
  type: Job
  source: {{image: "{image}"}}
  container: {{command: [echo, "{word}"]}}
---
apiVersion: kat/v1alpha1
kind: JobDefinition
metadata: {{name: sum, namespace: cut}}
spec: {{completions: 1}}
---
"""
JOURNAL = "/var/lib/kat/agent/journal.json"


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    # Addresses rest before they are used again, and every round takes some.
    with one_node(settings="nodeSubnetBits: 12") as made:
        made.apply(made.web(name="bystander"))
        for number in ("one", "two"):
            text = EVERYTHING.format(image=made.image, word=number)
            text += made.web(namespace="cut", replicas=2, stage=number)
            made.node.put(f"{FOLDER}/{number}.kat", text.encode())
        for script in ("cut_agent.py", "cut_rounds.py"):
            made.node.put(f"{FOLDER}/{script}", (REPOSITORY / "tests/lab" / script).read_bytes())
        drop_in = "/run/systemd/system/kat-agent.service.d/cut.conf"
        made.node.put(drop_in, CUT_AGENT.encode())
        made.node.run(["sh", "-ec", "systemctl daemon-reload; systemctl restart kat-agent"])
        yield made


def test_an_agent_that_is_killed_anywhere_ends_where_it_would_have(kat: OneNode) -> None:
    whole = rounds(kat, [(name, 0) for name in CHANGES])
    assert [one["faults"] for one in whole] == [[], [], []]
    places = [places_of(one["trace"]) for one in whole]
    in_turn = [
        (name, at or 0)
        for turn in zip_longest(*places)
        for name, at in zip(CHANGES, turn, strict=True)
    ]
    tried = rounds(kat, in_turn)
    assert {f"{one['cut']}: {fault}" for one in tried for fault in one["faults"]} == set()
    cuts = [one for one in tried if one["cut"]]
    assert len(cuts) > 0.8 * sum(map(len, places))


def places_of(trace: Sequence[str]) -> list[int]:
    """Return after how many actions to cut."""
    if os.environ.get("KAT_EVERY_CUT"):
        return list(range(1, len(trace) + 1))
    first = trace.index(f"write {JOURNAL}") + 1
    last = len(trace) - trace[::-1].index(f"delete {JOURNAL}")
    return [first + (last - first) * n // (SAMPLES - 1) for n in range(SAMPLES)]


def rounds(kat: OneNode, wanted: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Make changes, each with a cut, and return what was then wrong."""
    told = [{"change": CHANGES[name], "at": at} for name, at in wanted]
    argv = ["python3", "-I", f"{FOLDER}/cut_rounds.py"]
    ran = kat.node.run(argv, stdin=json.dumps(told).encode(), timeout_s=60 + 30 * len(told))
    return [json.loads(line) for line in ran.stdout.splitlines()]
