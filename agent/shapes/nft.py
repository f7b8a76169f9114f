"""What packet rules of KAT may hold: the data plane of this very KAT, and elements of its maps.

nft reads an include of any file, and a line that it does not understand it shows. So nothing else
gets as far as nft.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

from agent.shapes.lines import CIDR, COMMENT, IP, LABEL, either, strange_lines, strange_text

NODE_FILE: Final = "/etc/kat/kat.nft"
CLUSTER_FILE: Final = "/etc/kat/cluster.nft"
_END: Final = r"(?:,| \})"
_SLOT: Final = r"0x[0-9a-f]{8}"
_VERDICT: Final = r"goto (?:(?:random|sticky)-\d+|ns-[A-Za-z0-9._-]+)"
_PORT: Final = r"\d{1,5}"
_HOST_PORT: Final = re.compile(r"^\t(?:tcp|udp|sctp) \. (\d+) : ", re.MULTILINE)

_NODE: Final = either(
    COMMENT,
    rf"define node_subnet = {CIDR}",
    r'include "/etc/kat/cluster\.nft"',
    r'include "/etc/kat/services/\*\.nft"',
    r'include "/var/lib/kat/endpoints/\*\.nft"',
    r"add element bridge kat instances \{",
    rf'\t"kat-[0-9a-f]{{8}}" \. [0-9a-f:]{{17}} \. {IP}{_END}',
    r"add element inet kat (?:itself|host-ports) \{",
    rf"\t{IP} \. {IP}{_END}",
    rf"\t(?:tcp|udp|sctp) \. {_PORT} : {IP} \. {_PORT}{_END}",
)
_SERVICES: Final = either(
    rf"\t?{COMMENT}",
    r"(?:add|flush) chain inet kat (?:random|sticky)-\d+",
    r"add rule inet kat (?:random|sticky)-\d+ meta mark set numgen random mod \d+ "
    r"offset 0x4b[08]00000 goto balance",
    r"add rule inet kat sticky-\d+ jump balance",
    rf"add set inet kat ns-{LABEL} \{{ type ipv4_addr; \}}",
    rf"add chain inet kat ns-{LABEL}",
    rf"add rule inet kat (ns-{LABEL}) ip saddr @\1 accept",
    rf"add rule inet kat ns-{LABEL} goto closed",
    rf"add element inet kat (?:services|tcp-ports|udp-ports|endpoints|isolated|ns-{LABEL}) \{{",
    rf"\t{IP} : {_VERDICT}{_END}",
    rf"\t{IP} \. {_PORT} : {_PORT}{_END}",
    rf"\t{IP} \. {_SLOT} : {IP}{_END}",
    rf"\t{IP}{_END}",
)


def rule_faults(path: str, text: str) -> Iterator[str]:
    """Yield why a file is none of KAT's packet rules."""
    if path == CLUSTER_FILE:
        if strange_text(text) or _cluster().fullmatch(text) is None:
            yield "it is not the data plane that this KAT has; update KAT on this node first"
        return
    yield from strange_lines(text, _NODE if path == NODE_FILE else _SERVICES)


def host_ports(text: str) -> tuple[int, ...]:
    """Return the machine's ports that rules of a known shape give to instances."""
    return tuple(int(port) for port in _HOST_PORT.findall(text))


@cache
def _cluster() -> re.Pattern[str]:
    plane = files("katgen.units").joinpath("data-plane.nft").read_text(encoding="utf-8")
    tunnel = (
        "\n# Every other node's packets come through the tunnel, which knows their sources.\n"
        'add rule inet kat forged iifname != { "lo", "kat-br0", "kat0" } '
        "ip saddr $cluster_cidr drop\n"
    )
    return re.compile(
        rf"# [^\n]*\ndefine cluster_cidr = {CIDR}\ndefine service_cidr = {CIDR}\n"
        rf"define host_bits = 0\.0\.\d{{1,3}}\.\d{{1,3}}\ndefine bridge_mac = [0-9a-f:]{{17}}\n\n"
        rf"{re.escape(plane)}(?:{re.escape(tunnel)})?"
    )
