# SPDX-License-Identifier: GPL-2.0-or-later
"""What is decided before any filter: one row per exemption, as words, as nftables rule and as SPD selectors.

By default only IKE is exempt (Windows `ipsecexempt` 3), with ESP and AH as the carrier of what it negotiates; the
levels 0 to 2 exempt more, as in Windows. At every level IPv6 neighbour discovery with the listener reports that
switches need for it, and the DHCP client, are let through so that a policy which blocks all does not kill the link,
and routers may say that an ESP or AH packet of ours was too big, or long packets would vanish on the way.
Multicast and broadcast are exempt at levels 0 and 1 only. Else permit and block hold for them, negotiate means drop.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import AH, ANY_PORT, ESP, ICMP, ICMPV6, TCP, UDP, Packet, Ports, Selector
from xfrmd.model.spd import Direction

LOOPBACK: Final = "exempt-loopback"
DEFAULT_LEVEL: Final = 3
_LEVELS: Final = frozenset(range(4))
_KERBEROS_LEVELS: Final = frozenset({0, 2})
"""Of RSVP too."""
_GROUP_LEVELS: Final = frozenset({0, 1})


class Near(enum.Enum):
    """Which address of an exempt packet must be the host's own."""

    SRC = "src"
    DST = "dst"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Exemption:
    """Packets of one direction that pass before all filters. `families` are IP versions; `protocol` 0 is any."""

    name: str
    inbound: bool
    families: tuple[int, ...]
    protocol: int
    near: Near
    rule: str
    """The same in nftables' words. `exempt-pmtu` asks there what the packet quotes as well."""
    sports: tuple[Ports, ...] = (ANY_PORT,)
    dports: tuple[Ports, ...] = (ANY_PORT,)
    in_spd: bool = False
    """IKE's sockets carry a policy of their own, ESP and AH are never looked up: those need no SPD entry."""
    sources: tuple[Prefix, ...] = ()
    """None: any."""
    groups: tuple[Prefix, ...] = ()
    """The destinations, multicast or broadcast. None: any."""
    levels: frozenset[int] = _LEVELS
    """The values of `ipsecexempt` that it holds at."""
    where: str = ""
    """What no selector says of its packets, as the end of a sentence about one of them."""

    def matches(self, packet: Packet, own: Collection[Address]) -> bool:
        """Does it let this packet pass, on a host with these addresses?"""
        selector = packet.selector
        if packet.inbound != self.inbound or self.protocol not in (0, selector.protocol):
            return False
        near = {Near.SRC: selector.src.address, Near.DST: selector.dst.address}.get(self.near)
        return (
            selector.family in self.families
            and (near is None or near in own)
            and any(ports.contains(selector.sport) for ports in self.sports)
            and any(ports.contains(selector.dport) for ports in self.dports)
            and (not self.sources or any(source.contains(selector.src) for source in self.sources))
            and (not self.groups or any(group.contains(selector.dst) for group in self.groups))
        )

    def selectors(self, own: Collection[Address]) -> Iterator[Selector]:
        """The same as selectors, on a host with these addresses."""
        for family in self.families:
            hosts = [Prefix.host(address) for address in own if address.family == family]
            given = [prefix for prefix in self.sources if prefix.family == family]
            groups = [prefix for prefix in self.groups if prefix.family == family]
            any_ = [Prefix.any(family)]
            sources = hosts if self.near is Near.SRC else given if self.sources else any_
            destinations = hosts if self.near is Near.DST else groups if self.groups else any_
            for src, dst, sport, dport in product(sources, destinations, self.sports, self.dports):
                yield Selector(src, dst, self.protocol, sport, dport)


def _port(number: int) -> Ports:
    return Ports(number, number)


_IKE = (_port(500), _port(4500))
_NEIGHBOUR = (Ports(133, 137),)
"""Router and neighbour solicitation and advertisement, redirect (RFC 4861 4)."""
_NEIGHBOUR_RULE = "icmpv6 type 133-137 ip6 hoplimit 255"
"""Hop limit 255: nobody off the link can send it (RFC 4861 11.2)."""
_LISTENER_REPORTS = (Ports(131, 132), _port(143))
"""Report and done of MLDv1, report of MLDv2. Without them a switch that snoops does not hand on what neighbours ask."""
_LISTENER_SOURCES = (Prefix.parse("::"), Prefix.parse("fe80::/10"))
"""RFC 3810 5.2.13, RFC 2710 3: link-local or, before there is such an address, none."""
_QUERY_RULE = "icmpv6 type mld-listener-query ip6 hoplimit 1 ip6 saddr { fe80::/10 }"
_REPORTS = "icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report }"
_REPORT_RULE = f"{_REPORTS} ip6 hoplimit 1 ip6 saddr {{ ::, fe80::/10 }}"
"""Hop limit 1: it does not leave the link (RFC 3810 5)."""
_PMTU_RULE_4 = "icmp type destination-unreachable icmp code frag-needed @th,136,8 {} fib daddr type local"
_PMTU_RULE_6 = "icmpv6 type packet-too-big @th,112,8 {} fib daddr type local"
"""Protocol or next header of the quoted packet is 50 or 51. The kernel then looks for an SA with the quoted SPI, and
learns nothing but the size (RFC 4301 8.2)."""


