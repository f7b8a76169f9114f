"""`make bench`: every figure that the project states, measured in one run on this machine.

Prints Markdown; `make bench >docs/figures.md` is how the committed page is made. Nothing here is
asserted: a slow machine is no fault.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import processes, scale
from tests.bench.lab.page import page as lab_page
from tests.environment import CACHE, missing
from tests.lab.hosts import TOOLS

LAB_ROUNDS = 5
IDLE_MINUTES = 10
HEADER = """\
# Figures

Measured by `make bench`, all in one run, on: {machine}.

The synthetic cluster is {nodes} nodes and {instances} instances in {workloads} workloads, each with
a virtual address; two resources, a node selector on two workloads of three. Mesh files are left
out. The pipeline runs in one process on one core; the programs are measured from outside, as whole
processes. Files are written at a tenth of that size: every node's folder holds its copy of what all
nodes share, which makes some 2.7 million files of the whole.

| what | figure | target |
|---|---:|---:|
"""


def main() -> None:
    """Measure everything and print the page."""
    workloads = f"{scale.WORKLOADS:,}"
    instances = f"{scale.WORKLOADS * scale.REPLICAS:,}"
    page = HEADER.format(
        machine=_machine(), nodes=f"{scale.NODES:,}", instances=instances, workloads=workloads
    )
    sys.stdout.write(page)
    for what, figure, target in _rows():
        sys.stdout.write(f"| {what} | {figure} | {target} |\n")
        sys.stdout.flush()
    if not missing(TOOLS):
        for text in lab_page(LAB_ROUNDS, IDLE_MINUTES):
            sys.stdout.write(text)
            sys.stdout.flush()


def _rows() -> Iterator[tuple[str, str, str]]:
    argv = [sys.executable, "-m", "tests.bench.scale"]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    for what, target in scale.TARGETS.items():
        yield what, _shown(found[what]), target
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        scratch = Path(name)
        yield "`katcall --help`", f"{processes.help_s() * 1000:.0f} ms", "150 ms"
        yield "a Python that does nothing", f"{processes.interpreter_s() * 1000:.0f} ms", "floor"
        validate = processes.validate_s(scratch)
        yield (
            f"`katcall validate` of {processes.DOCUMENTS:,} documents",
            f"{validate:.2f} s",
            "1.5 s",
        )
        seconds, mib = processes.render_files(scratch, 500, 100, 100)
        what = "`katcall render` of 500 nodes and 10,000 instances, YAML in, files out"
        yield what, f"{seconds:.1f} s", "stated"
        yield "its peak memory", f"{mib:.0f} MiB", "stated"
        yield "plain Jinja2 over 100,000 units", f"{processes.jinja_s():.2f} s", "for scale"
        rootfs = CACHE / "rootfs"
        if rootfs.exists():
            quadlet = processes.quadlet_s(scratch, rootfs)
            yield (
                f"Quadlet's generator over {processes.UNITS:,} units",
                f"{quadlet:.2f} s",
                "for scale",
            )


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.2f}"


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    extensions = "" if "sha_ni" in info else ", without SHA instructions"
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}{extensions}, "
        f"{memory_gib:.0f} GiB, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
