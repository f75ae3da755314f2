# SPDX-License-Identifier: GPL-2.0-or-later
"""Selectors as numbers: a value and a mask each, so that comparing, hashing and packing cost next to nothing.

The number of a packet is its nftables key with every field in it: source, destination, protocol, source port,
destination port, each padded to a multiple of four octets. A block is a selector that fixes some leading bits of each
field: `value` has those bits, `mask` says which they are. Two blocks overlap exactly when they agree in the bits that
both fix. ICMP type and code are in the ports' places, as in selectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from xfrmd.compiler import ports
from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.nft import NFPROTO, ElementKey, KeyField
from xfrmd.model.selector import ICMP, ICMPV6, Ports, Selector

DPORT: Final = 16
SPORT: Final = 48
PROTOCOL: Final = 88
DESTINATION: Final = 96
SOURCE: Final = {4: 128, 6: 224}
"""Where the lowest bit of each field stands, by IP version where it depends on it."""
OCTETS: Final = {4: 20, 6: 44}
WHOLE_PORT: Final = 0xFFFF
NAMED: Final = 0xFF << PROTOCOL
_FAMILY: Final = {4: "ip", 6: "ip6"}

SOURCE_MASKS: Final = {family: [Prefix(family, 0, n).mask << SOURCE[family] for n in range(bits + 1)]
                       for family, bits in BITS.items()}  # fmt: skip
DESTINATION_MASKS: Final = {family: [Prefix(family, 0, n).mask << DESTINATION for n in range(bits + 1)]
                            for family, bits in BITS.items()}  # fmt: skip
"""The bits that a prefix of each length fixes, by IP version."""


class Block(NamedTuple):
    """A value and the bits of it that count. What does not count is 0."""

    value: int
    mask: int


@lru_cache(maxsize=16384)
def port_parts(sport: Ports, dport: Ports) -> tuple[Block, ...]:
    """The port fields of a selector, a block for each pair of aligned port blocks."""
    return tuple(
        Block(s.first << SPORT | d.first << DPORT, ports.mask(s) << SPORT | ports.mask(d) << DPORT)
        for s in ports.blocks(sport)
        for d in ports.blocks(dport)
    )


def blocks_of(selector: Selector) -> Iterator[Block]:
    """A selector as disjoint blocks: one, unless it has port ranges that are no aligned power of two."""
    src, dst, protocol, sport, dport = selector
    family = src.family
    value = src.value << SOURCE[family] | dst.value << DESTINATION | protocol << PROTOCOL
    mask = SOURCE_MASKS[family][src.length] | DESTINATION_MASKS[family][dst.length] | (NAMED if protocol else 0)
    for part in port_parts(sport, dport):
        yield Block(value | part.value, mask | part.mask)


def packet_value(selector: Selector) -> int:
    """The number of one packet."""
    src, dst, protocol, sport, dport = selector
    value = src.value << SOURCE[src.family] | dst.value << DESTINATION | protocol << PROTOCOL
    return value | sport.first << SPORT | dport.first << DPORT


class Shape(NamedTuple):
    """The bits that a hash map's key holds, and what its port fields mean."""

    family: int
    mask: int
    icmp: bool
    """There are ports, and they are an ICMP type and code, which share the first 16 bits behind the IP header."""

    @property
    def lengths(self) -> tuple[int, int]:
        """Prefix lengths of source and destination."""
        bits = BITS[self.family]
        source = self.mask >> SOURCE[self.family]
        return source.bit_count(), (self.mask >> DESTINATION & ((1 << bits) - 1)).bit_count()

    @property
    def ports(self) -> tuple[int, int]:
        """Masks of the two 16-bit fields behind the IP header."""
        sport, dport = self.mask >> SPORT & WHOLE_PORT, self.mask >> DPORT & WHOLE_PORT
        return ((sport & 255) << 8 | (dport & 255), 0) if self.icmp else (sport, dport)

    @property
    def protocol(self) -> bool:
        """Is the protocol part of the key?"""
        return bool(self.mask & NAMED)

    def __str__(self) -> str:
        source, destination = self.lengths
        sport, dport = self.ports
        kind = "i" if self.icmp else "p" if self.protocol else "a"
        return f"{self.family}_{source}_{destination}_{kind}_{sport:x}_{dport:x}"


