"""Packet rules of others that would drop KAT's traffic, and the command that mends each.

An accept in KAT's tables never overrides a drop in another, nft(8): whoever owns the other rules
must let KAT's links through. Input is `nft -j list ruleset`, libnftables-json(5), and what
`iptables-legacy -S` prints, whose rules nft does not show.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from katgen.errors import Problem, Source

OWN_TABLES: Final = frozenset({"kat", "kat_state"})
LINKS: Final = ("kat-br0", "kat0")
_FAMILIES: Final = frozenset({"ip", "inet"})
_HOOKS: Final = ("forward", "input")
_QUIET: Final = frozenset({"counter", "log", "comment"})
"""Expressions that match nothing away."""
_DEPTH: Final = 16

Rule = Sequence[Mapping[str, Any]]  # type: ignore[explicit-any,unused-ignore] # nft's JSON, as it comes


@dataclass(frozen=True, slots=True)
class Ports:
    """What this node must hear from others: TCP and UDP ports."""

    tcp: tuple[int, ...]
    udp: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """One rule that lets KAT's traffic through: as nft writes it, and what it looks at."""

    text: str
    key: str  # iifname, oifname, tcp dport, udp dport
    values: frozenset[str | int]


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain, or one that others jump to (`hook` is '')."""

    family: str
    table: str
    name: str
    hook: str
    policy: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def found(ruleset: bytes, ports: Ports) -> tuple[Problem, ...]:
    """Return a problem for each chain of others that drops what KAT needs."""
    chains, rules = _read(ruleset)
    return tuple(
        problem
        for chain in chains.values()
        if chain.hook in _HOOKS and chain.family in _FAMILIES and chain.table not in OWN_TABLES
        for problem in _judge(chain, rules, ports)
    )


def found_legacy(listing: str, ports: Ports) -> tuple[Problem, ...]:
    """Return a problem for each chain of `iptables-legacy -S` whose policy drops what KAT needs."""
    problems = []
    for hook in _HOOKS:
        chain = hook.upper()
        if re.search(rf"^-P {chain} DROP$", listing, re.MULTILINE) is None:
            continue
        wanted = [
            w for w in _legacy_needs(hook, ports) if f"-A {chain} {w} -j ACCEPT" not in listing
        ]
        if wanted:
            commands = "; ".join(f"iptables-legacy -I {chain} {w} -j ACCEPT" for w in wanted)
            what = f"its policy drops traffic that KAT needs in {hook}"
            problems.append(
                Problem(Source(f"iptables-legacy chain {chain}"), what, _mend(commands))
            )
    return tuple(problems)


def needs(hook: str, ports: Ports) -> tuple[Need, ...]:
    """Return the rules without which a chain at this hook that drops the rest breaks KAT."""
    if hook == "forward":
        return tuple(
            Need(f'{key} "kat-br0" accept', key, frozenset({"kat-br0"}))
            for key in ("iifname", "oifname")
        )
    links = ", ".join(f'"{link}"' for link in LINKS)
    wanted = [Need(f"iifname {{ {links} }} accept", "iifname", frozenset(LINKS))]
    for protocol, numbers in (("tcp", ports.tcp), ("udp", ports.udp)):
        if numbers:
            listed = ", ".join(map(str, numbers))
            text = f"{protocol} dport {{ {listed} }} accept"
            wanted.append(Need(text, f"{protocol} dport", frozenset(numbers)))
    return tuple(wanted)


def _judge(chain: Chain, rules: Mapping[str, list[Rule]], ports: Ports) -> Iterator[Problem]:
    end = _end(chain, rules)
    if end not in ("drop", "reject"):
        return
    own = rules.get(str(chain), [])
    missing = [need for need in needs(chain.hook, ports) if not _is_met(need, own)]
    if missing:
        what = f"it would {end} traffic that KAT needs in {chain.hook}"
        yield Problem(Source(f"nft chain {chain}"), what, _mend(_command(chain, missing)))


def _command(chain: Chain, missing: Iterable[Need]) -> str:
    if chain.table == "firewalld":
        links = " ".join(f"--add-interface={link}" for link in LINKS)
        return f"firewall-cmd --permanent --zone=trusted {links}; firewall-cmd --reload"
    return "; ".join(f"nft insert rule {chain} '{need.text}'" for need in missing)


def _mend(commands: str) -> str:
    return f"run `{commands}`, and keep it in your firewall's own files"


def _read(ruleset: bytes) -> tuple[dict[str, Chain], dict[str, list[Rule]]]:
    """Return chains, and rules by chain, in nft's order. What is no ruleset is an empty one."""
    try:
        items = msgspec.json.decode(ruleset)["nftables"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return {}, {}
    chains: dict[str, Chain] = {}
    rules: dict[str, list[Rule]] = {}
    for item in items:
        if "chain" in item:
            of = item["chain"]
            hook, policy = of.get("hook", ""), of.get("policy", "")
            if hook and of.get("type") != "filter":
                continue  # a nat or route chain sees but the first packet, and seldom drops
            chain = Chain(of["family"], of["table"], of["name"], hook, policy)
            chains[str(chain)] = chain
        elif "rule" in item:
            of = item["rule"]
            rules.setdefault(f"{of['family']} {of['table']} {of['chain']}", []).append(of["expr"])
    return chains, rules


def _end(chain: Chain, rules: Mapping[str, list[Rule]], depth: int = 0) -> str:
    """Return what becomes of a packet that no condition of a chain matches, '' if nothing yet."""
    for rule in rules.get(str(chain), []):
        said = [e for e in rule if not (e.keys() <= _QUIET)]
        if len(said) != 1 or depth > _DEPTH:
            continue  # a condition stands before its verdict
        (kind, target), *_ = said[0].items()
        if kind == "xt":  # a target of iptables' that nft has no words for
            kind = {"DROP": "drop", "REJECT": "reject"}.get((target or {}).get("name", ""), kind)
        if kind in ("accept", "drop", "reject"):
            return kind
        if kind == "return":
            break
        if kind in ("jump", "goto"):
            other = Chain(chain.family, chain.table, target["target"], "", "")
            verdict = _end(other, rules, depth + 1)
            if verdict or kind == "goto":
                return verdict or chain.policy
    return chain.policy


def _is_met(need: Need, rules: Iterable[Rule]) -> bool:
    """Whether rules that look at nothing else accept all that is needed."""
    seen: set[str | int] = set()
    for rule in rules:
        said = [e for e in rule if not (e.keys() <= _QUIET)]
        if len(said) == 2 and "accept" in said[1] and "match" in said[0]:  # noqa: PLR2004 -- a match and its verdict
            match = said[0]["match"]
            if match.get("op") in ("==", "in") and _key(match.get("left")) == need.key:
                seen |= set(_values(match.get("right")))
    return need.values <= seen


def _key(left: object) -> str:
    match left:
        case {"meta": {"key": str(key)}}:
            return key
        case {"payload": {"protocol": str(protocol), "field": str(field)}}:
            return f"{protocol} {field}"
    return ""


def _values(right: object) -> Iterator[str | int]:
    match right:
        case str() | int():
            yield right
        case {"set": list(members)}:
            for member in members:
                yield from _values(member)


def _legacy_needs(hook: str, ports: Ports) -> tuple[str, ...]:
    if hook == "forward":
        return ("-i kat-br0", "-o kat-br0")
    heard = [("tcp", port) for port in ports.tcp] + [("udp", port) for port in ports.udp]
    links = tuple(f"-i {link}" for link in LINKS)
    return (*links, *(f"-p {name} -m {name} --dport {port}" for name, port in heard))
