import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from katgen.bundle import Entry, Manifest
from katgen.errors import EncodeError, SpecError
from katgen.model.cluster import ClusterConfiguration
from katgen.model.objects import Config, JobDefinition, Namespace, VirtualLoadBalancer
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import (
    Inventory,
    Node,
    Placement,
    Plan,
    Refusal,
    Resting,
    Retired,
    Taint,
    Unplaced,
    WorkloadPlan,
)
from katgen.render.cluster import render
from katgen.wire import manifest_from_json, manifest_json, plan_from_json, plan_json

CLUSTER = ClusterConfiguration.model_validate(
    {
        "kind": "ClusterConfiguration",
        "metadata": {"name": "c"},
        "spec": {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16"},
    }
)
SHOP = Namespace.model_validate(
    {"kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"quota": {"cpu": "1500m"}}}
)
OWNER = "root"
WEB = WorkloadKey("shop/web")
TIDY = WorkloadKey("shop/tidy")


def workload(name: str = "web", kind: str = "Service", **container: object) -> Workload:
    return Workload.model_validate(
        {
            "kind": "Workload",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "type": kind,
                "source": {"image": "localhost/web:1"},
                "container": container,
            },
        }
    )


def plan(**changed: object) -> Plan:
    planned = WorkloadPlan(
        "0123456789",
        2,
        uid_base=0x2A010000,
        virtual_address="10.101.0.1",
        placements=(Placement(Ordinal("0"), 1, "0123456789", NodeName("a"), "10.100.0.10"),),
    )
    fields: dict[str, Any] = {
        "format": 1,
        "generation": 2,
        "parent": 1,
        "specs": Specs(CLUSTER, {"shop": SHOP}, {WEB: WorkloadObjects(workload())}),
        "inventory": Inventory({NodeName("a"): Node(NodeName("a"), gateway="192.0.2.1")}),
        "subnets": {"a": "10.100.0.0/24"},
        "workloads": {WEB: planned},
    }
    return Plan(**{**fields, **changed})


READS = [
    "{",
    '  "format": 1,',
    '  "generation": 2,',
    '  "parent": 1,',
    '  "specs": {',
    '    "cluster": {',
    '      "kind": "ClusterConfiguration",',
    '      "metadata": {"name":"c"},',
    '      "spec": {"clusterCIDR":"10.100.0.0/16","serviceCIDR":"10.101.0.0/16"}',
    "    },",
    (
        '    "namespaces": {"shop":{"kind":"Namespace","metadata":{"name":"shop"},'
        '"spec":{"quota":{"cpu":"1500m"}}}},'
    ),
    '    "workloads": {',
    '      "shop/web": {',
    '        "workload": {',
    '          "kind": "Workload",',
    '          "metadata": {"name":"web","namespace":"shop"},',
    '          "spec": {"source":{"image":"localhost/web:1"},"type":"Service"}',
    "        }",
    "      }",
    "    }",
    "  },",
    '  "inventory": {"nodes":{"a":{"name":"a","gateway":"192.0.2.1"}}},',
    '  "subnets": {"a":"10.100.0.0/24"},',
    '  "workloads": {',
    '    "shop/web": {',
    '      "revision": "0123456789",',
    '      "nextIncarnation": 2,',
    '      "uidBase": 704708608,',
    '      "virtualAddress": "10.101.0.1",',
    (
        '      "placements": '
        '[{"ordinal":"0","incarnation":1,"revision":"0123456789","node":"a","address":"10.100.0.10"}]'
    ),
    "    }",
    "  }",
    "}",
]


def test_a_plan_reads_as_its_decisions_one_to_a_line() -> None:
    assert plan_json(plan()).decode().splitlines() == READS


FULL_SPECS = Specs(
    CLUSTER,
    {"shop": SHOP},
    {
        WEB: WorkloadObjects(
            workload(env=[{"name": "A", "value": 'é\n"\\\x01'}]),
            VirtualLoadBalancer.model_validate(
                {
                    "kind": "VirtualLoadBalancer",
                    "metadata": {"name": "web", "namespace": "shop"},
                    "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
                }
            ),
        ),
        TIDY: WorkloadObjects(
            workload("tidy", kind="Job"),
            job=JobDefinition.model_validate(
                {
                    "kind": "JobDefinition",
                    "metadata": {"name": "tidy", "namespace": "shop"},
                    "spec": {"schedule": "*/5 * * * *"},
                }
            ),
        ),
    },
    {
        WorkloadKey("shop/conf"): Config.model_validate(
            {
                "kind": "Config",
                "metadata": {"name": "conf", "namespace": "shop"},
                "data": {"a.ini": "x = 1\n"},
            }
        )
    },
    {WorkloadKey("shop/db"): ("password", "user")},
)
FULL = plan(
    specs=FULL_SPECS,
    inventory=Inventory(
        {
            NodeName("a"): Node(
                NodeName("a"),
                {"disk": "ssd"},
                (Taint("k", "NoSchedule", "v"),),
                unschedulable=True,
                ready=False,
                allocatable={"cpu": 4000, "nvidia.com/gpu": 1},
            )
        },
        volumes={"shop/web/data/0": NodeName("a")},
        rested=frozenset({"10.100.0.11", "10.100.0.12"}),
        finished={WorkloadKey("shop/job"): frozenset({1, 2, 3})},
    ),
    workloads={
        WEB: WorkloadPlan(
            "abcdef0123",
            4,
            placements=(
                Placement(
                    Ordinal("a"),
                    3,
                    "abcdef0123",
                    NodeName("a"),
                    "10.100.0.10",
                    (0, 1),
                    stop_first=True,
                ),
            ),
            unplaced=(Unplaced(Ordinal("1"), (Refusal("full", 2, NodeName("a")),)),),
            homes={Ordinal("2"): NodeName("a")},
        ),
        TIDY: WorkloadPlan("abcdef0123", 1),
    },
    resting={"10.100.0.13": Resting("10.100.0.13", "shop/web/0-1", 1)},
    retired={WorkloadKey("shop/old"): Retired(7, 0x2A000000)},
)


def test_every_field_of_a_plan_comes_back() -> None:
    assert plan_from_json(plan_json(FULL), "plan.json") == FULL


def test_the_order_in_which_a_plan_was_made_leaves_no_trace() -> None:
    nodes = {NodeName(n): Node(NodeName(n), {"x": "1", "a": "2"}) for n in ("a", "b", "c")}
    backwards = {
        name: msgspec.structs.replace(node, labels={"a": "2", "x": "1"})
        for name, node in reversed(nodes.items())
    }
    subnets = {n: f"10.100.{i}.0/24" for i, n in enumerate(nodes)}
    one = plan(inventory=Inventory(nodes), subnets=subnets)
    other = plan(inventory=Inventory(backwards), subnets=dict(reversed(subnets.items())))
    assert plan_json(one) == plan_json(other)


NONCHARACTERS = "".join(
    [
        *map(chr, range(0xFDD0, 0xFDF0)),
        *(chr((p << 16) + c) for p in range(17) for c in (0xFFFE, 0xFFFF)),
    ]
)
"""What the model refuses, besides NUL."""
CARRIED = st.characters(exclude_categories=["Cs"], exclude_characters="\0" + NONCHARACTERS)


@given(st.text(CARRIED))
def test_any_text_that_a_spec_may_hold_comes_back_unchanged(text: str) -> None:
    specs = plan().specs
    objects = {WEB: WorkloadObjects(workload(env=[{"name": "A", "value": text}]))}
    some = plan(specs=replace(specs, workloads=objects))
    assert plan_from_json(plan_json(some), "plan.json") == some


def refusal(data: bytes) -> str:
    """Return the message, less the hint that most of them end in."""
    with pytest.raises(SpecError) as caught:
        plan_from_json(data, "old.json")
    return str(caught.value).removesuffix("; give a file that KAT wrote")


def edited(*path: str | int, value: object) -> bytes:
    document = json.loads(plan_json(plan()))
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return json.dumps(document).encode()


def test_unknown_fields_are_ignored() -> None:
    assert plan_from_json(edited("colour", value="red"), "old.json") == plan()


def test_another_format_is_refused_by_its_number() -> None:
    assert refusal(b'{"format": 7, "workloads": "of another shape"}') == (
        "old.json format: plan format 7 is not known here, which reads format 1; "
        "read it with the version of KAT that wrote it"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "old.json: Input data was truncated"),
        (b"[]", "old.json: Expected `object`, got `array`"),
        (
            b'{"generation": 1}',
            "old.json: Object missing required field `format`",
        ),
        (
            b'{"format": 1}',
            "old.json: Object missing required field `generation`",
        ),
        (
            b"\xff\xfe",
            "old.json: JSON is malformed: invalid character (byte 0)",
        ),
        (b'{"x":' * 100_000, "old.json: nested too deeply"),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes, message: str) -> None:
    assert refusal(data) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            edited("subnets", "a", value="10.100.0.0"),
            "old.json subnets.a: '10.100.0.0' is not an IPv4 network",
        ),
        (
            edited("workloads", "shop/web", "virtualAddress", value="10.101.0.256"),
            "old.json workloads.shop/web.virtualAddress: '10.101.0.256' is not an IPv4 address",
        ),
        (
            edited("workloads", value={}),
            "old.json workloads: shop/web is missing; a plan specifies what it decides on",
        ),
        (
            edited("specs", "namespaces", value={}),
            "old.json specs.namespaces: the namespace of shop/web is missing",
        ),
        (
            edited("subnets", value={}),
            "old.json inventory.nodes.a: the node has another name, or no subnet",
        ),
        (
            edited("specs", "workloads", "shop/web", "workload", "metadata", "name", value="x"),
            (
                "old.json specs.workloads.shop/web.workload: holds, or is, the document of another "
                "object; give a file that KAT wrote\n"
                "old.json specs.workloads.shop/x.workload: holds, or is, the document of another "
                "object"
            ),
        ),
        (
            edited("specs", "cluster", "spec", "serviceCIDR", value="all of it"),
            (
                "old.json specs.cluster spec.serviceCIDR: 'all of it' is not an IPv4 network; "
                "write it as 10.100.0.0/16, host bits zero"
            ),
        ),
    ],
)
def test_a_plan_that_does_not_hold_together_is_refused(data: bytes, message: str) -> None:
    assert refusal(data) == message


