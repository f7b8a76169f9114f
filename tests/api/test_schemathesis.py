"""The API as its OpenAPI document describes it, asked by a program that means no good.

Left out, each for its reason:

| what | why |
|---|---|
| changes, logs, sessions, `watch=1` | they have no end, and schemathesis waits for it |
| what agents alone may ask | schemathesis has no certificate here: all it would see is 401 |
| `positive_data_acceptance` | rules across objects are no part of a schema (ADR 1) |
| `use_after_free`, `ensure_resource_availability` | they belong to the stateful phase |
"""

import asyncio
import sys
from pathlib import Path

import pytest

from katgen.leader.app import Manners
from katgen.leader.documents import ObjectKey, encode
from katgen.leader.limits import Limits, Rate
from katgen.leader.store import Transaction
from tests.environment import REPOSITORY
from tests.unit.leader.api import Api, api
from tests.unit.leader.given import WITH_CONFIG, balancer, config, secret, workload

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
EXAMPLES = 4
"""Of each operation, besides those of the coverage phase: some eight thousand in all."""
DEADLINE_S = 900
ENDLESS = r"/changes/|/nodes/\{node\}|/logs"
CLUSTER = """apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: kat}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16}
"""
MANY = Rate(1e9, 1e9)
UNLIMITED = Manners(limits=Limits(people=MANY, agents=MANY, strangers=MANY))


async def put_something(client: Api) -> None:
    """Store objects under the names that the document gives as examples."""
    node = {"apiVersion": "kat/v1alpha1", "kind": "Node", "metadata": {"name": "web"}}
    await client.store.commit(Transaction({ObjectKey("Node", "-", "web").path: encode(node)}))
    objects = (
        config(),
        config("web"),
        secret("web"),
        workload("web", WITH_CONFIG),
        balancer("web"),
        "apiVersion: kat/v1alpha1\nkind: Namespace\nmetadata: {name: web}\n",
        CLUSTER,
    )
    answer = await client.write("POST", "/v1alpha1/apply", "\n---\n".join(objects))
    assert answer.status == 200, await answer.text()


async def complaints(client: Api, folder: Path) -> str:
    """Return what schemathesis says if it finds anything, else ''."""
    child = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", REPOSITORY / "tests/api/schemathesis.toml"),
        *("run", str(client.client.make_url("/openapi.json"))),
        *("--header", f"Authorization: Bearer {client.token}"),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--exclude-path-regex", ENDLESS),
        *("--seed", "1", "--generation-database", "none", "--continue-on-failure"),
        *("--request-timeout", "10", "--workers", "1"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_S):
        said, _ = await child.communicate()
    return said.decode() if child.returncode else ""


async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with api(manners=UNLIMITED) as client:
        await put_something(client)
        if said := await complaints(client, tmp_path):
            pytest.fail(said)
