"""Which files of candidates a node takes."""

import pytest

from agent.policy import Policy, complaints
from katgen.render.services import services
from tests import cuts

WEB = cuts.balanced(
    cuts.workload("shop/web", {"0": ("a", "10.100.1.10"), "1": ("b", "10.100.2.10")}),
    "10.101.0.5",
    {"ports": [{"port": 80, "targetPort": 8080}]},
)
WORKER = cuts.workload("shop/worker", {"node-a": ("a", "10.100.1.12")})
(RENDERED,) = services(cuts.namespace_view(cuts.cluster(), "shop", [WEB, WORKER]))
TEXT = RENDERED.content.decode()
PATH = "/var/lib/kat/services/shop.json"


def faults(text: str, path: str = PATH) -> list[str]:
    return [one.text for one in complaints(Policy(), {path: ("digest", text)})]


def test_what_kat_renders_is_taken() -> None:
    assert faults(TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"shop"', '"vault"', "it is of another namespace or format"),
        ('"format":1', '"format":2', "it is of another namespace or format"),
        ('"format":1', '"format":1,"more":2', "it is not written as KAT writes it"),
        ('"format":1', '"format":1,"format":1', "it is not written as KAT writes it"),
        ('"workload":"web"', '"workload":"zoo"', "its workloads are not in order"),
        ("10.101.0.5", "10.101.0.5 }", "shop/web: '10.101.0.5 }' is no address"),
        ('"10.100.1.10"', '"10.100.1.010"', "shop/web: '10.100.1.010' is no address"),
        ('"10.100.2.10"', '"10.100.1.10"', "shop/web: an address is there twice"),
        ('"80":8080', '"80":0', "shop/web: a port is none"),
        ('"80":8080', '"65536":80', "shop/web: a port is none"),
        ('{"80":8080}', "{}", "shop/web: a virtual address has ports, and no other has"),
        ("shop/web/0-1", "shop/web/0-01", "shop/web: 'shop/web/0-01' is no instance of it"),
        ("shop/web/0-1", "shop/db/0-1", "shop/web: 'shop/db/0-1' is no instance of it"),
        ("shop/web/0-1", "shop/web/7-1", "shop/web: 'shop/web/7-1' is no instance of it"),
        ('"panicThreshold":50', '"panicThreshold":101', "panicThreshold is no percentage"),
        ('"tcp":{"80":8080}', '"tcp":{"80":"x"}', "it holds no candidates: Expected `int`"),
    ],
)
def test_what_kat_does_not_render_is_refused(old: str, new: str, fault: str) -> None:
    assert old in TEXT
    assert any(fault in one for one in faults(TEXT.replace(old, new, 1)))


def test_bytes_that_are_no_text_are_refused() -> None:
    assert faults(TEXT.replace("shop/web/0-1", "shop/\udcff/0-1")) != []


def test_two_workloads_cannot_have_one_virtual_address() -> None:
    worker = cuts.balanced(WORKER, "10.101.0.5", {"ports": [{"port": 80}]})
    view = cuts.namespace_view(cuts.cluster(), "shop", [WEB, worker])
    (shared,) = services(view)
    assert faults(shared.content.decode()) == ["two workloads have one virtual address"]
