"""Hostile text through KAT, Quadlet, systemd and Podman into a real container, and back."""

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest
from pydantic import TypeAdapter, ValidationError

from katgen.bundle import Artifact
from katgen.model.cluster import ClusterSpec
from katgen.model.specs import WorkloadObjects
from katgen.model.text import DESCRIPTION, EnvValue
from katgen.model.workload import Workload
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import Placement, WorkloadPlan
from katgen.render import unitfile
from katgen.render.quadlet import unit_template
from katgen.render.unitfile import Variables
from katgen.render.view import ClusterView, PlannedWorkload
from tests.lab import Node, bridge, host
from tests.lab.images import BUSYBOX, import_busybox
from tests.lab.settled import until
from tests.oracles.cell import static_units
from tests.properties.hostile import texts

VALUES = 260
CHUNK = 2000
UNIT = "kat.shop.web.0-1"
OUT = "/var/lib/kat/volumes/shop/web/out/0"
CONFIG = "/var/lib/kat/config/shop/files/0123456789ab"
# One file for what each way in has brought, words ended by NUL.
SAY = """
cat /proc/self/environ >/out/env
printf '%s\\0' "$@" >/out/args
pwd >/out/folder
hostname >/out/host
cp -r /files /out/files
touch /out/all
sleep inf & trap 'kill %1' TERM; wait
"""
HEALTH = "printf '%s\\0' \"$@\" >/out/health; exit 0"
# Stands where Podman would be, and writes down what systemd hands to it.
DUMP = """#!/usr/bin/python3
import json, os, sys
if "run" in sys.argv:
    with open("/run/dump", "wb") as out:
        out.write(b"\\0".join(map(os.fsencode, sys.argv)))
"""


def carried(count: int) -> list[str]:
    """Return texts that the model takes."""
    takes = TypeAdapter(EnvValue)
    found: list[str] = []
    for text in texts(seed=2, count=10 * count):
        try:
            found.append(takes.validate_python(text))
        except ValidationError:
            continue
        if len(found) == count:
            return found
    raise AssertionError("too few")


TEXTS = carried(VALUES)
FILES = {f"f{n}": text for n, text in enumerate(TEXTS)}
FOLDER = "/srv/a b\n\"c' $HOME %n \\ \u2028;\\"
MOUNTED = "/etc/a b:c,\"d' $HOME %n \\ \u2028"
LINE = " 50% $HOME %n \"q\" 'x' ; # {{ }} \u2028 ü \\ \\"


def workload() -> Workload:
    """Return a workload that carries every text in every way."""
    container = {
        "command": ["/bin/sh", "-c", SAY, "sh"],
        "args": TEXTS,
        "workingDir": FOLDER,
        "env": [{"name": f"V{n}", "value": text} for n, text in enumerate(TEXTS)],
        "volumeMounts": [
            {"name": "out", "mountPath": "/out"},
            {"name": "files", "mountPath": "/files"},
            {"name": "host", "mountPath": MOUNTED},
            {"name": "memory", "mountPath": FOLDER},
        ],
        "liveness": {"exec": {"command": ["/bin/sh", "-c", HEALTH, "sh", *TEXTS]}},
    }
    volumes = [
        {"name": "out", "simpleClusterStorage": {}},
        {"name": "files", "config": {"name": "files"}},
        {"name": "host", "hostMount": {"hostPath": MOUNTED, "ensureType": "DirectoryOrCreate"}},
        {"name": "memory", "tmpfs": {"size": "1Mi"}},
    ]
    return Workload.model_validate(
        {
            "apiVersion": "kat/v1alpha1",
            "kind": "Workload",
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "labels": {f"l{n}": text for n, text in enumerate(TEXTS)},
                "annotations": {DESCRIPTION: LINE},
            },
            "spec": {
                "type": "Service",
                "source": {"image": BUSYBOX},
                "container": container,
                "volumes": volumes,
            },
        }
    )


def unit() -> Artifact:
    """Return the one instance's file, as a render makes it."""
    placement = Placement(Ordinal("0"), 1, "0123456789", NodeName("a"), "10.100.1.10")
    plan = WorkloadPlan("0123456789", 2, 200_000, placements=(placement,))
    planned = PlannedWorkload(
        WorkloadKey("shop/web"),
        WorkloadObjects(workload()),
        plan,
        isolated=False,
        config_folders={"files": CONFIG},
    )
    spec = ClusterSpec.model_validate(
        {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16"}
    )
    (made,) = unit_template(planned, ClusterView(spec, 1420, multi_node=False)).artifacts(placement)
    return made


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    contents = {f"{CONFIG}/{name}": text.encode() for name, text in FILES.items()}
    with host(files={**bridge.FILES, **static_units(), **contents}) as booted:
        import_busybox(booted)
        booted.put("/opt/dump", DUMP.encode(), 0o755)
        booted.run(["mkdir", "-p", "-m", "777", OUT])
        yield booted


@pytest.fixture(scope="module")
def running(node: Node) -> Node:
    made = unit()
    node.put(made.path, made.content)
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "start", made.unit])
    until(node, f"test -e {OUT}/all")
    return node


