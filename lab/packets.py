# SPDX-License-Identifier: GPL-2.0-or-later
"""What a captured frame is: addresses, protocol, ports, and whether IPsec protects it.

It is used to prove that nothing went in the clear, so it errs to that side: what cannot be told apart counts as clear.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ICMP, IPIP, TCP, UDP, IPV6, ESP, AH, ICMPV6 = 1, 4, 6, 17, 41, 50, 51, 58
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "icmpv6": ICMPV6, "esp": ESP, "ah": AH}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_VLAN = frozenset({0x8100, 0x88A8, 0x9100})
_FRAGMENT = 44
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
"""Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in units of 8 octets after the first 8."""
_NEIGHBOUR_DISCOVERY = range(133, 138)
_NEST = 4
"""IP packets inside IP packets that are looked into."""


class Kind(enum.Enum):
    """How a packet travels."""

    CLEAR = "clear"
    ESP = "esp"
    UDP_ESP = "udp-esp"
    AH = "ah"
    IKE = "ike"
    NEIGHBOUR = "nd"


@dataclass(frozen=True, slots=True)
class IpPacket:
    """One IP packet. `ports` are (0, 0) where there are none to be seen. `ports_hidden`: a later fragment, or cut."""

    source: Address
    destination: Address
    protocol: int
    kind: Kind
    ports: tuple[int, int] = (0, 0)
    spi: int = 0
    sequence: int = 0
    fragment_id: int | None = None
    ports_hidden: bool = False
    inner: IpPacket | None = None

    def __str__(self) -> str:
        name = _NAMES.get(self.protocol, str(self.protocol))
        ports = f" {self.ports[0]} > {self.ports[1]}" if any(self.ports) else ""
        spi = f" spi {self.spi:#010x} seq {self.sequence}" if self.spi else ""
        part = " ports hidden" if self.ports_hidden else ""
        inside = f" [{self.inner}]" if self.inner else ""
        return f"{self.source} > {self.destination} {name}{ports}{spi}{part} ({self.kind.value}){inside}"


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets between two sets of networks, both directions. `protocol` None is any; a port None is any.

    `port_b` is the port at the side of `b`, the service's as a rule.
    """

    a: tuple[Network, ...]
    b: tuple[Network, ...]
    protocol: int | None = None
    port_a: int | None = None
    port_b: int | None = None

    def carries(self, packet: IpPacket) -> bool:
        """Whether the packet is, or may be, of this flow: what is hidden in fragments is taken to be."""
        if packet.inner is not None and self.carries(packet.inner):
            return True
        if self.protocol is not None and packet.protocol != self.protocol:
            return False
        source, destination = packet.source, packet.destination
        forth = _within(source, self.a) and _within(destination, self.b)
        back = _within(source, self.b) and _within(destination, self.a)
        if packet.ports_hidden:
            return forth or back
        here, there = packet.ports
        return (forth and self._at(here, there)) or (back and self._at(there, here))

    def _at(self, port_a: int, port_b: int) -> bool:
        return self.port_a in (None, port_a) and self.port_b in (None, port_b)


def flow(
    a: Iterable[object],
    b: Iterable[object],
    protocol: str | None = None,
    *,
    port_a: int | None = None,
    port_b: int | None = None,
) -> Flow:
    """A flow from addresses or networks in any form that ipaddress reads; `protocol` by name."""
    number = None if protocol is None else PROTOCOLS[protocol]
    return Flow(
        tuple(ip_network(str(each)) for each in a), tuple(ip_network(str(each)) for each in b), number, port_a, port_b
    )


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == each.version and address in each for each in networks)


def parse_frame(frame: bytes) -> IpPacket | None:
    """The IP packet in an Ethernet frame, behind any VLAN tags; None when it carries no whole IP header."""
    position = 12
    while len(frame) >= position + 2:
        (kind,) = struct.unpack_from("!H", frame, position)
        if kind not in _VLAN:
            return parse_ip(frame[position + 2 :]) if kind in (0x0800, 0x86DD) else None
        position += 4
    return None


