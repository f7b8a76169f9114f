"""What a renderer is told of a plan."""

from katgen.names import NodeName, WorkloadKey
from katgen.parse import parse
from katgen.plan import start
from katgen.planned import Inventory, Node
from katgen.render.cut import planned_workload
from katgen.validate import validate

SPECS = b"""
apiVersion: kat/v1alpha1
kind: Namespace
metadata: {name: ops}
spec: {allowedHostPaths: [/srv/x/y, /srv//x/, /srvx, /etc]}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: a, namespace: ops}
spec:
  type: Service
  source: {image: nginx}
  volumes:
    - {name: deep, hostMount: {hostPath: /srv/x/y/z}}
    - {name: same, hostMount: {hostPath: /etc/}}
    - {name: ram, tmpfs: {}}
"""


def test_a_host_path_is_told_with_the_outermost_path_that_allows_it() -> None:
    specs = validate(parse([("a.kat", SPECS)]))
    name = NodeName("a")
    plan = start(specs, Inventory(nodes={name: Node(name)})).state.plan
    of = planned_workload(plan, WorkloadKey("ops/a"))
    assert of.host_roots == {"deep": "/srv/x/", "same": "/etc/"}