EVIL = "../../PWN"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            edited("inventory", "nodes", value={EVIL: {"name": EVIL}}),
            "old.json inventory.nodes: '../../PWN' is not a DNS label",
        ),
        (
            edited("inventory", "volumes", value={"shop/web/data/0": EVIL}),
            "old.json inventory.volumes: '../../PWN' is not a DNS label",
        ),
        (
            edited("inventory", "lost", value=[EVIL]),
            "old.json inventory.lost: '../../PWN' is not a DNS label",
        ),
        (
            edited("subnets", EVIL, value="10.100.1.0/24"),
            "old.json subnets: '../../PWN' is not a DNS label",
        ),
        (
            edited("workloads", "shop/web", "placements", 0, "ordinal", value=EVIL),
            "old.json workloads.shop/web: '../../PWN' is not a DNS label",
        ),
        (
            edited("workloads", "shop/web", "placements", 0, "ordinal", value="²"),
            "old.json workloads.shop/web: '²' is not a DNS label",
        ),
        (
            edited("workloads", "shop/web", "placements", 0, "node", value=EVIL),
            "old.json workloads.shop/web: '../../PWN' is not a DNS label",
        ),
        (
            edited("workloads", "shop/web", "homes", value={"": "a"}),
            "old.json workloads.shop/web: '' is not a DNS label",
        ),
        (
            edited("workloads", "shop/web", "unplaced", value=[{"ordinal": "A", "refusals": []}]),
            "old.json workloads.shop/web: 'A' is not a DNS label",
        ),
        (
            edited("specs", "namespaces", EVIL, value={"kind": "Namespace"}),
            "old.json specs.namespaces: '../../PWN' is not a DNS label",
        ),
        (
            edited("retired", value={EVIL: {"nextIncarnation": 1}}),
            "old.json retired: '../../PWN' is not <namespace>/<name>, both DNS labels",
        ),
        (
            edited("specs", "secrets", value={"shop": []}),
            "old.json specs.secrets: 'shop' is not <namespace>/<name>, both DNS labels",
        ),
    ],
)
def test_a_name_that_could_lead_a_file_elsewhere_is_refused(data: bytes, message: str) -> None:
    assert message in refusal(data).replace("; give a file that KAT wrote", "").splitlines()


