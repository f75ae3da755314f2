# SPDX-License-Identifier: GPL-2.0-or-later
"""Selectors (RFC 4301 4.4.1.1): which packets a filter, an SPD entry or an SA speaks of."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd.model.addresses import Prefix

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ESP: Final = 50
AH: Final = 51
ICMPV6: Final = 58
SCTP: Final = 132

WITH_PORTS: Final = frozenset({TCP, UDP, 33, SCTP, 136})
"""Protocols whose first four octets are ports: TCP, UDP, DCCP, SCTP, UDP-Lite."""

PROTOCOL_NAMES: Final = {
    ICMP: "icmp",
    TCP: "tcp",
    UDP: "udp",
    ESP: "esp",
    AH: "ah",
    ICMPV6: "icmpv6",
    33: "dccp",
    46: "rsvp",
    47: "gre",
    89: "ospf",
    112: "vrrp",
    115: "l2tp",
    SCTP: "sctp",
    136: "udplite",
    255: "raw",
}
PROTOCOL_NUMBERS: Final = {name: number for number, name in PROTOCOL_NAMES.items()} | {"ipv6-icmp": ICMPV6}


class Ports(NamedTuple):
    """Ports first..last, both included. For ICMP and ICMPv6 the source "port" is the type and the destination
    "port" is the code, as the kernel's selectors have it; 0..65535 is any.
    """

    first: int
    last: int

    @property
    def is_any(self) -> bool:
        """True when every port is meant."""
        return self.first == 0 and self.last == 65535

    @property
    def width(self) -> int:
        """How many ports are meant, 1..65536."""
        return self.last - self.first + 1

    def contains(self, other: Ports) -> bool:
        """Is every port of `other` among these?"""
        return self.first <= other.first and other.last <= self.last

    def overlaps(self, other: Ports) -> bool:
        """Do the two share a port?"""
        return self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        if self.is_any:
            return "any"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


ANY_PORT: Final = Ports(0, 65535)


class Selector(NamedTuple):
    """Packets from `src` to `dst` with this protocol (0 = any) and these ports. Both prefixes are of one family."""

    src: Prefix
    dst: Prefix
    protocol: int = 0
    sport: Ports = ANY_PORT
    dport: Ports = ANY_PORT

    @property
    def family(self) -> int:
        """IP version, 4 or 6."""
        return self.src.family

    @property
    def reversed(self) -> Selector:
        """The packets of the other direction. An ICMP type and code stay where they are: they are no ports."""
        if self.protocol in (ICMP, ICMPV6):
            return Selector(self.dst, self.src, self.protocol, self.sport, self.dport)
        return Selector(self.dst, self.src, self.protocol, self.dport, self.sport)

    def contains(self, other: Selector) -> bool:
        """Is every packet of `other` a packet of this one?"""
        return (
            self.protocol in (0, other.protocol)
            and self.src.contains(other.src)
            and self.dst.contains(other.dst)
            and self.sport.contains(other.sport)
            and self.dport.contains(other.dport)
        )

    def overlaps(self, other: Selector) -> bool:
        """Is there a packet that both speak of?"""
        return (
            (self.protocol == other.protocol or 0 in (self.protocol, other.protocol))
            and self.src.overlaps(other.src)
            and self.dst.overlaps(other.dst)
            and self.sport.overlaps(other.sport)
            and self.dport.overlaps(other.dport)
        )

    def intersection(self, other: Selector) -> Selector | None:
        """The packets that both speak of, None when there are none."""
        if not self.overlaps(other):
            return None
        return Selector(
            max(self.src, other.src, key=lambda p: p.length),
            max(self.dst, other.dst, key=lambda p: p.length),
            self.protocol or other.protocol,
            Ports(max(self.sport.first, other.sport.first), min(self.sport.last, other.sport.last)),
            Ports(max(self.dport.first, other.dport.first), min(self.dport.last, other.dport.last)),
        )

    def __str__(self) -> str:
        name = "any" if self.protocol == 0 else PROTOCOL_NAMES.get(self.protocol, str(self.protocol))

        def end(prefix: Prefix, ports: Ports) -> str:
            text = "any" if prefix.length == 0 else str(prefix)
            if ports.is_any:
                return text
            return f"[{text}]:{ports}" if prefix.family == 6 else f"{text}:{ports}"

        if self.protocol in (ICMP, ICMPV6):
            kind = "" if self.sport.is_any else f" type {self.sport}"
            code = "" if self.dport.is_any else f" code {self.dport}"
            return f"{end(self.src, ANY_PORT)} -> {end(self.dst, ANY_PORT)} {name}{kind}{code}"
        return f"{end(self.src, self.sport)} -> {end(self.dst, self.dport)} {name}"


class Packet(NamedTuple):
    """One packet as `explain` and the oracle see it. `inbound` tells the hook; ports as in Ports."""

    inbound: bool
    selector: Selector
    """Host prefixes and single ports; protocol is never 0; ports are 0..0 where the protocol has none."""

    def __str__(self) -> str:
        """Its selector, without ports where the protocol has none."""
        if self.selector.protocol in (*WITH_PORTS, ICMP, ICMPV6):
            return str(self.selector)
        return str(self.selector._replace(sport=ANY_PORT, dport=ANY_PORT))
