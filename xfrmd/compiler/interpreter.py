# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel would do with a packet, read from the compiled rules and entries alone.

It knows the few nftables words that the compiler writes; a rule with another word is an error, never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
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


def _numbers(text: str) -> Iterator[range]:
    """`5`, `5-7` or `{ 5, 7 }` as ranges."""
    for part in text.strip("{ }").split(","):
        first, _, last = part.partition("-")
        yield range(int(first), int(last or first) + 1)


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


def _within(seen: Seen, name: str, text: str) -> bool:
    return any(Prefix.parse(part.strip()).contains(_end(seen, name)) for part in text.strip("{ }").split(","))


_VALUE = r"(\{[^}]*\}|\S+)"
_MATCHES: tuple[tuple[re.Pattern[str], Callable[..., bool]], ...] = tuple(
    (re.compile(pattern), function)
    for pattern, function in (
        (r'[io]ifname "lo"', lambda _: False),
        (r"meta l4proto 6 tproxy ip6? to :1", lambda _: False),  # in a chain that no TCP packet meets
        (r"socket transparent 1", lambda _: False),
        (r"meta mark 0x[0-9a-f]+", lambda _: False),  # released packets have their SA
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


def key(expression: str, selector: Selector) -> ElementKey | None:
    """The key that a map's expression makes of a packet; None when the packet is of another IP version."""
    fields = tuple(map(KeyField.parse, expression.split(" . ")))
    values = [_part(field, selector) for field in fields]
    found = [value for value in values if value is not None]
    return pack_key(fields, found) if len(found) == len(values) else None


class Interpreter:
    """The table, ready to be asked about packets."""

    def __init__(self, table: NftTable) -> None:
        self._maps = {one.name: one for one in table.maps}
        self._chains = {chain.name: chain for chain in table.chains}

    def run(self, chain: str, seen: Seen) -> str:
        """What a base chain does with a packet: accept, drop or queue. A missing chain accepts."""
        return (self._run(chain, seen) if chain in self._chains else None) or "accept"

    def _run(self, chain: str, seen: Seen) -> str | None:
        for rule in self._chains[chain].rules:
            verdict = self._rule(rule, seen)
            if verdict == "return":
                return None
            if verdict is not None:
                return verdict
        return None

    def _rule(self, rule: str, seen: Seen) -> str | None:
        vmap = _VMAP.match(rule)
        if vmap:
            asked = key(vmap[1], seen.selector)
            return None if asked is None else self._maps[vmap[2]].elements.get(asked)
        rest = rule
        while rest:
            verdict = _VERDICT.match(rest)
            if verdict:
                return self._run(verdict[2], seen) if verdict[2] else verdict[1].split()[0]
            rest, holds = _match(rest, seen)
            if not holds:
                return None
        return None


def _match(text: str, seen: Seen) -> tuple[str, bool]:
    """Try the first match of a rule: what follows it, and whether it holds."""
    for pattern, function in _MATCHES:
        found = pattern.match(text)
        if found:
            return text[found.end() :].lstrip(), function(seen, *found.groups())
    raise LocalProtocolError(f"words that the compiler does not write: {text!r}")


def first_entry(spd: Iterable[SpdEntry], direction: Direction, packet: Packet) -> SpdEntry | None:
    """The SPD entry that XFRM applies to a packet: the matching one with the smallest priority."""
    matching = (one for one in spd if one.direction is direction and one.selector.contains(packet.selector))
    return min(matching, key=lambda one: one.priority, default=None)
