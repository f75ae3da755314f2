# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of random worlds as octets: numbered, with the hop limit that their protocol asks for."""

from __future__ import annotations

import struct
from typing import Final

from tests.lab.injection import icmpv6
from xfrmd.adapters.packet_headers import read
from xfrmd.model.selector import ICMPV6, TCP, UDP, Selector

LONGEST: Final = 0xFFFF
"""The largest number of a packet: it stands in IPv4's identification, in IPv6's flow label."""
_NO_CHECKSUM: Final = 0xDEAD
"""Wrong on purpose: filters do not look at it, and nothing answers such a packet."""
_QUOTE: Final = bytes.fromhex("45000000 0000 32 00 00 32") + bytes(30)
"""Of an ICMP error: octet 9 and octet 6 say ESP, as IPv4 and as IPv6 have it."""


def hops(selector: Selector) -> int:
    """The hop limit with which such a packet is sent: 255 for neighbour discovery, 1 for listener reports, else 64."""
    if selector.protocol == ICMPV6 and selector.family == 6:
        if selector.sport.first in range(133, 138):
            return 255
        if selector.sport.first in (130, 131, 132, 143):
            return 1
    return 64


def upper(selector: Selector) -> bytes:
    """What stands behind the IP header."""
    sport, dport = selector.sport.first, selector.dport.first
    if selector.protocol == ICMPV6 and selector.family == 6:
        made = icmpv6(str(selector.src.address), str(selector.dst.address), sport, bytes(4) + _QUOTE)
        # The code is part of the sum: what it adds is taken from the last word.
        return made[:1] + bytes((dport,)) + made[2:-2] + struct.pack("!H", (0xFFFF - dport) % 0xFFFF)
    if selector.protocol in (1, ICMPV6):
        return struct.pack("!BBHI", sport, dport, _NO_CHECKSUM, 0) + _QUOTE
    if selector.protocol == TCP:
        return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 2, 1024, _NO_CHECKSUM, 0)
    if selector.protocol == UDP:
        return struct.pack("!HHHH", sport, dport, 8 + len(_QUOTE), _NO_CHECKSUM) + _QUOTE
    return struct.pack("!HHII", sport, dport, 0, 0) + _QUOTE


def whole(selector: Selector, number: int, limit: int) -> bytes:
    """The IP packet."""
    body, ends = upper(selector), selector.src.address.packed + selector.dst.address.packed
    if selector.family == 6:
        return struct.pack("!IHBB", 6 << 28 | number, len(body), selector.protocol, limit) + ends + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, 0, limit, selector.protocol, 0) + ends
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + body


def on_the_wire(packet: bytes) -> tuple[Selector, int] | None:
    """An IP packet as selector and hop limit."""
    found = read(packet)
    return None if found is None else (found, packet[7] if packet[0] >> 4 == 6 else packet[8])