def parse_ip(data: bytes, depth: int = 0) -> IpPacket | None:
    """The packet at the start of `data`; None when there is not even a whole IP header."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _parse_v4(data, depth)
    if version == 6 and len(data) >= 40:
        return _parse_v6(data, depth)
    return None


@dataclass(frozen=True, slots=True)
class _Layer:
    source: Address
    destination: Address
    protocol: int
    fragment_id: int | None = None
    fragment_offset: int = 0


def _parse_v4(data: bytes, depth: int) -> IpPacket:
    (identification, flags), protocol = struct.unpack_from("!HH", data, 4), data[9]
    offset, more = flags & 0x1FFF, bool(flags & 0x2000)
    layer = _Layer(
        IPv4Address(data[12:16]), IPv4Address(data[16:20]), protocol, identification if offset or more else None, offset
    )
    return _parse_upper(layer, data[(data[0] & 15) * 4 :], depth)


def _parse_v6(data: bytes, depth: int) -> IpPacket:
    source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    protocol, position = data[6], 40
    fragment_id, offset = None, 0
    while offset == 0 and len(data) >= position + 8:
        if protocol in _EXTENSIONS:
            protocol, position = data[position], position + 8 + data[position + 1] * 8
        elif protocol == _FRAGMENT:
            (word, fragment_id) = struct.unpack_from("!HI", data, position + 2)
            protocol, position, offset = data[position], position + 8, word >> 3
        else:
            break
    return _parse_upper(_Layer(source, destination, protocol, fragment_id, offset), data[position:], depth)


def _parse_upper(layer: _Layer, body: bytes, depth: int) -> IpPacket:
    kind, ports, spi, sequence, inner = Kind.CLEAR, (0, 0), 0, 0, None
    later = layer.fragment_offset > 0
    hidden = later or (layer.protocol in (TCP, UDP) and len(body) < 4)
    if layer.protocol in (ESP, AH):
        kind = Kind.ESP if layer.protocol == ESP else Kind.AH
        skip = 0 if layer.protocol == ESP else 4
        if not later and len(body) >= skip + 8:
            spi, sequence = struct.unpack_from("!II", body, skip)
    elif hidden:
        pass
    elif layer.protocol in (TCP, UDP) and len(body) >= 4:
        ports = struct.unpack_from("!HH", body)
        if layer.protocol == UDP:
            kind, spi, sequence = _inside_udp(ports, body[8:])
    elif layer.protocol == ICMPV6 and body and body[0] in _NEIGHBOUR_DISCOVERY:
        kind = Kind.NEIGHBOUR
    elif layer.protocol in (IPIP, IPV6) and depth < _NEST:
        inner = parse_ip(body, depth + 1)
        kind = inner.kind if inner else Kind.CLEAR
    return IpPacket(
        layer.source, layer.destination, layer.protocol, kind, ports, spi, sequence, layer.fragment_id, hidden, inner
    )


def _inside_udp(ports: tuple[int, int], payload: bytes) -> tuple[Kind, int, int]:
    """Kind, SPI and sequence number of a UDP payload (RFC 3948 2.1 to 2.3; IKE's header is 28 octets)."""
    if 4500 in ports:
        if payload == b"\xff":
            return Kind.IKE, 0, 0
        if payload[:4] == bytes(4):
            return (Kind.IKE, 0, 0) if len(payload) >= 32 else (Kind.CLEAR, 0, 0)
        if len(payload) >= 16:
            spi, sequence = struct.unpack_from("!II", payload)
            return Kind.UDP_ESP, spi, sequence
    elif 500 in ports and len(payload) >= 28:
        return Kind.IKE, 0, 0
    return Kind.CLEAR, 0, 0


def resolve_fragments(packets: Iterable[IpPacket]) -> list[IpPacket]:
    """The packets with later UDP fragments given the kind and ports of their first one, where that was seen."""
    listed = list(packets)
    first: dict[tuple[object, ...], IpPacket] = {
        (p.source, p.destination, p.protocol, p.fragment_id): p
        for p in listed
        if p.fragment_id is not None and not p.ports_hidden
    }
    return [_like_first(p, first.get((p.source, p.destination, p.protocol, p.fragment_id))) for p in listed]


def _like_first(packet: IpPacket, first: IpPacket | None) -> IpPacket:
    if first is None or not packet.ports_hidden or first.kind is Kind.CLEAR:
        return packet
    return IpPacket(
        packet.source,
        packet.destination,
        packet.protocol,
        first.kind,
        first.ports,
        fragment_id=packet.fragment_id,
        ports_hidden=True,
    )


def address_of(text: str) -> Address:
    """An address without its prefix length."""
    return ip_address(text.partition("/")[0])