_QUOTES = "it quotes an ESP or AH packet"


def _too_big() -> Iterator[Exemption]:
    """The one message about packets of ours that may come in the clear."""
    for family, protocol, rule, kind, code in (
        (4, ICMP, _PMTU_RULE_4, _port(3), _port(4)),
        (6, ICMPV6, _PMTU_RULE_6, _port(2), ANY_PORT),
    ):
        for carrier in (ESP, AH):
            told = rule.format(carrier)
            yield Exemption(
                "exempt-pmtu",
                True,
                (family,),
                protocol,
                Near.DST,
                told,
                (kind,),
                (code,),
                in_spd=True,
                where=_QUOTES,
            )


_FAR, _ONE_HOP = "its hop limit is 255", "its hop limit is 1"


def _kerberos_and_rsvp() -> Iterator[Exemption]:
    """Windows' definitions: TCP or UDP with source or destination port 88; IP protocol 46. From or to this host."""
    for inbound, near in ((True, Near.DST), (False, Near.SRC)):
        local = "fib daddr type local" if inbound else "fib saddr type local"
        for protocol, name in ((TCP, "tcp"), (UDP, "udp")):
            for port, ends in (("sport", ((_port(88),), (ANY_PORT,))), ("dport", ((ANY_PORT,), (_port(88),)))):
                yield Exemption(
                    "exempt-kerberos", inbound, (4, 6), protocol, near, f"{name} {port} 88 {local}", *ends,
                    in_spd=True, levels=_KERBEROS_LEVELS,
                )  # fmt: skip
        yield Exemption(
            "exempt-rsvp", inbound, (4, 6), 46, near, f"meta l4proto 46 {local}", in_spd=True, levels=_KERBEROS_LEVELS
        )


EXEMPTIONS: Final = (
    Exemption("exempt-esp", True, (4, 6), ESP, Near.DST, "meta l4proto 50 fib daddr type local"),
    Exemption("exempt-esp", False, (4, 6), ESP, Near.SRC, "meta l4proto 50 fib saddr type local"),
    Exemption("exempt-ah", True, (4, 6), AH, Near.DST, "meta l4proto 51 fib daddr type local"),
    Exemption("exempt-ah", False, (4, 6), AH, Near.SRC, "meta l4proto 51 fib saddr type local"),
    Exemption("exempt-ike", True, (4, 6), UDP, Near.DST, "udp dport { 500, 4500 } fib daddr type local", dports=_IKE),
    Exemption("exempt-ike", False, (4, 6), UDP, Near.SRC, "udp sport { 500, 4500 } fib saddr type local", sports=_IKE),
    *_too_big(),
    Exemption("exempt-nd", True, (6,), ICMPV6, Near.NONE, _NEIGHBOUR_RULE, _NEIGHBOUR, in_spd=True, where=_FAR),
    Exemption("exempt-nd", False, (6,), ICMPV6, Near.NONE, _NEIGHBOUR_RULE, _NEIGHBOUR, in_spd=True, where=_FAR),
    Exemption(
        "exempt-mld", True, (6,), ICMPV6, Near.NONE, _QUERY_RULE, (_port(130),), in_spd=True,
        sources=_LISTENER_SOURCES[1:], where=_ONE_HOP,
    ),
    Exemption(
        "exempt-mld", False, (6,), ICMPV6, Near.NONE, _REPORT_RULE, _LISTENER_REPORTS, in_spd=True,
        sources=_LISTENER_SOURCES, where=_ONE_HOP,
    ),
    Exemption(
        "exempt-dhcp", True, (4,), UDP, Near.NONE, "meta nfproto ipv4 udp sport 67 udp dport 68",
        (_port(67),), (_port(68),), in_spd=True,
    ),
    Exemption(
        "exempt-dhcp", False, (4,), UDP, Near.NONE, "meta nfproto ipv4 udp sport 68 udp dport 67",
        (_port(68),), (_port(67),), in_spd=True,
    ),
    Exemption(
        "exempt-dhcp", True, (6,), UDP, Near.NONE, "meta nfproto ipv6 udp sport 547 udp dport 546",
        (_port(547),), (_port(546),), in_spd=True,
    ),
    Exemption(
        "exempt-dhcp", False, (6,), UDP, Near.NONE, "meta nfproto ipv6 udp sport 546 udp dport 547",
        (_port(546),), (_port(547),), in_spd=True,
    ),
    *_kerberos_and_rsvp(),
)  # fmt: skip