def of_web(*path: str | int, value: object) -> bytes:
    return edited("workloads", "shop/web", *path, value=value)


def of_node(field: str, value: object) -> bytes:
    return edited("inventory", "nodes", "a", field, value=value)


def at_rest(key: str, **changed: object) -> bytes:
    entry = {"resource": key, "owner": "shop/web/0-1", "releasedGeneration": 1, **changed}
    return edited("resting", value={key: entry})


@pytest.mark.parametrize(
    ("data", "path", "what"),
    [
        (
            of_web("revision", value="0123456789\n"),
            "workloads.shop/web.revision",
            r"'0123456789\n' is not a revision",
        ),
        (
            of_web("placements", 0, "revision", value="x"),
            "workloads.shop/web.placements[0].revision",
            "'x' is not a revision",
        ),
        (
            of_web("placements", 0, "address", value="10.100.0.010"),
            "workloads.shop/web.placements[0].address",
            "'10.100.0.010' is not an IPv4 address",
        ),
        (
            of_web("placements", 0, "incarnation", value=2**31),
            "workloads.shop/web.placements[0].incarnation",
            "2147483648 is not an incarnation",
        ),
        (
            of_web("placements", 0, "gpus", value=[4095, 4096]),
            "workloads.shop/web.placements[0].gpus",
            "4096 is not the number of a device",
        ),
        (
            of_web("nextIncarnation", value=0),
            "workloads.shop/web.nextIncarnation",
            "0 is not an incarnation",
        ),
        (
            of_web("uidBase", value=0x2A000001),
            "workloads.shop/web.uidBase",
            "704643073 does not begin a range of uids",
        ),
        (
            edited("retired", value={"shop/old": {"nextIncarnation": 1, "uidBase": 65536}}),
            "retired.shop/old.uidBase",
            "65536 does not begin a range of uids",
        ),
        (
            edited("subnets", "a", value="10.100.0.1/24"),
            "subnets.a",
            "'10.100.0.1/24' is not an IPv4 network",
        ),
        (at_rest("x"), "resting.x", "'x' is not an IPv4 address or network"),
        (
            at_rest("10.100.0.9", resource="10.100.0.8"),
            "resting.10.100.0.9.resource",
            "'10.100.0.8' is another one",
        ),
        (
            edited("inventory", "rested", value=["10.100.0.1/16"]),
            "inventory.rested",
            "'10.100.0.1/16' is not an IPv4 address or network",
        ),
        (
            edited("inventory", "finished", value={"shop/tidy": [-1]}),
            "inventory.finished.shop/tidy",
            "-1 is not the number of a run",
        ),
        (
            of_node("gateway", "192.0.2.01"),
            "inventory.nodes.a.gateway",
            "'192.0.2.01' is not an IPv4 address; write it as 192.0.2.1",
        ),
        (
            of_node("publicKey", "x\n[Peer]"),
            "inventory.nodes.a.publicKey",
            r"'x\n[Peer]' is not a WireGuard public key; write it as 44 characters of base64",
        ),
        (
            of_node("taints", [{"key": "k", "effect": "NO_SCHEDULE"}]),
            "inventory.nodes.a",
            "the node is not spelled as KAT spells it",
        ),
        (edited("generation", value=-1), "generation", "-1 is not the number of a plan"),
    ],
)
def test_a_value_that_kat_would_not_have_written_is_refused(
    data: bytes, path: str, what: str
) -> None:
    assert refusal(data) == f"old.json {path}: {what}"


