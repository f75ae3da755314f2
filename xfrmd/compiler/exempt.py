# SPDX-License-Identifier: GPL-2.0-or-later
"""What is decided before any filter: one row per exemption, as words, as nftables rule and as SPD selectors.

By default only IKE is exempt (Windows `ipsecexempt` 3), with ESP and AH as the carrier of what it negotiates. IPv6
neighbour discovery and the DHCP client are let through so that a policy which blocks all does not kill the link, and
routers may say that an ESP packet of ours was too big, or long packets would vanish on the way.
Multicast and broadcast are not exempt: permit and block hold for them, negotiate means drop.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import AH, ANY_PORT, ESP, ICMP, ICMPV6, UDP, Packet, Ports, Selector
from xfrmd.model.spd import Direction

LOOPBACK: Final = "exempt-loopback"


class Near(enum.Enum):
    """Which address of an exempt packet must be the host's own."""

    SRC = "src"
    DST = "dst"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Exemption:
    """Packets of one direction that pass before all filters. `families` are IP versions."""

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

    def matches(self, packet: Packet, own: Collection[Address]) -> bool:
        """Does it let this packet pass, on a host with these addresses?"""
        selector = packet.selector
        near = {Near.SRC: selector.src.address, Near.DST: selector.dst.address}.get(self.near)
        return (
            packet.inbound == self.inbound
            and selector.family in self.families
            and selector.protocol == self.protocol
            and (near is None or near in own)
            and any(ports.contains(selector.sport) for ports in self.sports)
            and any(ports.contains(selector.dport) for ports in self.dports)
        )

    def selectors(self) -> Iterator[Selector]:
        """The same as selectors between any addresses."""
        for family in self.families:
            for sport in self.sports:
                for dport in self.dports:
                    yield Selector(Prefix.any(family), Prefix.any(family), self.protocol, sport, dport)


def _port(number: int) -> Ports:
    return Ports(number, number)


_IKE = (_port(500), _port(4500))
_NEIGHBOUR = (Ports(133, 137),)
"""Router and neighbour solicitation and advertisement, redirect (RFC 4861 4)."""
_NEIGHBOUR_RULE = "icmpv6 type 133-137 ip6 hoplimit 255"
"""Hop limit 255: nobody off the link can send it (RFC 4861 11.2)."""
_PMTU_RULE_4 = "icmp type destination-unreachable icmp code frag-needed @th,136,8 50 fib daddr type local"
_PMTU_RULE_6 = "icmpv6 type packet-too-big @th,112,8 50 fib daddr type local"
"""Protocol or next header of the quoted packet is 50. The kernel then looks for an SA with the quoted SPI, and learns
nothing but the size (RFC 4301 8.2)."""

EXEMPTIONS: Final = (
    Exemption("exempt-esp", True, (4, 6), ESP, Near.DST, "meta l4proto 50 fib daddr type local"),
    Exemption("exempt-esp", False, (4, 6), ESP, Near.SRC, "meta l4proto 50 fib saddr type local"),
    Exemption("exempt-ah", True, (4, 6), AH, Near.DST, "meta l4proto 51 fib daddr type local"),
    Exemption("exempt-ah", False, (4, 6), AH, Near.SRC, "meta l4proto 51 fib saddr type local"),
    Exemption("exempt-ike", True, (4, 6), UDP, Near.DST, "udp dport { 500, 4500 } fib daddr type local", dports=_IKE),
    Exemption("exempt-ike", False, (4, 6), UDP, Near.SRC, "udp sport { 500, 4500 } fib saddr type local", sports=_IKE),
    Exemption("exempt-pmtu", True, (4,), ICMP, Near.DST, _PMTU_RULE_4, (_port(3),), (_port(4),), in_spd=True),
    Exemption("exempt-pmtu", True, (6,), ICMPV6, Near.DST, _PMTU_RULE_6, (_port(2),), in_spd=True),
    Exemption("exempt-nd", True, (6,), ICMPV6, Near.NONE, _NEIGHBOUR_RULE, sports=_NEIGHBOUR, in_spd=True),
    Exemption("exempt-nd", False, (6,), ICMPV6, Near.NONE, _NEIGHBOUR_RULE, sports=_NEIGHBOUR, in_spd=True),
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
)  # fmt: skip

_LOOPBACK = {4: Prefix.parse("127.0.0.0/8"), 6: Prefix.parse("::1")}
_MULTICAST = (Prefix.parse("224.0.0.0/4"), Prefix.parse("ff00::/8"))
_BROADCAST = Prefix.parse("255.255.255.255")


def exempts(packet: Packet, own: Collection[Address]) -> str:
    """The name of the exemption that decides a packet before all filters, "" when none does."""
    selector = packet.selector
    near = (selector.src, selector.dst)
    if all(end.address in own or _LOOPBACK[end.family].contains(end) for end in near):
        return LOOPBACK
    return next((row.name for row in EXEMPTIONS if row.matches(packet, own)), "")


def groups(facts: HostFacts) -> tuple[Prefix, ...]:
    """Multicast and broadcast destinations, the broadcast address of each of the host's subnets among them."""
    found = dict.fromkeys((*_MULTICAST, _BROADCAST))
    for interface in facts.interfaces:
        for address, length in interface.addresses:
            if address.family == 4 and length < 31:  # RFC 3021: /31 has no broadcast address
                last = address.value | ((1 << (BITS[4] - length)) - 1)
                found[Prefix(4, last, BITS[4])] = None
    return tuple(sorted(found))


def spd_selectors(own: tuple[Address, ...]) -> Iterator[tuple[Direction, Selector]]:
    """What must bypass XFRM before all filters, where it would meet a filter's entry.

    Loopback: the kernel leaves `lo` alone in IPv4 (sysctl disable_xfrm, disable_policy), but not in IPv6. There
    everything to an address of the host itself goes through `lo`, and comes from one; on real interfaces nftables
    judges such packets.
    """
    any6 = Prefix.any(6)
    for address in (*sorted(address for address in own if address.family == 6), _LOOPBACK[6].address):
        yield Direction.OUT, Selector(any6, Prefix.host(address))
        yield Direction.IN, Selector(Prefix.host(address), any6)
    for row in EXEMPTIONS:
        if row.in_spd:
            for selector in row.selectors():
                yield (Direction.IN if row.inbound else Direction.OUT), selector
