# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel would do with a packet, read from the compiled rules and entries alone.

It knows the few nftables words that the compiler writes; a rule with another word is an error, never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from xfrmd.errors import LocalProtocolError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import NFPROTO, ElementKey, KeyField, NftMap, NftTable, pack_key, unpack_key
from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NUMBERS, Packet, Selector
from xfrmd.model.spd import Direction, SpdEntry


class Seen(NamedTuple):
    """A packet in a hook: on no loopback interface, with the hop limit that its protocol asks for."""

    packet: Packet
    own: Collection[Address]
    protected: bool
    """It came out of an SA (inbound) or XFRM found it one (outbound)."""
    answers: bool = False
    """It answers a packet that passed the other way."""

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
        (r"meta priority (?:none|[0-9a-f]+:[0-9a-f]+)", lambda _: False),  # nothing translates a source here
        (r"meta priority set \S+", lambda _: True),
        (r"ipsec out reqid != \S+", lambda _: False),
        (r"counter name \S+", lambda _: True),
        (r"meta l4proto (\d+)", lambda seen, number: seen.selector.protocol == int(number)),
        (r"meta nfproto ipv([46])", lambda seen, family: seen.selector.family == int(family)),
        (r"meta secpath missing", lambda seen: not seen.protected),
        (r"rt ipsec missing", lambda seen: not seen.protected),
        (r"rt ipsec exists", lambda seen: seen.protected),
        (r"ct state established(?:,related)? ct direction reply", lambda seen: seen.answers),
        (r"fib ([sd]addr) type local", lambda seen, name: _end(seen, name).address in seen.own),
        (rf"(tcp|udp) ([sd]port) {_VALUE}", _ports),
        (r"icmp type destination-unreachable icmp code frag-needed", lambda seen: _is_icmp(seen, 4, 3, 4)),
        (r"icmpv6 type packet-too-big", lambda seen: _is_icmp(seen, 6, 2)),
        (r"@th,\d+,8 5[01]", lambda _: True),  # it quotes ESP or AH, as far as anybody asks
        (rf"icmpv6 type {_VALUE}", _icmpv6),
        (r"ip6 hoplimit (?:255|1)\b", lambda seen: seen.selector.family == 6),
        (r"ip6? ([sd]addr) (\{[^}]*\})", _within),
    )
)
_VMAP = re.compile(r"(.+) vmap @(\S+)$")
_UNKNOWN = re.compile(r"(.+) != @(\S+) goto (\S+)$")
_TEST = re.compile(r"(th [sd]port(?: & \d+)?)(?: ==)? @(\S+) ")
_VERDICT = re.compile(r"(accept|drop|queue num \d+|(?:jump|goto) \S+)$")


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


_Told = str | None
"""Of a rule or a chain: a verdict, "return", or None where the next rule is asked."""
_Step = Callable[[Seen, int], _Told]
"""A rule made ready. The number is the packet's `_header`, made once for all maps."""

_PLACES: Final = {
    "meta nfproto": 0,
    "meta l4proto": 8,
    "th sport": 16,
    "th dport": 32,
    "ip saddr": 48,
    "ip6 saddr": 48,
    "ip daddr": 176,
    "ip6 daddr": 176,
}
"""Where a field stands in a `_header`: bits from the right."""


def _header(selector: Selector) -> int:
    """All that a map may ask about, side by side in one number: a map's key is then one mask away."""
    sport, dport = _port_field(selector, "sport"), _port_field(selector, "dport")
    small = NFPROTO[selector.family] | selector.protocol << 8 | sport << 16 | dport << 32
    return small | selector.src.value << 48 | selector.dst.value << 176


_Look = Callable[[Seen, int], tuple[bool, str | None]]
"""Can a packet be asked about at all, and what a map has for it."""


def _look_up(expression: str, one: NftMap) -> _Look:
    fields = _fields(expression)
    layers = {field.words.partition(" ")[0] for field in fields}
    if {"ip", "ip6"} <= layers:  # the kernel never sees such a packet
        return lambda *_: (False, None)
    places = [_PLACES[field.words] for field in fields]
    elements = {
        sum(value << place for value, place in zip(unpack_key(one.fields, packed), places, strict=True)): verdict
        for packed, verdict in one.elements.items()
    }
    mask = sum(field.mask << place for field, place in zip(fields, places, strict=True))
    family = 4 if "ip" in layers else 6 if "ip6" in layers else 0

    def look(seen: Seen, header: int) -> tuple[bool, str | None]:
        asked = family in (0, seen.packet.selector.family)
        return asked, elements.get(header & mask) if asked else None

    return look


def _asked(text: str, name: str, maps: Mapping[str, NftMap]) -> _Step:
    """A verdict map, behind the sets that a packet's ports must be in."""
    tests = list[_Look]()
    while test := _TEST.match(text):
        tests.append(_look_up(test[1], maps[test[2]]))
        text = text[test.end() :]
    look = _look_up(text, maps[name])

    def step(seen: Seen, header: int) -> _Told:
        return look(seen, header)[1] if all(test(seen, header)[1] is not None for test in tests) else None

    return step


_Match = tuple[Callable[..., bool], tuple[str, ...]]


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[tuple[_Match, ...], str]:
    """A rule's matches with their arguments, and its verdict. LocalProtocolError for words of no compiler."""
    matches: list[_Match] = []
    rest = text
    while rest and not _VERDICT.fullmatch(rest):
        for pattern, function in _MATCHES:
            found = pattern.match(rest)
            if found:
                matches.append((function, found.groups()))
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise LocalProtocolError(f"words that the compiler does not write: {rest!r}")
    return tuple(matches), rest


class Interpreter:
    """The table, ready to be asked about packets."""

    def __init__(self, table: NftTable) -> None:
        maps = {one.name: one for one in table.maps}
        self._chains: dict[str, tuple[_Step, ...]] = {}
        for chain in table.chains:
            self._chains[chain.name] = tuple(self._step(text, maps) for text in chain.rules)

    def run(self, chain: str, seen: Seen) -> str:
        """What a base chain does with a packet: accept, drop or queue. A missing chain accepts."""
        return (self._run(chain, seen, _header(seen.selector)) if chain in self._chains else None) or "accept"

    def _run(self, chain: str, seen: Seen, header: int) -> _Told:
        for step in self._chains[chain]:
            told = step(seen, header)
            if told is not None:
                return None if told == "return" else told
        return None

    def _step(self, text: str, maps: Mapping[str, NftMap]) -> _Step:
        unknown, vmap = _UNKNOWN.match(text), _VMAP.match(text)
        if unknown:
            return self._unless(_look_up(unknown[1], maps[unknown[2]]), unknown[3])
        if vmap:
            return _asked(vmap[1], vmap[2], maps)
        matches, verdict = _read(text)
        word, _, target = verdict.partition(" ")

        def step(seen: Seen, header: int) -> _Told:
            for function, arguments in matches:
                if not function(seen, *arguments):
                    return None
            if word == "goto":
                return self._run(target, seen, header) or "return"
            return self._run(target, seen, header) if word == "jump" else word or None

        return step

    def _unless(self, look: _Look, target: str) -> _Step:
        """Go on in another chain if a set does not have a packet."""

        def step(seen: Seen, header: int) -> _Told:
            asked, found = look(seen, header)
            return self._run(target, seen, header) or "return" if asked and found is None else None

        return step


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
