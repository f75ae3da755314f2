# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel would do with a packet, read from the compiled rules and entries alone.

It knows the few nftables words that the compiler writes; a rule with another word is an error, never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from xfrmd.errors import LocalProtocolError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import NFPROTO, ElementKey, KeyField, NftTable, pack_key
from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NUMBERS, Packet, Selector
from xfrmd.model.spd import Direction, SpdEntry


class Seen(NamedTuple):
    """A packet in a hook: on no loopback interface, with the hop limit that its protocol asks for."""

    packet: Packet
    own: Collection[Address]
    protected: bool
    """It came out of an SA (inbound) or XFRM found it one (outbound)."""

    @property
    def selector(self) -> Selector:
        """The packet's addresses, protocol and ports."""
        return self.packet.selector


@lru_cache(maxsize=256)
def _numbers(text: str) -> tuple[range, ...]:
    """`5`, `5-7` or `{ 5, 7 }` as ranges."""
    parts = (part.partition("-") for part in text.strip("{ }").split(","))
    return tuple(range(int(first), int(last or first) + 1) for first, _, last in parts)


def _holds(text: str, number: int) -> bool:
    return any(number in numbers for numbers in _numbers(text))


def _end(seen: Seen, name: str) -> Prefix:
    return seen.selector.src if name == "saddr" else seen.selector.dst


def _ports(seen: Seen, protocol: str, side: str, text: str) -> bool:
    port = seen.selector.sport if side == "sport" else seen.selector.dport
    return seen.selector.protocol == PROTOCOL_NUMBERS[protocol] and _holds(text, port.first)


_MLD: Final = {
    "mld-listener-query": "130",
    "mld-listener-report": "131",
    "mld-listener-done": "132",
    "mld2-listener-report": "143",
}


def _icmpv6(seen: Seen, text: str) -> bool:
    for name, number in _MLD.items():
        text = text.replace(name, number)
    return seen.selector.protocol == ICMPV6 and _holds(text, seen.selector.sport.first)


def _is_icmp(seen: Seen, family: int, kind: int, code: int | None = None) -> bool:
    """Is the packet an ICMP message of this IP version and type, and code if one is asked for?"""
    asked, protocol = seen.selector, ICMP if family == 4 else ICMPV6
    alike = (asked.family, asked.protocol, asked.sport.first) == (family, protocol, kind)
    return alike and code in (None, asked.dport.first)


@lru_cache(maxsize=256)
def _prefixes(text: str) -> tuple[Prefix, ...]:
    return tuple(Prefix.parse(part.strip()) for part in text.strip("{ }").split(","))


def _within(seen: Seen, name: str, text: str) -> bool:
    end = _end(seen, name)
    return any(prefix.contains(end) for prefix in _prefixes(text))


_VALUE = r"(\{[^}]*\}|\S+)"
_MATCHES: tuple[tuple[re.Pattern[str], Callable[..., bool]], ...] = tuple(
    (re.compile(pattern), function)
    for pattern, function in (
        (r'[io]ifname "lo"', lambda _: False),
        (r"meta l4proto 6 tproxy ip6? to :1", lambda _: False),  # in a chain that no TCP packet meets
        (r"socket transparent 1", lambda _: False),
        (r"meta mark 0x[0-9a-f]+", lambda _: False),  # released packets have their SA
        (r"meta mark set 0x[0-9a-f]+", lambda _: True),
        (r"counter name \S+", lambda _: True),
        (r"meta l4proto (\d+)", lambda seen, number: seen.selector.protocol == int(number)),
        (r"meta nfproto ipv([46])", lambda seen, family: seen.selector.family == int(family)),
        (r"meta secpath missing", lambda seen: not seen.protected),
        (r"rt ipsec missing", lambda seen: not seen.protected),
        (r"rt ipsec exists", lambda seen: seen.protected),
        (r"fib ([sd]addr) type local", lambda seen, name: _end(seen, name).address in seen.own),
        (rf"(tcp|udp) ([sd]port) {_VALUE}", _ports),
        (r"icmp type destination-unreachable icmp code frag-needed", lambda seen: _is_icmp(seen, 4, 3, 4)),
        (r"icmpv6 type packet-too-big", lambda seen: _is_icmp(seen, 6, 2)),
        (r"@th,\d+,8 50", lambda _: True),  # it quotes ESP, as far as anybody asks
        (rf"icmpv6 type {_VALUE}", _icmpv6),
        (r"ip6 hoplimit (?:255|1)\b", lambda seen: seen.selector.family == 6),
        (r"ip6? ([sd]addr) (\{[^}]*\})", _within),
    )
)
_VMAP = re.compile(r"(.+) vmap @(\S+)$")
_VERDICT = re.compile(r"(accept|drop|queue num \d+|jump (\S+))$")


