"""Who may do what, over real TLS."""

import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from katgen.leader import pki
from katgen.leader.app import make_app
from katgen.leader.auth import Caller, caller_in
from katgen.leader.documents import ObjectKey, encode
from katgen.leader.logs import LineFormatter
from katgen.leader.objects import Objects
from katgen.leader.serve import tls
from katgen.leader.services import Identity, Services
from katgen.leader.store import Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.leader.tokens import Tokens, make_token
from katgen.protocol import Report
from tests.unit.leader.api import RECORD, UID, Told
from tests.unit.leader.given import BOX, StandingClock, workload

OTHER = "00000000-0000-4000-8000-000000000000"


@dataclass
class Cluster:
    """A leader that listens, its CA, and an admin's token."""

    folder: Path
    ca: pki.Authority
    server: TestServer
    store: MemoryStore
    token: str

    def context(self, pair: pki.Pair | None = None) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self.ca.pair.certificate.decode())
        if pair is not None:
            path = self.folder / "client.pem"
            path.write_bytes(pair.certificate + pair.key)
            made.load_cert_chain(path)
        return made

    def node(self, name: str = "n1", cluster: str = UID) -> ssl.SSLContext:
        return self.context(pki.issue_node(self.ca, cluster, name))

    async def status(
        self, path: str, context: ssl.SSLContext, method: str = "GET", **headers: str
    ) -> int:
        url = str(self.server.make_url(path))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
            client.request(method, url, headers=headers) as answer,
        ):
            return answer.status

    async def with_token(self, token: str, path: str = "/v1alpha1/version") -> int:
        return await self.status(path, self.context(), Authorization=f"Bearer {token}")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    ca = pki.make_ca("kat")
    pair = pki.issue_server(ca, ["localhost"], ["127.0.0.1"])
    (tmp_path / "ca.crt").write_bytes(ca.pair.certificate)
    (tmp_path / "leader.crt").write_bytes(pair.certificate)
    (tmp_path / "leader.key").write_bytes(pair.key)
    store, told = MemoryStore(), Told()
    new = make_token("ann", "admin", "t")
    document = {"apiVersion": "kat/v1alpha1", "kind": "Node", "metadata": {"name": "n1"}}
    path = ObjectKey("Node", "-", "n1").path
    await store.commit(Transaction(puts={new.path: new.value, path: encode(document)}))
    objects = Objects(store, BOX, StandingClock())
    services = Services(
        identity=Identity(UID, "kat", 9115),
        store=store,
        objects=objects,
        tokens=Tokens(store),
        planning=told,
        view=told,
        chronicle=told,
        agents=told,
        clock=StandingClock(),
    )
    server = TestServer(make_app(services), scheme="https", host="127.0.0.1")
    await server.start_server(ssl=tls(tmp_path))
    yield Cluster(tmp_path, ca, server, store, new.text)
    await server.close()
    await store.close()


async def test_a_token_opens_the_api(cluster: Cluster) -> None:
    assert await cluster.with_token(cluster.token) == 200


async def test_without_a_token_nothing_is_told(cluster: Cluster) -> None:
    assert await cluster.status("/v1alpha1/version", cluster.context()) == 401
    assert await cluster.status("/v1alpha1/n/default/workloads/web", cluster.context()) == 401


@pytest.mark.parametrize("change", [slice(0, -1), slice(1, None), slice(0, 4), slice(0, 0)])
async def test_another_token_opens_nothing(cluster: Cluster, change: slice) -> None:
    assert await cluster.with_token(cluster.token[change]) == 401


async def test_the_secret_of_one_token_does_not_go_with_the_id_of_another(
    cluster: Cluster,
) -> None:
    other = make_token("bob", "admin", "t")
    await cluster.store.commit(Transaction(puts={other.path: other.value}))
    mixed = f"{cluster.token[:17]}{other.text[17:]}"
    assert await cluster.with_token(other.text) == 200
    assert await cluster.with_token(mixed) == 401


async def test_a_token_that_is_gone_opens_nothing(cluster: Cluster) -> None:
    number = cluster.token.split("_")[1]
    await cluster.store.commit(Transaction(deletes=[f"tokens/{number}"]))
    assert await cluster.with_token(cluster.token) == 401


async def test_a_token_of_another_role_finds_nothing(cluster: Cluster) -> None:
    guest = make_token("guest", "guest", "t")
    await cluster.store.commit(Transaction(puts={guest.path: guest.value}))
    assert await cluster.with_token(guest.text) == 404
    assert await cluster.with_token(guest.text, "/metrics") == 404


