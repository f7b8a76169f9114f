"""Who owns which number: node subnets, instance addresses, virtual addresses, ranges of host uids.

The lowest free number is given first, so that the same requests in the same order get the same
numbers. What is released
rests and is nobody's until the inventory says that it has rested.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from katgen.model.cluster import ClusterSpec
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Plan, Resting

FIRST_HOST: Final = 10
"""Instances get `.10` and up; `.1` is the node, `.2` to `.9` are reserved (spec §4)."""
UID_BASE: Final = 0x2A000000
"""Above SUB_UID_MAX of login.defs(5), 600,100,000: no useradd hands out the same range."""
UID_RANGE: Final = 65_536
UID_END: Final = 0x70000000
"""Below systemd's foreign and container ranges, https://systemd.io/UIDS-GIDS/."""
UID_RANGES: Final = (UID_END - UID_BASE) // UID_RANGE
_IPV4_BITS: Final = 32
_OCTET: Final = 8


def address_text(number: int) -> str:
    """Return an IPv4 address in dotted form."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def address_number(text: str) -> int:
    """Return the number of a dotted IPv4 address."""
    a, b, c, d = text.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


class Numbers:
    """The numbers 0 to `limit` - 1, each free or used; `take` gives the lowest free one."""

    __slots__ = ("_lowest", "limit", "used")

    def __init__(self, limit: int, used: Iterable[int] = ()) -> None:
        self.limit = limit
        self.used = set(used)
        self._lowest = 0

    def take(self) -> int | None:
        """Use and return the lowest free number, None if there is none."""
        number = self._lowest
        while number in self.used:
            number += 1
        self._lowest = number
        if number >= self.limit:
            return None
        self.used.add(number)
        return number

    def free(self, number: int) -> None:
        """Make a number free again; one that is free stays so."""
        self.used.discard(number)
        self._lowest = min(self._lowest, number)


class Layout:
    """How a cluster's two networks divide: node n's subnet, host h in it, virtual address v."""

    __slots__ = ("bits", "cluster", "hosts", "prefix", "service", "subnets", "virtuals")

    def __init__(self, spec: ClusterSpec) -> None:
        self.bits = spec.node_subnet_bits
        self.prefix = _IPV4_BITS - self.bits
        self.cluster = int(spec.cluster_cidr.network_address)
        self.service = int(spec.service_cidr.network_address)
        self.subnets = max(0, spec.cluster_cidr.num_addresses >> self.bits)
        self.hosts = (1 << self.bits) - 1 - FIRST_HOST
        """How many instances a node has addresses for: from `.10` to the last before broadcast."""
        self.virtuals = max(0, spec.service_cidr.num_addresses - 1)
        """Without the network address; a virtual address needs no broadcast address beside it."""

    def subnet_text(self, number: int) -> str:
        """Return subnet `number` as `10.100.1.0/24`."""
        return f"{address_text(self.cluster + (number << self.bits))}/{self.prefix}"

    def subnet_number(self, text: str) -> int | None:
        """Return which subnet `10.100.1.0/24` is, None if it is none of this layout."""
        base, _, prefix = text.partition("/")
        offset = address_number(base) - self.cluster
        aligned = prefix == str(self.prefix) and offset >= 0 and offset % (1 << self.bits) == 0
        number = offset >> self.bits
        return number if aligned and number < self.subnets else None

    def virtual_text(self, number: int) -> str:
        """Return virtual address `number`, counted from 0."""
        return address_text(self.service + 1 + number)

    def virtual_number(self, text: str) -> int | None:
        """Return which virtual address this is, None if it is outside serviceCIDR."""
        number = address_number(text) - self.service - 1
        return number if 0 <= number < self.virtuals else None


class NodeAddresses:
    """The instance addresses of one node: for each host number, whether it is used or resting."""

    __slots__ = ("_last", "_lowest", "_network", "base", "limit", "taken")

    def __init__(self, subnet: str, bits: int) -> None:
        self.base = address_number(subnet.partition("/")[0])
        self.limit = (1 << bits) - 1
        self.taken = bytearray(self.limit + 1)
        self.taken[:FIRST_HOST] = b"\1" * FIRST_HOST
        self._lowest = FIRST_HOST
        network, _, last = address_text(self.base).rpartition(".")
        self._network = f"{network}." if bits <= _OCTET else ""
        self._last = int(last)

    def claim(self, address: str) -> None:
        """Mark an address of this subnet as used or resting."""
        self.taken[address_number(address) - self.base] = 1

    def take(self) -> str:
        """Use and return the lowest free address. Raises ValueError if there is none."""
        host, taken = self._lowest, self.taken
        while taken[host]:
            host += 1
        if host == self.limit:
            raise ValueError(f"no address is free in the subnet of {address_text(self.base)}")
        taken[host] = 1
        self._lowest = host + 1
        if self._network:
            return f"{self._network}{self._last + host}"
        return address_text(self.base + host)

    @property
    def free(self) -> int:
        """How many addresses `take` can still give."""
        return self.taken.count(0, 0, self.limit)


def uid_base(number: int) -> int:
    """Return the first uid of range `number`."""
    return UID_BASE + number * UID_RANGE


def uid_number(base: int) -> int:
    """Return which range begins at `base`."""
    return (base - UID_BASE) // UID_RANGE


def rested(resting: Mapping[str, Resting], done: frozenset[str]) -> dict[str, Resting]:
    """Return what still rests. With a subnet, the addresses inside it have rested too."""
    ends = [_span(resource) for resource in resting if "/" in resource and resource in done]
    left = {}
    for resource, entry in resting.items():
        if resource in done:
            continue
        number = address_number(resource.partition("/")[0])
        if not any(first <= number <= last for first, last in ends):
            left[resource] = entry
    return left


def _span(cidr: str) -> tuple[int, int]:
    base, _, prefix = cidr.partition("/")
    first = address_number(base)
    return first, first + (1 << (_IPV4_BITS - int(prefix))) - 1


def used_uid_ranges(plan: Plan) -> list[int]:
    """Return the ranges that live and deleted workloads hold."""
    bases = [w.uid_base for w in plan.workloads.values()]
    bases += [r.uid_base for r in plan.retired.values()]
    return [uid_number(base) for base in bases if base]


def used_virtuals(plan: Plan, layout: Layout, resting: Iterable[str]) -> list[int]:
    """Return the virtual addresses that have an owner or rest."""
    texts = [w.virtual_address for w in plan.workloads.values() if w.virtual_address]
    texts += [r for r in resting if "/" not in r]
    numbers = (layout.virtual_number(text) for text in texts)
    return [number for number in numbers if number is not None]


def owner_of_instance(workload: WorkloadKey, ordinal: str, incarnation: int) -> str:
    """Return the owner's name as it stands beside a resting address."""
    return f"{workload}/{ordinal}-{incarnation}"


def owner_of_subnet(node: NodeName) -> str:
    """Return the owner's name as it stands beside a resting subnet."""
    return f"node/{node}"