def is_icmp(protocol: int) -> bool:
    """Do the ports of this protocol stand for an ICMP type and code?"""
    return protocol in (ICMP, ICMPV6)


def is_typed(selector: Selector) -> bool:
    """Does it name an ICMP type or code?"""
    return is_icmp(selector.protocol) and not (selector.sport.is_any and selector.dport.is_any)


def shaped(selector: Selector) -> Iterator[tuple[Shape, int]]:
    """The blocks of a selector: the shape of each, and its value."""
    family, icmp = selector.src.family, is_typed(selector)
    for value, mask in blocks_of(selector):
        yield Shape(family, mask, icmp), value


def fields_of(shape: Shape) -> tuple[KeyField, ...]:
    """The fields of the key of an nftables map."""
    ip, found = _FAMILY[shape.family], []
    lengths = shape.lengths
    if not any(lengths):
        found.append(KeyField.whole("meta nfproto"))
    for name, length in zip(("saddr", "daddr"), lengths, strict=True):
        if length:
            found.append(KeyField(f"{ip} {name}", Prefix(shape.family, 0, length).mask))
    if shape.protocol:
        found.append(KeyField.whole("meta l4proto"))
    found += [KeyField(f"th {name}", mask) for name, mask in zip(("sport", "dport"), shape.ports, strict=True) if mask]
    return tuple(found)


def packer(shape: Shape) -> Callable[[Iterable[int]], Iterator[ElementKey]]:
    """What makes keys of nftables maps of the values of blocks of one shape."""
    octets, address = OCTETS[shape.family], BITS[shape.family] // 8
    source, destination = shape.lengths
    sport, dport = shape.ports
    slices = [
        slice(start, end)
        for used, start, end in (
            (source, 0, address),
            (destination, address, 2 * address),
            (shape.protocol, 2 * address, 2 * address + 4),
            (sport, 2 * address + 4, 2 * address + 8),
            (dport, 2 * address + 8, 2 * address + 12),
        )
        if used
    ]
    head = b"" if source or destination else bytes([NFPROTO[shape.family]])
    if head and slices:
        head = head.ljust(4, b"\0")
    if shape.icmp and sport:
        return _icmp_packer(head, octets, slices[:-1])
    joined = _joined(slices)
    if len(joined) == 1:
        (only,) = joined
        return lambda values: (head + value.to_bytes(octets)[only] for value in values)
    return lambda values: (head + b"".join([value.to_bytes(octets)[part] for part in joined]) for value in values)


def _icmp_packer(head: bytes, octets: int, slices: list[slice]) -> Callable[[Iterable[int]], Iterator[ElementKey]]:
    """Type and code become one field of 16 bits."""
    joined = _joined(slices)

    def keys(values: Iterable[int]) -> Iterator[ElementKey]:
        for value in values:
            both = bytes([value >> SPORT & 255, value >> DPORT & 255, 0, 0])
            yield head + b"".join([value.to_bytes(octets)[part] for part in joined]) + both

    return keys


def _joined(slices: list[slice]) -> list[slice]:
    """Slices that follow on one another as one."""
    found: list[slice] = []
    for one in slices:
        if found and found[-1].stop == one.start:
            found[-1] = slice(found[-1].start, one.stop)
        else:
            found.append(one)
    return found


def possible(shape: Shape, value: int) -> bool:
    """Is there such a packet? No ICMP message has a type or code above 255."""
    return not shape.icmp or (value >> SPORT & WHOLE_PORT) < 256 > (value >> DPORT & WHOLE_PORT)
