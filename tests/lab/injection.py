# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that somebody hostile makes up, put on the wire below IP, and sockets that tell what got through.

Nothing that is sent here meets the sender's own policy: it is the receiver's that is tried.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from lab.netns import Host

ICMP, UDP, ICMPV6, FRAGMENT, DESTINATION, HOP_BY_HOP = 1, 17, 58, 44, 60, 0
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_ARRIVAL = 5.0
"""Seconds that a packet, sent before on the same wire, may take until a socket has it."""
LAST = b"the last one"


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source: str, destination: str, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP header with its checksum (RFC 768), and the data."""
    length = 8 + len(data)
    ends = ip_address(source).packed + ip_address(destination).packed
    bare = struct.pack("!HHHH", sport, dport, length, 0) + data
    return struct.pack("!HHHH", sport, dport, length, _sum(ends + struct.pack("!HH", UDP, length) + bare)) + data


def icmpv6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """An ICMPv6 message of this type, code 0 (RFC 4443 2.1)."""
    ends = ip_address(source).packed + ip_address(destination).packed
    bare = struct.pack("!BBH", kind, 0, 0) + body
    return bare[:2] + struct.pack("!H", _sum(ends + struct.pack("!II", len(bare), ICMPV6) + bare)) + bare[4:]


def ipv4(
    source: str, destination: str, protocol: int, body: bytes, *, offset: int = 0, more: bool = False, number: int = 1
) -> bytes:
    """An IPv4 packet or a fragment of one; `offset` in octets."""
    flags = (0x2000 if more else 0) | offset // 8
    ends = ip_address(source).packed + ip_address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, flags, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + body


def ipv6(source: str, destination: str, protocol: int, body: bytes, *, hops: int = 64) -> bytes:
    """An IPv6 packet; `protocol` is the first of the headers in `body`."""
    ends = ip_address(source).packed + ip_address(destination).packed
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, hops) + ends + body


def options(protocol: int) -> bytes:
    """Eight octets of hop-by-hop or destination options: padding only (RFC 8200 4.2)."""
    return struct.pack("!BBBB4x", protocol, 0, 1, 4)


def part(protocol: int, data: bytes, *, offset: int = 0, more: bool = False, number: int = 0x5846) -> bytes:
    """An IPv6 fragment header and its part of the packet; `offset` in octets (RFC 8200 4.5)."""
    return struct.pack("!BBHI", protocol, 0, offset | more, number) + data


def ip(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """A plain packet of the addresses' IP version."""
    return (ipv6 if ":" in source else ipv4)(source, destination, protocol, body)


def datagram(source: str, destination: str, sport: int, dport: int, data: bytes) -> bytes:
    """A whole UDP packet."""
    return ip(source, destination, UDP, udp(source, destination, sport, dport, data))


def too_big(source: str, destination: str, quoted: bytes, size: int = 1280) -> bytes:
    """A router's word that a packet of `destination`'s was too big (RFC 792 and 1191, RFC 4443 3.2)."""
    if ":" in source:
        return ip(source, destination, ICMPV6, icmpv6(source, destination, 2, struct.pack("!I", size) + quoted))
    bare = struct.pack("!BBHHH", 3, 4, 0, 0, size) + quoted
    return ip(source, destination, ICMP, bare[:2] + struct.pack("!H", _sum(bare)) + bare[4:])


def hardware_address(host: Host, link: str) -> bytes:
    """The MAC address of a link."""

    def read() -> bytes:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as asked:
            asked.bind((link, 0))
            return bytes(asked.getsockname()[4])

    return host.inside(read)


def inject(host: Host, target: Host, *packets: bytes, out: str = "eth0", link: str = "eth0") -> None:
    """Put IP packets on the wire as they are, from link `out` of `host` to `link` of `target`."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((out, 0))
            for packet in packets:
                wire.send(there + here + struct.pack("!H", _ETHERTYPES[packet[0] >> 4]) + packet)

    here, there = hardware_address(host, out), hardware_address(target, link)
    host.inside(send)


class Sink:
    """A UDP port of a host that keeps what arrives on the first link."""

    def __init__(self, host: Host, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.address, self.port = address, port
        self._socket = host.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, host.links[0].name.encode())
        self._socket.bind((address, port))
        self._socket.settimeout(_ARRIVAL)

    def close(self) -> None:
        """Take nothing more."""
        self._socket.close()

    def send(self, data: bytes, address: str, port: int) -> None:
        """Send from this port."""
        self._socket.sendto(data, (address, port))

    def drain(self) -> list[bytes]:
        """What has arrived since the last time, without waiting."""
        found = []
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65535))
        self._socket.settimeout(_ARRIVAL)
        return found

    def wait_for(self, data: bytes) -> None:
        """Take in datagrams until this one comes. TimeoutError when it does not."""
        while self._socket.recv(65535) != data:
            pass


@contextlib.contextmanager
def sink(host: Host, address: str, port: int) -> Iterator[Sink]:
    """A sink, closed at the end."""
    with contextlib.closing(Sink(host, address, port)) as made:
        yield made


def arrivals(host: Host, target: Host, packets: dict[str, list[bytes]], wanted: Sink, permitted: Sink) -> set[str]:
    """Which of the named groups of packets, put on the wire by `host`, reach `wanted`: those whose name arrives.

    A datagram to a port that is `permitted` follows them on the same wire: when it is there, all before it have been
    judged.
    """
    family = {packet[0] >> 4 for group in packets.values() for packet in group}
    assert len(family) == 1, "one IP version at a time"
    source = host.address(family.pop())
    last = datagram(source, permitted.address, 40_000, permitted.port, LAST)
    inject(host, target, *(packet for group in packets.values() for packet in group), last)
    permitted.wait_for(LAST)
    found = {data.decode() for data in wanted.drain()}
    return {name for name in packets if name in found}
