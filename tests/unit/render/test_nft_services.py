"""A namespace's virtual addresses and its wall."""

import re
from dataclasses import replace

import pytest

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.names import WorkloadKey
from katgen.render import nft
from tests import cuts

CLUSTER = cuts.cluster()
THREE = {"0": ("a", "10.100.1.10"), "1": ("a", "10.100.1.11"), "2": ("b", "10.100.2.10")}
WEB = cuts.balanced(
    cuts.workload("shop/web", THREE),
    "10.101.0.5",
    {"ports": [{"port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}]},
)
CART = cuts.balanced(
    cuts.workload("shop/cart", {"0": ("b", "10.100.2.11")}),
    "10.101.0.6",
    {"ports": [{"port": 443}], "affinity": "ClientIP"},
)
PLAIN = cuts.workload("shop/worker", {"0": ("a", "10.100.1.12")})

SHOP = """\
# Managed by KAT: services of the namespace shop.
add chain inet kat random-3
flush chain inet kat random-3
add rule inet kat random-3 meta mark set numgen random mod 3 offset 0x4b000000 goto balance
add chain inet kat sticky-1
flush chain inet kat sticky-1
add rule inet kat sticky-1 jump balance
add rule inet kat sticky-1 meta mark set numgen random mod 1 offset 0x4b800000 goto balance
add element inet kat services {
	# cart
	10.101.0.6 : goto sticky-1,
	# web
	10.101.0.5 : goto random-3 }
add element inet kat tcp-ports {
	10.101.0.6 . 443 : 443,
	10.101.0.5 . 80 : 8080 }
add element inet kat udp-ports {
	10.101.0.5 . 53 : 53 }
add element inet kat endpoints {
	10.101.0.6 . 0x4b800000 : 10.100.2.11,
	10.101.0.5 . 0x4b000000 : 10.100.1.10,
	10.101.0.5 . 0x4b000001 : 10.100.1.11,
	10.101.0.5 . 0x4b000002 : 10.100.2.10 }
"""
WALL = """\
# Managed by KAT: services of the namespace shop.
add set inet kat ns-shop { type ipv4_addr; }
add chain inet kat ns-shop
add rule inet kat ns-shop ip saddr @ns-shop accept
add rule inet kat ns-shop goto closed
add element inet kat ns-shop {
	10.100.1.12 }
add element inet kat isolated {
	10.100.1.12 : goto ns-shop }
"""


def test_a_namespace_lists_its_services_ports_and_instances() -> None:
    (shared,) = nft.services(cuts.namespace_view(CLUSTER, "shop", [CART, WEB, PLAIN]))
    assert shared.path == "/etc/kat/services/shop.nft"
    assert shared.activation is Activation.NFT
    assert shared.content.decode() == SHOP


def test_an_isolated_namespace_has_a_wall_around_all_of_its_instances() -> None:
    (shared,) = nft.services(cuts.namespace_view(CLUSTER, "shop", [PLAIN], isolated=True))
    assert shared.content.decode() == WALL


def test_an_open_namespace_without_services_has_no_file() -> None:
    assert nft.services(cuts.namespace_view(CLUSTER, "shop", [PLAIN])) == ()


def test_a_service_without_instances_is_left_out_so_that_calls_are_refused() -> None:
    idle = cuts.balanced(cuts.workload("shop/idle", {}), "10.101.0.9", {"ports": [{"port": 80}]})
    (shared,) = nft.services(cuts.namespace_view(CLUSTER, "shop", [CART, idle]))
    assert "10.101.0.9" not in shared.content.decode()


def test_services_with_equally_many_instances_share_a_chain() -> None:
    other = cuts.balanced(
        cuts.workload("shop/other", THREE), "10.101.0.7", {"ports": [{"port": 80}]}
    )
    (shared,) = nft.services(cuts.namespace_view(CLUSTER, "shop", [other, WEB]))
    assert re.findall("add chain inet kat (.*)", shared.content.decode()) == ["random-3"]


@pytest.mark.parametrize(
    "address",
    ["", "10.100.1", "10.100.1.256", "10.100.1.10\n", "10.100.1.10 }", "::1", "010.1.1.1"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    bad = cuts.workload("shop/bad", {"0": ("a", "10.100.1.9"), "1": ("a", address)})
    with pytest.raises(EncodeError, match="is not an IPv4 address"):
        nft.services(cuts.namespace_view(CLUSTER, "shop", [bad], isolated=True))


@pytest.mark.parametrize("namespace", ["a b", "a}", 'a"', "../a", "a\n"])
def test_a_namespace_that_no_nft_name_can_hold_is_refused(namespace: str) -> None:
    view = cuts.namespace_view(CLUSTER, "shop", [WEB], isolated=True)
    with pytest.raises(EncodeError, match="cannot be the name of an nft object"):
        nft.services(replace(view, name=namespace))


def test_a_workload_whose_name_would_leave_its_comment_is_refused() -> None:
    bad = replace(WEB, key=WorkloadKey("shop/web\nflush ruleset"))
    view = replace(cuts.namespace_view(CLUSTER, "shop", [WEB]), workloads=(bad,))
    with pytest.raises(EncodeError, match="cannot stand in a comment"):
        nft.services(view)
