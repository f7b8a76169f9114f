import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from katgen.errors import SpecError
from katgen.inventory import LOCAL, inventory, validate_nodes
from katgen.model.kinds import KINDS
from katgen.names import NodeName, WorkloadKey
from katgen.parse import parse
from katgen.parse.path import quoted
from katgen.planned import Node, Taint
from katgen.validate import Checked, check, validate

WEB = """
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec:
  type: Service
  source: {image: docker.io/library/nginx:1.27}
"""
NODE = """
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: b, labels: {zone: east, disk: ssd}}
spec:
  advertiseAddress: 192.0.2.2
  taints: [{key: dedicated, value: db, effect: NO_SCHEDULE}]
  unschedulable: true
  behindNAT: true
status:
  capacity: {cpu: "4", memory: 8Gi, customResources: {nvidia.com/gpu: "2"}}
  allocatable: {cpu: 3500m}
  condition: NotReady
  overlayNetwork:
    publicKey: We8EaJD79znnqO97q5bbXYM/QlxJ3vy9gQdxUiVNrjo=
    endpoint: b.example.org:51820
  versions: {systemd: "257", podman: 5.4.2}
"""


def checked(*files: str) -> Checked:
    return check(parse((f"{n}.kat", text.encode()) for n, text in enumerate(files)))


def test_problems_of_all_files_come_together_and_in_order() -> None:
    with pytest.raises(SpecError) as caught:
        validate(parse([("b.kat", b"a: ["), ("a.kat", b"kind: Web\n"), ("c.kat", WEB.encode())]))
    assert str(caught.value) == (
        "a.kat:1:1 apiVersion: is missing; write kat/v1alpha1\n"
        "a.kat:1:7 kind: unknown kind: the text 'Web'; known here: Workload, VirtualLoadBalancer, "
        "JobDefinition, BuildDefinition, Config, Secret, Namespace, ClusterConfiguration, Node\n"
        "b.kat:1:5: the document ends inside brackets; close every '{' and '['"
    )


def test_objects_belong_together_by_namespace_and_name_over_files() -> None:
    balancer = "apiVersion: kat/v1alpha1\nkind: VirtualLoadBalancer\n"
    balancer += "metadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n"
    specs = checked(balancer, WEB).specs
    assert specs is not None
    objects = specs.workloads[WorkloadKey("shop/web")]
    assert objects.load_balancer is not None
    assert objects.load_balancer.spec.ports[0].port == 80
    assert list(specs.namespaces) == ["shop"]


def test_a_file_that_cannot_be_read_makes_nothing_look_absent() -> None:
    uses = WEB + "  volumes: [{name: a, config: {name: settings}}]\n"
    assert [str(p.at) for p in checked(uses, "x: [").problems] == ["1.kat:1:5"]


def test_without_a_cluster_configuration_the_defaults_hold() -> None:
    specs = checked(WEB).specs
    assert specs is not None
    assert specs.cluster.metadata.name == "kat"
    assert str(specs.cluster.spec.cluster_cidr) == "10.100.0.0/16"
    assert str(specs.cluster.spec.service_cidr) == "10.101.0.0/16"


def test_of_a_secret_only_the_keys_are_kept() -> None:
    head = "apiVersion: kat/v1alpha1\nkind: Secret\nmetadata: {name: db}\n"
    found = checked(f"{head}data: {{b: x, a: hunter2}}")
    assert found.specs is not None
    assert found.specs.secrets == {"default/db": ("a", "b")}
    assert "hunter2" not in repr(found)


def test_enumerations_are_taken_in_both_spellings() -> None:
    text = WEB.replace("Service", "DAEMON_SERVICE")
    specs = checked(text).specs
    assert specs is not None
    assert [w.workload.spec.type for w in specs.workloads.values()] == ["DaemonService"]


def test_a_job_is_not_started_again_by_default() -> None:
    job = "---\napiVersion: kat/v1alpha1\nkind: JobDefinition\n"
    job += "metadata: {name: web, namespace: shop}\nspec: {}\n"
    specs = checked(WEB.replace("type: Service", "type: JOB") + job).specs
    assert specs is not None
    (objects,) = specs.workloads.values()
    assert objects.workload.spec.restart_policy.condition == "OnFailure"


