"""Whole programs, as a user starts them: wall time of the process, and its peak memory."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import jinja2
import yaml

from katgen.plan import make_plan
from katgen.render.cluster import Rendered, render
from tests.bench import synthetic

KATCALL = str(Path(sys.executable).parent / "katcall")
DOCUMENTS = 1_000
UNITS = 1_000
INSTANCES = 100_000
UNIT = """\
# Managed by KAT: an instance of workload {{ key }}, revision {{ revision }}.

[Unit]
Description={{ key }} of KAT
PartOf=kat.{{ namespace }}.target
Requires=kat-nft.service
After=network.target kat-nft.service

[Container]
ContainerName={{ stem }}
Image={{ image }}
{% for name, value in env %}Environment={{ name }}={{ value }}
{% endfor %}Network=kat:ip={{ address }}
HostName={{ hostname }}
UIDMap=0:{{ uid }}:65536
GIDMap=0:{{ uid }}:65536

[Service]
Restart=always
Slice=kat-{{ namespace }}.slice

[Install]
WantedBy=kat.{{ namespace }}.target
"""


def median_s(argv: Sequence[str], runs: int) -> float:
    """Return the median wall time of a program that must succeed."""
    seconds = []
    for _ in range(runs):
        begin = perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(perf_counter() - begin)
    return statistics.median(seconds)


def help_s() -> float:
    """Return the median time of `katcall --help`."""
    return median_s([KATCALL, "--help"], 11)


def interpreter_s() -> float:
    """Return the median time of a Python that does nothing: the floor of `--help`."""
    return median_s([sys.executable, "-c", "pass"], 11)


def write_specs(folder: Path, workloads: int, replicas: int) -> None:
    """Write the synthetic cluster as files of 20 documents each."""
    cluster = synthetic.cluster_configuration().model_dump(mode="json", by_alias=True)
    settings = {"kind": "ClusterConfiguration", "metadata": {"name": "bench"}}
    settings["spec"] = {k: cluster["spec"][k] for k in ("clusterCIDR", "serviceCIDR")}
    (folder / "cluster.kat").write_text(_file([settings]), encoding="utf-8")
    for first in range(0, workloads, 10):
        numbers = range(first, min(first + 10, workloads))
        documents = [synthetic.document(n, replicas) for n in numbers]
        documents += [synthetic.balancer(n) for n in numbers]
        (folder / f"w{first:05d}.kat").write_text(_file(documents), encoding="utf-8")


def write_nodes(path: Path, nodes: int) -> None:
    """Write the synthetic nodes."""
    documents = []
    for node in synthetic.inventory(nodes).nodes.values():
        amounts = {"cpu": "64", "memory": "256Gi"}
        document = {
            "kind": "Node",
            "metadata": {"name": node.name, "labels": dict(node.labels)},
            "spec": {"advertiseAddress": node.gateway},
            "status": {"capacity": amounts},
        }
        documents.append(document)
    path.write_text(_file(documents), encoding="utf-8")


def _file(documents: Sequence[object]) -> str:
    stamped = [{"apiVersion": "kat/v1alpha1", **d} for d in documents if isinstance(d, dict)]
    return yaml.dump_all(stamped, Dumper=yaml.CSafeDumper, sort_keys=False)


def validate_s(scratch: Path) -> float:
    """Return the median time of `katcall validate` of 1,000 documents."""
    folder = scratch / "documents"
    folder.mkdir()
    write_specs(folder, DOCUMENTS // 2, 1)
    return median_s([KATCALL, "validate", "-f", str(folder)], 3)


def render_files(scratch: Path, nodes: int, workloads: int, replicas: int) -> tuple[float, float]:
    """Return seconds and peak MiB of `katcall render`: YAML in, files out."""
    folder = scratch / "all"
    folder.mkdir()
    write_specs(folder, workloads, replicas)
    write_nodes(scratch / "nodes.kat", nodes)
    given = ["-f", str(folder), "--nodes", str(scratch / "nodes.kat"), "-o", str(scratch / "out")]
    begin = perf_counter()
    with subprocess.Popen([KATCALL, "render", *given], stdout=subprocess.DEVNULL) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"katcall render: exit {child.returncode}")
    return perf_counter() - begin, used.ru_maxrss / 1024


def jinja_s() -> float:
    """Return the time of one pass of plain Jinja2 over 100,000 units: the floor of a template."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 -- units are no HTML
    template = environment.from_string(UNIT)
    begin = perf_counter()
    for number in range(INSTANCES):
        template.render(
            key="shop/web",
            revision="0123456789",
            namespace="shop",
            stem=f"kat.shop.web.{number}-1",
            image="registry.example/shop/web:1",
            env=(("LEVEL", "info"), ("SHARD", "1")),
            address=f"10.0.{number % 250}.{number % 240}",
            hostname=f"web-{number}",
            uid=704643072,
        ).encode()
    return perf_counter() - begin


def quadlet_s(scratch: Path, rootfs: Path) -> float:
    """Return the median time of the real Quadlet generator over 1,000 of KAT's units."""
    units = scratch / "units"
    units.mkdir()
    rendered = _rendered(UNITS)
    for node in rendered.nodes:
        for file in rendered.bundle(node).own:
            if file.path.endswith(".container"):
                (units / file.path.rpartition("/")[2]).write_bytes(file.content)
    # With its own release's loader and libraries: no chroot, and so no root, is needed.
    loader = [f"{rootfs}/usr/lib64/ld-linux-x86-64.so.2", "--library-path"]
    loader += [f"{rootfs}/usr/lib/x86_64-linux-gnu", f"{rootfs}/usr/libexec/podman/quadlet"]
    made = scratch / "services"
    made.mkdir()
    argv = ["env", f"QUADLET_UNIT_DIRS={units}", *loader, str(made)]
    seconds = median_s(argv, 5)
    if len(list(made.glob("*.service"))) != UNITS:
        raise RuntimeError("the generator did not make every service")
    return seconds


def _rendered(instances: int) -> Rendered:
    return render(make_plan(synthetic.specs(instances // 20, 20), synthetic.inventory(50), None))
