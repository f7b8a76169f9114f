"""An object's JSON and the JSON of its message in kat.proto say the same, both ways."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from katgen.model.kinds import KINDS
from katgen.model.shape import fields, object_in
from katgen.model.spec import Document, Spec
from katgen.model.types import proto_spelling
from katgen.model.workload import Workload
from katgen.proto import PACKAGE
from tests.environment import REPOSITORY
from tests.properties.documents import objects

FILES = sorted(
    path
    for folder in (REPOSITORY / "examples", *(REPOSITORY / "tests/golden").glob("*/spec"))
    for path in folder.rglob("*.kat")
)
Pool = descriptor_pool.DescriptorPool
Json = Any


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    made = tmp_path_factory.mktemp("proto") / "kat.descriptors"
    command = ["grpc_tools.protoc", "-Ikatgen", f"--descriptor_set_out={made}", "kat.proto"]
    subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, check=True)
    found = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    pool = Pool()
    for file in found.file:
        pool.Add(file)
    return pool


def as_message(pool: Pool, kind: str, document: Json) -> Message:
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{kind}"))()
    return json_format.ParseDict(in_proto_words(KINDS[kind], document), made)


def in_proto_words(annotation: object, value: Json) -> Json:
    """Return JSON with every enumeration spelled as proto3 spells it; nothing else is changed."""
    model = object_in(annotation)
    if isinstance(value, list):
        return [in_proto_words(annotation, one) for one in value]
    if isinstance(value, dict) and model is not None:
        known = fields(model)
        return {key: in_proto_words(known[key].annotation, one) for key, one in value.items()}
    is_word = isinstance(value, str) and value in words(annotation)
    return proto_spelling(value) if is_word else value


def words(annotation: object) -> set[str]:
    """Return an enumeration's values, as files spell them."""
    found = {part for part in get_args(annotation) if isinstance(part, str)}
    for part in get_args(annotation):
        found |= words(part)
    return found - {*KINDS, "kat/v1alpha1"}


def dumped(model: Spec) -> dict[str, Json]:
    made: dict[str, Json] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return made


def prove_equal(pool: Pool, one: Document) -> None:
    """The model's JSON makes a message, and the message's JSON and bytes the same object."""
    kind = type(one).__name__
    message = as_message(pool, kind, dumped(one))
    read = KINDS[kind].model_validate(json_format.MessageToDict(message))
    assert dumped(read) == dumped(one)
    assert as_message(pool, kind, dumped(read)) == message
    assert type(message).FromString(message.SerializeToString()) == message


def written(path: Path) -> Iterator[Document]:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        yield KINDS[document["kind"]].model_validate(document)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_people_wrote_is_the_same_as_a_message(path: Path, pool: Pool) -> None:
    for one in written(path):
        prove_equal(pool, one)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=50,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_object_is_the_same_as_a_message(kind: str, pool: Pool, data: st.DataObject) -> None:
    one = data.draw(objects(kind))
    assume(not is_endless_job(one))
    prove_equal(pool, one)


def is_endless_job(one: Document) -> bool:
    """Whether it is what validation refuses: a Job's default is another than the field's."""
    if not isinstance(one, Workload) or one.spec.type != "Job":
        return False
    return one.spec.restart_policy.condition == "Always"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_a_field_of_that_name_in_json(kind: str, pool: Pool) -> None:
    queue: list[tuple[type[Spec], Any]] = [
        (KINDS[kind], pool.FindMessageTypeByName(f"{PACKAGE}.{kind}"))
    ]
    seen = set()
    while queue:
        model, message = queue.pop()
        if model in seen:
            continue
        seen.add(model)
        by_key = {field.json_name: field for field in message.fields}
        assert by_key.keys() == fields(model).keys(), model
        for key, info in fields(model).items():
            inner = object_in(info.annotation)
            if inner is not None:
                queue.append((inner, by_key[key].message_type))


def test_a_whole_number_is_one_in_json(pool: Pool) -> None:
    wide = {"int64", "uint64", "sint64", "fixed64", "sfixed64"}
    text = (REPOSITORY / "katgen/kat.proto").read_text(encoding="utf-8")
    assert not wide & set(text.split())
    port = {"kind": "VirtualLoadBalancer", "spec": {"ports": [{"port": 65535}]}}
    assert json_format.MessageToDict(as_message(pool, "VirtualLoadBalancer", port)) == port


FIRST = {
    "ObjectMeta": """
        name namespace uid generation resource_version creation_timestamp labels annotations""",
    "WorkloadSpec": """
        type source replicas update_strategy restart_policy node_selector tolerations container
        volumes""",
    "ClusterConfigurationSpec": """
        cluster_cidr service_cidr node_subnet_bits cluster_domain agent_port api_port etcd_peer_port
        etcd_client_port volume_base_path backup_path backup_interval_minutes agent_tick_seconds
        node_loss_timeout_seconds""",
}
"""By message, the fields that the specification numbers, from 1."""


@pytest.mark.parametrize("message", FIRST)
def test_the_first_numbers_are_those_of_the_specification(message: str, pool: Pool) -> None:
    found = pool.FindMessageTypeByName(f"{PACKAGE}.{message}").fields
    numbers = {field.number: field.name for field in found}
    names = FIRST[message].split()
    assert [numbers[number] for number in range(1, len(names) + 1)] == names


def test_types_of_workloads_have_the_numbers_of_the_specification(pool: Pool) -> None:
    kinds = pool.FindEnumTypeByName(f"{PACKAGE}.WorkloadType")
    assert {value.name: value.number for value in kinds.values} == {
        "WORKLOAD_TYPE_UNSPECIFIED": 0,
        "SERVICE": 1,
        "JOB": 2,
        "DAEMON_SERVICE": 3,
    }
