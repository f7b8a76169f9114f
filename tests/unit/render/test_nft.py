"""What a node's own packet rules say, and what all nodes share."""

import pytest

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.render import nft
from katgen.render.nft_words import comment, element_lines, name
from tests import cuts

WEB = cuts.workload(
    "shop/web",
    {"0": ("a", "10.100.1.10"), "1": ("b", "10.100.2.10")},
    container={
        "ports": [
            {"containerPort": 8080, "hostPort": 80},
            {"containerPort": 5353, "hostPort": 53, "protocol": "UDP"},
            {"containerPort": 9090},
        ]
    },
)
NODE_A = """\
# Managed by KAT; an edit is reported as drift.
define node_subnet = 10.100.1.0/24
include "/etc/kat/cluster.nft"
add element bridge kat instances {
	"kat-0a64010a" . 0a:4b:0a:64:01:0a . 10.100.1.10 }
add element inet kat itself {
	10.100.1.10 . 10.100.1.10 }
add element inet kat host-ports {
	tcp . 80 : 10.100.1.10 . 8080,
	udp . 53 : 10.100.1.10 . 5353 }
include "/etc/kat/services/*.nft"
include "/var/lib/kat/endpoints/*.nft"
"""


def test_a_node_pins_its_instances_and_maps_its_host_ports() -> None:
    (own,) = nft.node(cuts.node_view(cuts.cluster(), "a", [WEB]))
    assert own.path == "/etc/kat/kat.nft"
    assert own.activation is Activation.NFT
    assert own.content.decode() == NODE_A


def test_a_node_without_instances_still_gets_the_rules() -> None:
    (own,) = nft.node(cuts.node_view(cuts.cluster(), "c", [WEB]))
    assert own.content.decode() == (
        "# Managed by KAT; an edit is reported as drift.\n"
        "define node_subnet = 10.100.3.0/24\n"
        'include "/etc/kat/cluster.nft"\n'
        'include "/etc/kat/services/*.nft"\n'
        'include "/var/lib/kat/endpoints/*.nft"\n'
    )


def test_the_shared_rules_begin_with_the_clusters_settings() -> None:
    (shared,) = nft.cluster(cuts.cluster(nodeSubnetBits=10, serviceCIDR="10.102.0.0/16"))
    assert shared.path == "/etc/kat/cluster.nft"
    assert shared.content.decode().splitlines()[:5] == [
        "# Managed by KAT; an edit is reported as drift.",
        "define cluster_cidr = 10.100.0.0/16",
        "define service_cidr = 10.102.0.0/16",
        "define host_bits = 0.0.3.255",
        "define bridge_mac = 0a:4b:00:00:00:00",
    ]


@pytest.mark.parametrize(("overlay", "expected"), [("wireguard", True), ("host-gateway", False)])
def test_only_a_tunnel_vouches_for_the_sources_of_other_nodes(overlay: str, expected: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    (shared,) = nft.cluster(cuts.cluster(overlay=overlay))
    rule = b'iifname != { "lo", "kat-br0", "kat0" } ip saddr $cluster_cidr drop'
    assert (rule in shared.content) is expected


@pytest.mark.parametrize(
    "text", ["", "1st", "a b", "a{", "a;", "a\n", "a#", "é", "a" * 128, '"a"', "$a", "a/b"]
)
def test_a_name_that_nft_would_not_read_as_one_word_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="cannot be the name of an nft object"):
        name(text)


@pytest.mark.parametrize("text", ["a\nflush ruleset", "a\rb", "a\0", "a\u2028b", "a\x1b"])
def test_a_comment_does_not_leave_its_line(text: str) -> None:
    with pytest.raises(EncodeError, match="cannot stand in a comment"):
        comment(text)


def test_no_elements_are_no_command() -> None:
    assert element_lines("inet kat services", []) == ""
    assert element_lines("inet kat s", ["1", "2"]) == "add element inet kat s {\n\t1,\n\t2 }\n"