async def test_a_person_s_certificate_opens_the_api(cluster: Cluster) -> None:
    context = cluster.context(pki.issue_admin(cluster.ca, UID, "ann"))
    assert await cluster.status("/v1alpha1/version", context) == 200


async def test_a_certificate_of_another_ca_ends_the_connection(cluster: Cluster) -> None:
    context = cluster.context(pki.issue_admin(pki.make_ca("kat"), UID, "ann"))
    with pytest.raises(aiohttp.ClientError):
        await cluster.status("/v1alpha1/version", context)


async def test_a_certificate_of_another_cluster_opens_nothing(cluster: Cluster) -> None:
    path = "/v1alpha1/nodes/n1/bundle?generation=1"
    assert await cluster.status(path, cluster.node(cluster=OTHER)) == 401


async def test_a_node_reaches_its_own_routes_alone(cluster: Cluster) -> None:
    node = cluster.node()
    assert await cluster.status("/v1alpha1/nodes/n2/bundle?generation=1", node) == 404
    assert await cluster.status("/v1alpha1/nodes/n1", node) == 404
    assert await cluster.status("/v1alpha1/workloads", node) == 404


async def test_people_do_not_reach_the_routes_of_agents(cluster: Cluster) -> None:
    assert await cluster.with_token(cluster.token, "/v1alpha1/nodes/n1/bundle") == 403


async def test_a_node_that_was_removed_is_nobody(cluster: Cluster) -> None:
    path = "/v1alpha1/nodes/n9/bundle?generation=1"
    assert await cluster.status(path, cluster.node("n9")) == 401


async def test_an_agent_has_its_session_status_and_contents(cluster: Cluster) -> None:
    connector = aiohttp.TCPConnector(ssl=cluster.node())
    base = str(cluster.server.make_url("/v1alpha1/nodes/n1"))
    async with aiohttp.ClientSession(connector=connector) as client:
        async with client.ws_connect(f"{base}/session") as socket:
            assert await socket.receive_str(timeout=5) == "hello n1"
        report = Report(node="n1", boot_id="b", epoch=1, generation=1, sync="in sync")  # type: ignore[arg-type]  # a name
        async with client.post(f"{base}/status", data=msgspec.json.encode(report)) as answer:
            assert msgspec.json.decode(await answer.read(), type=type(RECORD)) == RECORD
        lie = msgspec.structs.replace(report, node="n2")
        async with client.post(f"{base}/status", data=msgspec.json.encode(lie)) as answer:
            assert answer.status == 422
        async with client.post(f"{base}/contents", data=b'["a", "unknown"]') as answer:
            assert msgspec.msgpack.decode(await answer.read()) == {"a": b"n1"}


@pytest.mark.parametrize(
    ("uri", "caller"),
    [
        (f"kat://{UID}/node/n1", Caller("node", "n1")),
        (f"kat://{UID}/user/ann", Caller("admin", "ann")),
        (f"kat://{OTHER}/node/n1", None),
        (f"http://{UID}/node/n1", None),
        (f"kat://{UID}/node/", None),
        (f"kat://{UID}/node/n1/..", None),
        (f"kat://{UID}/root/n1", None),
        ("", None),
    ],
)
def test_a_uri_names_somebody_of_this_cluster_or_nobody(uri: str, caller: Caller | None) -> None:
    assert caller_in(uri, UID) == caller


async def test_a_write_is_logged_with_who_and_what_and_no_token(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/yaml"}
    url = str(cluster.server.make_url("/v1alpha1/apply"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=cluster.context())) as client,
        client.post(url, headers=headers, data=workload()) as answer,
    ):
        number = answer.headers["X-Request-Id"]
    (audit,) = (LineFormatter().format(one) for one in caplog.records if one.msg == "audit")
    assert audit == (
        f"<6>audit request={number} caller=ann verb=POST path=/v1alpha1/apply status=200 "
        'changed="Workload default/web created"'
    )
    assert cluster.token not in "".join(map(LineFormatter().format, caplog.records))


async def test_a_refused_write_is_logged_too(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = "/v1alpha1/n/default/workloads/gone"
    token = f"Bearer {cluster.token}"
    assert await cluster.status(path, cluster.context(), "DELETE", Authorization=token) == 404
    (audit,) = (LineFormatter().format(one) for one in caplog.records if one.msg == "audit")
    assert "caller=ann verb=DELETE" in audit
    assert "status=404" in audit