def test_an_exclusive_instance_is_remarked_upon() -> None:
    text = f"""{WEB}
  container:
    ports: [{{containerPort: 80, hostPort: 80}}]
    volumeMounts:
      - {{name: data, mountPath: /data}}
      - {{name: old, mountPath: /old, readOnly: true}}
  volumes:
    - {{name: data, simpleClusterStorage: {{}}}}
    - {{name: old, simpleClusterStorage: {{}}}}
"""
    found = checked(text)
    assert not found.problems
    assert [str(note) for note in found.notes] == [
        (
            "0.kat:10:43 spec.container.ports[0].hostPort: instances are replaced stop-first, "
            "whatever maxSurge says: host port 80 has one owner at a time"
        ),
        (
            "0.kat:15:42 spec.volumes[0].simpleClusterStorage: instances are replaced stop-first, "
            "whatever maxSurge says: the volume 'data' has one writer at a time"
        ),
    ]


def test_an_unused_config_and_a_node_without_key_are_remarked_upon() -> None:
    config = "apiVersion: kat/v1alpha1\nkind: Config\nmetadata: {name: old}\n"
    node = "apiVersion: kat/v1alpha1\nkind: Node\nmetadata: {name: a}\n"
    assert [str(note) for note in checked(config, node, NODE).notes] == [
        "0.kat:3:18 metadata.name: no workload uses Config default/old",
        (
            "1.kat:1:1 status.overlayNetwork.publicKey: node 'a' has no public key, "
            "so no other node's overlay reaches it"
        ),
    ]


def test_nodes_become_the_inventory() -> None:
    found = validate_nodes(parse([("nodes.kat", NODE.encode())]))
    assert found.nodes == {
        "b": Node(
            name=NodeName("b"),
            labels={"disk": "ssd", "zone": "east"},
            taints=(Taint("dedicated", "NoSchedule", "db"),),
            unschedulable=True,
            ready=False,
            allocatable={"cpu": 3500, "memory": 8 * 2**30, "nvidia.com/gpu": 2},
            gateway="192.0.2.2",
            endpoint="b.example.org:51820",
            behind_nat=True,
            public_key="We8EaJD79znnqO97q5bbXYM/QlxJ3vy9gQdxUiVNrjo=",
            podman_version="5.4.2",
            systemd_version="257",
        )
    }


def test_without_nodes_there_is_one_without_limits() -> None:
    assert inventory(()).nodes == {"local": LOCAL}
    assert LOCAL.ready
    assert LOCAL.allocatable == {}


def test_one_object_with_thousands_of_faults_is_told_in_a_hundred_lines() -> None:
    args = "\n".join(f"      - {n}" for n in range(5000))
    found = checked(f"{WEB}  container:\n    args:\n{args}\n")
    assert len(found.problems) == 101
    assert str(found.problems[0]) == "0.kat:2:1: 4900 more problems in this object"


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70000)
    | st.floats()
    | st.sampled_from(
        ["", "a", "Service", "Job", "10.0.0.0/8", "128Mi", "/a", "../a", "\0", "\udc80"]
    )
)
FIELDS = st.sampled_from(
    """name namespace labels type source image git url branch replicas container env value valueFrom
    secret key ports containerPort hostPort port resources requests cpu volumeMounts mountPath
    volumes config simpleClusterStorage ingress host servicePort tls schedule timeZone data
    clusterCIDR serviceCIDR nodeSubnetBits taints effect capacity dependsOn workload metadata spec
    status readiness http exec command""".split()  # noqa: SIM905 -- a list of them is a page long
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)


def yaml(tree: object) -> str:
    match tree:
        case dict():
            return "{" + ", ".join(f"{key}: {yaml(inner)}" for key, inner in tree.items()) + "}"
        case list():
            return "[" + ", ".join(map(yaml, tree)) + "]"
        case str():
            escaped = "".join(
                c if c.isalnum() else f"\\x{ord(c):02x}" for c in tree if ord(c) < 256
            )
            return f'"{escaped}"'
        case None:
            return "~"
        case _:
            return str(tree).lower()


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.sampled_from([*KINDS]), st.dictionaries(FIELDS, TREES, max_size=4), TREES)
def test_no_structure_at_all_raises_anything_but_problems(
    kind: str, metadata: dict[str, object], spec: object
) -> None:
    name = metadata.get("name", "a")
    document = {"apiVersion": "kat/v1alpha1", "kind": kind, "metadata": {**metadata, "name": name}}
    text = "\n---\n".join(yaml({**document, part: spec}) for part in ("spec", "data", "status"))
    for problem in checked(text, WEB).problems:
        said = str(problem)
        assert "pydantic" not in said
        assert "Input should" not in said
        assert problem.at.file


def test_quoted_text_is_cut_and_harmless() -> None:
    assert quoted("\x1b[31m" + "x" * 100, 10) == "'\\x1b[31mxxxx…'"