_LOOPBACK = {4: Prefix.parse("127.0.0.0/8"), 6: Prefix.parse("::1")}
_MULTICAST = (Prefix.parse("224.0.0.0/4"), Prefix.parse("ff00::/8"))
_BROADCAST = Prefix.parse("255.255.255.255")


def groups_exempt(level: int) -> bool:
    """Are multicast and broadcast exempt at this `ipsecexempt`?"""
    return level in _GROUP_LEVELS


def _group_rows(groups: tuple[Prefix, ...]) -> Iterator[Exemption]:
    multicast = tuple(group for group in groups if group in _MULTICAST)
    broadcast = tuple(group for group in groups if group not in _MULTICAST)
    for inbound, (name, family, ours) in product(
        (True, False),
        (
            ("exempt-multicast", 4, tuple(group for group in multicast if group.family == 4)),
            ("exempt-multicast", 6, tuple(group for group in multicast if group.family == 6)),
            ("exempt-broadcast", 4, broadcast),
        ),
    ):
        rule = f"{'ip' if family == 4 else 'ip6'} daddr {{ {', '.join(map(str, ours))} }}"
        if ours:
            yield Exemption(
                name, inbound, (family,), 0, Near.NONE, rule, in_spd=True, groups=ours, levels=_GROUP_LEVELS
            )


@lru_cache(maxsize=64)
def exemptions(level: int, groups: tuple[Prefix, ...]) -> tuple[Exemption, ...]:
    """What is exempt at this `ipsecexempt`, on a host with these multicast and broadcast destinations."""
    rows = (*EXEMPTIONS, *_group_rows(groups))
    return tuple(row for row in rows if level in row.levels)


def exempts(
    packet: Packet, own: Collection[Address], level: int = DEFAULT_LEVEL, groups: tuple[Prefix, ...] = ()
) -> str:
    """The name of the exemption that decides a packet before all filters, "" when none does."""
    selector = packet.selector
    near = (selector.src, selector.dst)
    if all(end.address in own or _LOOPBACK[end.family].contains(end) for end in near):
        return LOOPBACK
    return next((row.name for row in exemptions(level, groups) if row.matches(packet, own)), "")


def condition(name: str) -> str:
    """What must hold of a packet besides, for the exemption of this name to let it pass; "" for nothing."""
    return next((row.where for row in EXEMPTIONS if row.name == name), "")


def groups(facts: HostFacts) -> tuple[Prefix, ...]:
    """Multicast and broadcast destinations, the broadcast address of each of the host's subnets among them."""
    found = dict.fromkeys((*_MULTICAST, _BROADCAST))
    for interface in facts.interfaces:
        for address, length in interface.addresses:
            if address.family == 4 and length < 31:  # RFC 3021: /31 has no broadcast address
                last = address.value | ((1 << (BITS[4] - length)) - 1)
                found[Prefix(4, last, BITS[4])] = None
    return tuple(sorted(found))


def spd_selectors(
    own: tuple[Address, ...], level: int = DEFAULT_LEVEL, groups: tuple[Prefix, ...] = ()
) -> Iterator[tuple[Direction, Selector]]:
    """What must bypass XFRM before all filters, where it would meet a filter's entry.

    Loopback: the kernel leaves `lo` alone in IPv4 (sysctl disable_xfrm, disable_policy), but not in IPv6. There
    everything to an address of the host itself goes through `lo`, and comes from one; on real interfaces nftables
    judges such packets.
    """
    any6 = Prefix.any(6)
    for address in (*sorted(address for address in own if address.family == 6), _LOOPBACK[6].address):
        yield Direction.OUT, Selector(any6, Prefix.host(address))
        yield Direction.IN, Selector(Prefix.host(address), any6)
    for row in exemptions(level, groups):
        if row.in_spd:
            for selector in row.selectors(own):
                yield (Direction.IN if row.inbound else Direction.OUT), selector
