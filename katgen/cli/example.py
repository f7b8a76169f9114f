"""`katcall init-example`."""

import os
from pathlib import Path
from typing import Final

import click

from katgen.cli import options
from katgen.cli.inputs import unwritable
from katgen.cli.output import Form, print_json, say
from katgen.errors import Problem, RefusedError, Source, SpecError

WORKLOAD: Final = """\
# Two copies of a web server. `katcall schema Workload` names every field.
apiVersion: kat/v1alpha1
kind: Workload
metadata:
  name: hello
spec:
  type: Service
  replicas: 2
  source:
    image: docker.io/library/nginx:1.27
  container:
    ports:
      - name: http
        containerPort: 80
    resources:
      requests:
        cpu: 100m
        memory: 64Mi
    readiness:
      http:
        path: /
        port: 80
"""
LOAD_BALANCER: Final = """\
# One stable address and name, hello.default.kat.cluster.local, for whatever copies run.
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata:
  name: hello
spec:
  ports:
    - name: http
      port: 80
"""
NODES: Final = """\
# Two machines, as their agents will report them. Leave the file out to plan for this machine alone.
apiVersion: kat/v1alpha1
kind: Node
metadata:
  name: alpha
spec:
  advertiseAddress: 192.0.2.1
status:
  capacity:
    cpu: "4"
    memory: 8Gi
  overlayNetwork:
    publicKey: We8EaJD79znnqO97q5bbXYM/QlxJ3vy9gQdxUiVNrjo=
    endpoint: 192.0.2.1:51820
---
apiVersion: kat/v1alpha1
kind: Node
metadata:
  name: beta
spec:
  advertiseAddress: 192.0.2.2
status:
  capacity:
    cpu: "4"
    memory: 8Gi
  overlayNetwork:
    publicKey: ZEzk4f26EkOU1Q9yirW3qa9eJxGPEIQVkQzLe98QETo=
    endpoint: 192.0.2.2:51820
"""
FILES: Final = {
    "hello/workload.kat": WORKLOAD,
    "hello/VirtualLoadBalancer.kat": LOAD_BALANCER,
    "nodes.kat": NODES,
}


@click.command("init-example", short_help="Write a small example that works.")
@click.argument("folder", metavar="[DIR]", default="kat-example")
@options.json_only
@options.ending
def command(folder: str, form: Form) -> None:
    """Write a service of two instances and two nodes into DIR (kat-example).

    A file that exists is never overwritten.
    """
    target = Path(folder)
    taken = [path for path in (target / name for name in FILES) if os.path.lexists(path)]
    if taken:
        hint = "KAT overwrites no file; name another directory"
        raise RefusedError(Problem(Source(str(path)), "exists", hint) for path in taken)
    try:
        _write(target)
    except OSError as err:
        raise SpecError([unwritable(str(err.filename or target), err)]) from err
    if form is Form.JSON:
        print_json({"files": [f"{target / name}" for name in FILES]})
        return
    for name in FILES:
        say(f"{target / name}")
    say()
    say("Next:")
    say(f"  katcall validate -f {target}")
    say(f"  katcall render -f {target} -o {target}-files")


def _write(target: Path) -> None:
    for name, text in FILES.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