def test_a_line_break_in_a_units_header_is_refused_by_the_renderer_too() -> None:
    planned = msgspec.structs.replace(plan().workloads[WEB], revision="x\n[Service]")
    with pytest.raises(EncodeError, match="a line break cannot be written in a comment"):
        render(plan(workloads={WEB: planned}))


def test_all_problems_of_a_plans_documents_are_reported_at_once() -> None:
    document = json.loads(edited("specs", "cluster", "kind", value="Cat"))
    document["specs"]["namespaces"]["shop"]["kind"] = "Dog"
    assert len(refusal(json.dumps(document).encode()).splitlines()) == 2


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_garbage_raises_nothing_but_a_spec_error(data: bytes) -> None:
    with pytest.raises(SpecError):
        plan_from_json(data, "x")


leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5)


def grown(trees: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    named = st.dictionaries(st.text(max_size=5), trees, max_size=3)
    return st.lists(trees, max_size=3) | named


trees = st.recursive(leaves, grown)


def places(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    here = [at] if at else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return here + [p for key, item in items for p in places(item, (*at, key))]


@given(st.sampled_from(places(json.loads(plan_json(plan())))), trees)
def test_a_plan_with_one_place_spoilt_is_read_or_refused_and_never_crashes(
    place: tuple[str | int, ...], value: object
) -> None:
    try:
        read = plan_from_json(edited(*place, value=value), "x")
    except SpecError:
        return
    assert plan_from_json(plan_json(read), "x") == read


def test_secret_values_have_no_way_into_a_plan() -> None:
    specs = replace(plan().specs, secrets={WorkloadKey("shop/db"): ("password",)})
    assert b'"secrets": {"shop/db":["password"]}' in plan_json(plan(specs=specs))


def test_a_manifest_comes_back() -> None:
    manifest = Manifest(1, NodeName("a"), (Entry("/etc/x", "00", 0o600),), ("base", "open/*"))
    assert manifest_from_json(manifest_json(manifest), "a.manifest.json") == manifest


def test_equal_entries_are_equal_bytes_however_they_were_made() -> None:
    default = Entry("/etc/x", "00")
    spelled = Entry("/etc/x", "00", int("420"), f"{OWNER}:{OWNER}")
    manifests = [Manifest(1, NodeName("a"), (one,)) for one in (default, spelled)]
    assert manifest_json(manifests[0]) == manifest_json(manifests[1])
