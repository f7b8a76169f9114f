"""A namespace's candidates, as agents read them."""

import re
from dataclasses import replace

import msgspec
import pytest

from katgen.bundle import Activation
from katgen.endpoints import NamespaceServices
from katgen.errors import EncodeError
from katgen.render import nft
from katgen.render.services import services
from tests import cuts
from tests.unit.render.planned import planned

CLUSTER = cuts.cluster()
THREE = {"0": ("a", "10.100.1.10"), "1": ("a", "10.100.1.11"), "2": ("b", "10.100.2.10")}
PORTS = [{"port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}]
WEB = cuts.balanced(cuts.workload("shop/web", THREE), "10.101.0.5", {"ports": PORTS})
CART = cuts.balanced(
    cuts.workload("shop/cart", {"0": ("b", "10.100.2.11")}),
    "10.101.0.6",
    {"ports": [{"port": 443}], "affinity": "ClientIP", "panicThreshold": 0},
)
PLAIN = cuts.workload("shop/worker", {"0": ("a", "10.100.1.12")})
SHOP = """\
{"format":1,"namespace":"shop","services":[
{"workload":"cart","candidates":[
{"instance":"shop/cart/0-1","ordinal":"0","address":"10.100.2.11"}
],\
"virtualAddress":"10.101.0.6","tcp":{"443":443},"udp":{},"sticky":true,"panicThreshold":0},
{"workload":"web","candidates":[
{"instance":"shop/web/0-1","ordinal":"0","address":"10.100.1.10"},
{"instance":"shop/web/1-1","ordinal":"1","address":"10.100.1.11"},
{"instance":"shop/web/2-1","ordinal":"2","address":"10.100.2.10"}
],\
"virtualAddress":"10.101.0.5","tcp":{"80":8080},"udp":{"53":53},"sticky":false,\
"panicThreshold":50},
{"workload":"worker","candidates":[
{"instance":"shop/worker/0-1","ordinal":"0","address":"10.100.1.12"}
],\
"virtualAddress":"","tcp":{},"udp":{},"sticky":false,"panicThreshold":50}]}
"""


def test_a_namespace_lists_the_candidates_of_its_services() -> None:
    (shared,) = services(cuts.namespace_view(CLUSTER, "shop", [CART, WEB, PLAIN]))
    assert shared.path == "/var/lib/kat/services/shop.json"
    assert shared.activation is Activation.NONE
    assert shared.content.decode() == SHOP


def test_jobs_have_no_candidates() -> None:
    job = planned({"type": "Job"}, job={})
    assert services(cuts.namespace_view(CLUSTER, "shop", [job])) == ()


def test_two_incarnations_of_one_ordinal_are_two_candidates() -> None:
    (first, *_) = WEB.plan.placements
    twice = (first, msgspec.structs.replace(first, incarnation=2, address="10.100.2.19"))
    rolling = replace(WEB, plan=msgspec.structs.replace(WEB.plan, placements=twice))
    (shared,) = services(cuts.namespace_view(CLUSTER, "shop", [rolling]))
    (web,) = msgspec.json.decode(shared.content, type=NamespaceServices).services
    assert [(one.instance, one.address) for one in web.candidates] == [
        ("shop/web/0-1", "10.100.1.10"),
        ("shop/web/0-2", "10.100.2.19"),
    ]


def test_the_place_of_a_candidate_is_its_slot_in_the_packet_rules() -> None:
    view = cuts.namespace_view(CLUSTER, "shop", [CART, WEB])
    (shared,), (rules,) = services(view), nft.services(view)
    slots = re.findall(r"\t(\S+) \. 0x4b[08]000(..) : ([0-9.]+)", rules.content.decode())
    found = msgspec.json.decode(shared.content, type=NamespaceServices)
    assert slots == [
        (service.virtual_address, f"{slot:02x}", candidate.address)
        for service in found.services
        for slot, candidate in enumerate(service.candidates)
    ]


def test_what_is_no_address_is_refused() -> None:
    bad = cuts.workload("shop/bad", {"0": ("a", "10.100.1.9 }")})
    with pytest.raises(EncodeError, match="is not an IPv4 address"):
        services(cuts.namespace_view(CLUSTER, "shop", [bad]))