def said(node: Node, name: str) -> list[str]:
    """Return the words in one of the container's files."""
    return node.run(["cat", f"{OUT}/{name}"]).stdout.split("\0")[:-1]


def test_every_variable_arrives(running: Node) -> None:
    found = dict(line.split("=", 1) for line in said(running, "env"))
    assert [found[f"V{n}"] for n in range(VALUES)] == TEXTS


def test_every_argument_arrives(running: Node) -> None:
    assert said(running, "args") == TEXTS


def test_every_word_of_a_health_check_arrives(running: Node) -> None:
    running.run(["podman", "healthcheck", "run", UNIT])
    assert said(running, "health") == TEXTS


def test_every_label_arrives(running: Node) -> None:
    shown = running.run(["podman", "inspect", UNIT]).stdout
    labels = json.loads(shown)[0]["Config"]["Labels"]
    assert [labels[f"l{n}"] for n in range(VALUES)] == TEXTS


def test_every_config_file_arrives(running: Node) -> None:
    names = " ".join(FILES)
    script = f"cd {OUT}/files; for f in {names}; do cat $f; printf '\\0'; done"
    assert running.run(["sh", "-c", script]).stdout.split("\0")[:-1] == TEXTS


def test_the_description_arrives(running: Node) -> None:
    shown = running.run(["systemctl", "show", "-P", "Description", f"{UNIT}.service"]).stdout
    assert shown == f"{LINE} ({UNIT})\n"


def test_paths_arrive(running: Node) -> None:
    assert running.run(["cat", f"{OUT}/folder"]).stdout == f"{FOLDER}\n"
    bound = json.loads(running.run(["podman", "inspect", "-f", "{{json .Mounts}}", UNIT]).stdout)
    assert (MOUNTED, MOUNTED) in [(m["Source"], m["Destination"]) for m in bound]


def test_the_name_arrives(running: Node) -> None:
    assert running.run(["cat", f"{OUT}/host"]).stdout == "web-0\n"


def test_nothing_of_it_confused_systemd(running: Node) -> None:
    script = f"systemd-analyze verify --man=no /run/systemd/generator/{UNIT}.service"
    shown = running.run(["sh", "-c", f"{script} 2>&1"]).stdout
    assert shown == ""
    assert running.journal("init.scope").count(f"{UNIT}.service:") == 0


def dumped(node: Node, name: str, values: Sequence[str]) -> Mapping[str, str]:
    """Return what systemd hands to Podman for these variables of a container."""
    variables = Variables()
    env = [unitfile.environment(f"V{n}", value, variables) for n, value in enumerate(values)]
    head = ["[Container]", "Image=localhost/bb:1", *env, "[Service]", "Type=oneshot"]
    lines = [*head, *variables.lines(), "[Quadlet]", "DefaultDependencies=false", ""]
    node.run(["sh", "-c", f"rm -rf /tmp/q; mkdir /tmp/q; cat >/tmp/q/{name}.container"],
             stdin="\n".join(lines).encode())  # fmt: skip
    quadlet = "/usr/libexec/podman/quadlet"
    node.run(
        ["env", "PODMAN=/opt/dump", "QUADLET_UNIT_DIRS=/tmp/q", quadlet, "/run/systemd/system"]
    )
    node.run(["systemctl", "start", name])
    argv = node.run(["cat", "/run/dump"]).stdout.split("\0")
    pairs = (argv[at + 1] for at, word in enumerate(argv) if word == "--env")
    return dict(pair.split("=", 1) for pair in pairs)


def test_every_character_of_unicode_passes_quadlet_and_systemd(node: Node) -> None:
    takes = TypeAdapter(EnvValue)

    def is_taken(character: str) -> bool:
        try:
            takes.validate_python(character)
        except ValidationError:
            return False
        return True

    every = [c for c in map(chr, range(0x110000)) if is_taken(c)]
    assert 0x110000 - len(every) == 1 + 2048 + 66
    values = ["-".join(every[at : at + CHUNK]) for at in range(0, len(every), CHUNK)]
    for at in range(0, len(values), 40):
        part = values[at : at + 40]
        found = dumped(node, f"part{at}", part)
        assert [found[f"V{n}"] for n in range(len(part))] == part
