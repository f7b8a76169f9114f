"""The fake leader knows no route that the real one has not: both are asked the same."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from katgen.cli.main import run
from katgen.leader.routes import ROUTES
from tests.environment import REPOSITORY
from tests.fakes.leader import FakeLeader

COMMANDS = [
    *(f"get {kind} -A" for kind in ("wl", "inst", "jobs", "builds", "cm", "sec", "vlb", "ev")),
    *(f"get {kind}" for kind in ("no", "ns", "plans", "cc", "wl", "inst", "cm")),
    *(f"get {one}" for one in ("node/a", "ns/shop", "secret/tls", "job/x", "vlb/web")),
    *("describe workload web -n shop", "describe node a", "explain shop/web", "version"),
    *("logs web -n shop", "events web", "diff a", "rollback web --list", "rollback web"),
    *("scale web --replicas 1", "restart web", "plan", "top nodes", "apply -f examples/shop"),
    *(f"delete {one}" for one in ("wl web", "cm x", "secret x", "vlb x", "job x", "ns x")),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_katcall_asks_the_real_leader_answers(
    leader: FakeLeader, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("katgen.cli.top.INTERVAL_S", 0)
    run(command.split())
    app = web.Application()
    app.add_routes(ROUTES)
    assert leader.asked
    for one in leader.asked:
        request = make_mocked_request(one.method, f"/v1alpha1{one.path}")
        found = asyncio.run(app.router.resolve(request))
        assert found.http_exception is None, one.line