def _port_field(selector: Selector, name: str) -> int:
    """The 16 bits behind the IP header that nftables calls `th sport` or `th dport`."""
    if selector.protocol in (ICMP, ICMPV6):
        return selector.sport.first << 8 | selector.dport.first if name == "sport" else 0
    return selector.sport.first if name == "sport" else selector.dport.first


def _part(field: KeyField, selector: Selector) -> int | None:
    """The masked value of a key field; None when the packet is of another IP version."""
    layer, _, name = field.words.partition(" ")
    if layer in ("ip", "ip6"):
        if (layer == "ip6") != (selector.family == 6):
            return None
        return (selector.src if name == "saddr" else selector.dst).value & field.mask
    if layer == "th":
        return _port_field(selector, name) & field.mask
    return selector.protocol if name == "l4proto" else NFPROTO[selector.family]


@lru_cache(maxsize=1024)
def _fields(expression: str) -> tuple[KeyField, ...]:
    return tuple(map(KeyField.parse, expression.split(" . ")))


def key(expression: str, selector: Selector) -> ElementKey | None:
    """The key that a map's expression makes of a packet; None when the packet is of another IP version."""
    fields, found = _fields(expression), list[int]()
    for field in fields:
        value = _part(field, selector)
        if value is None:
            return None
        found.append(value)
    return pack_key(fields, found)


class _Rule(NamedTuple):
    """A rule that was read: its matches with their arguments, then a map that is asked, or what happens."""

    matches: tuple[tuple[Callable[..., bool], tuple[str, ...]], ...]
    map: str = ""
    expression: str = ""
    verdict: str = ""
    jump: str = ""


@lru_cache(maxsize=1024)
def _read(text: str) -> _Rule:
    """Read a rule. LocalProtocolError for words that the compiler does not write."""
    vmap = _VMAP.match(text)
    if vmap:
        _fields(vmap[1])
        return _Rule((), map=vmap[2], expression=vmap[1])
    matches: list[tuple[Callable[..., bool], tuple[str, ...]]] = []
    rest = text
    while rest:
        verdict = _VERDICT.fullmatch(rest)
        if verdict:
            return _Rule(tuple(matches), verdict=verdict[1].split()[0], jump=verdict[2] or "")
        for pattern, function in _MATCHES:
            found = pattern.match(rest)
            if found:
                matches.append((function, found.groups()))
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise LocalProtocolError(f"words that the compiler does not write: {rest!r}")
    return _Rule(tuple(matches))


class Interpreter:
    """The table, ready to be asked about packets."""

    def __init__(self, table: NftTable) -> None:
        self._maps = {one.name: one for one in table.maps}
        self._chains = {chain.name: tuple(map(_read, chain.rules)) for chain in table.chains}

    def run(self, chain: str, seen: Seen) -> str:
        """What a base chain does with a packet: accept, drop or queue. A missing chain accepts."""
        return (self._run(chain, seen) if chain in self._chains else None) or "accept"

    def _run(self, chain: str, seen: Seen) -> str | None:
        for rule in self._chains[chain]:
            verdict = self._rule(rule, seen)
            if verdict == "return":
                return None
            if verdict is not None:
                return verdict
        return None

    def _rule(self, rule: _Rule, seen: Seen) -> str | None:
        if rule.map:
            asked = key(rule.expression, seen.selector)
            return None if asked is None else self._maps[rule.map].elements.get(asked)
        for function, arguments in rule.matches:
            if not function(seen, *arguments):
                return None
        return self._run(rule.jump, seen) if rule.jump else rule.verdict or None


class SpdIndex:
    """The SPD, ready to be asked about packets."""

    def __init__(self, spd: Iterable[SpdEntry]) -> None:
        self._entries: dict[tuple[Direction, int], list[SpdEntry]] = {}
        for entry in sorted(spd, key=lambda one: one.priority):
            self._entries.setdefault((entry.direction, entry.selector.family), []).append(entry)

    def matching(self, direction: Direction, packet: Packet) -> Iterator[SpdEntry]:
        """All entries that match a packet, in the order in which XFRM prefers them."""
        entries = self._entries.get((direction, packet.selector.family), ())
        return (one for one in entries if one.selector.contains(packet.selector))


def first_entry(spd: Iterable[SpdEntry], direction: Direction, packet: Packet) -> SpdEntry | None:
    """The SPD entry that XFRM applies to a packet: the matching one with the smallest priority."""
    return next(SpdIndex(spd).matching(direction, packet), None)
