import ast
import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from katgen.model.cluster import ClusterSpec
from katgen.model.kinds import KINDS
from katgen.model.shape import fields, object_in
from katgen.model.spec import Spec
from katgen.model.types import proto_spelling
from katgen.model.workload import Workload
from katgen.model.zones import ZONES


def every_object(*, built: bool = False) -> list[type[Spec]]:
    """Return all objects, or those that are not inside something unsupported."""
    found: list[type[Spec]] = list(KINDS.values())
    for model in found:
        for info in fields(model).values():
            inner = object_in(info.annotation)
            if inner is not None and inner not in found and not (built and is_refused(info)):
                found.append(inner)
    return found


def is_refused(info: FieldInfo) -> bool:
    marks = info.json_schema_extra
    names = {"x-kat-later", "x-kat-later-values", "x-kat-by-leader"}
    return isinstance(marks, dict) and any(marks.get(name) for name in names)


@pytest.mark.parametrize("model", every_object(), ids=lambda model: model.__name__)
def test_every_object_and_field_is_described(model: type[Spec]) -> None:
    assert model.__doc__
    assert [key for key, info in fields(model).items() if not info.description] == []


@pytest.mark.parametrize("model", every_object(), ids=lambda model: model.__name__)
def test_keys_are_camel_case(model: type[Spec]) -> None:
    odd = [key for key in fields(model) if not re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", key)]
    assert odd in ([], ["clusterCIDR", "serviceCIDR", "upstreamDNS", "externalCIDR"], ["behindNAT"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Service", "SERVICE"),
        ("DaemonService", "DAEMON_SERVICE"),
        ("ClientIP", "CLIENT_IP"),
        ("host-root", "HOST_ROOT"),
        ("IfNotPresent", "IF_NOT_PRESENT"),
        ("TCP", "TCP"),
    ],
)
def test_enumerations_have_a_spelling_in_proto3(name: str, expected: str) -> None:
    assert proto_spelling(name) == expected


def test_quantities_are_numbers_in_code_and_quantities_in_files() -> None:
    workload = Workload.model_validate(
        {
            "kind": "Workload",
            "metadata": {"name": "web"},
            "spec": {
                "type": "Service",
                "source": {"image": "nginx"},
                "container": {"resources": {"requests": {"cpu": 0.5, "memory": "128Mi"}}},
            },
        }
    )
    requests = workload.spec.container.resources.requests
    assert (requests.cpu, requests.memory) == (500, 134_217_728)
    assert requests.model_dump(by_alias=True) == {"cpu": "500m", "memory": "128Mi"}


def test_a_cluster_says_how_its_networks_divide() -> None:
    spec = ClusterSpec.model_validate(
        {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.1.0.0/24"}
    )
    assert (spec.node_prefix, spec.subnets, spec.hosts, spec.virtual_addresses) == (
        24,
        256,
        245,
        255,
    )


def test_the_model_imports_nothing_of_the_machine() -> None:
    folder = Path(__file__).parents[2] / "katgen" / "model"
    imported = {
        alias.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= {"json", "re"}


def test_time_zones_are_those_of_debian_without_old_names() -> None:
    assert len(ZONES) == 484
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1"} <= ZONES
    assert "US/Pacific" not in ZONES


USED_BY_PEOPLE = {
    "api_version",
    "workload_instances",
    "last_heartbeat_time",
    "kat",
    "manifest_versions",
}


def test_every_field_does_something_or_is_refused_as_not_supported_yet() -> None:
    folder = Path(__file__).parents[2] / "katgen"
    read = {
        node.attr
        for path in folder.rglob("*.py")
        if path.relative_to(folder).parts[0] not in {"model", "cli"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    unread = {
        name
        for model in every_object(built=True)
        for name, info in model.model_fields.items()
        if name not in read and not is_refused(info)
    }
    assert unread <= USED_BY_PEOPLE
