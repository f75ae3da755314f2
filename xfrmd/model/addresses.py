# SPDX-License-Identifier: GPL-2.0-or-later
"""IP addresses and prefixes as plain integers: cheap to compare, mask, hash and sort by the hundred thousand."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

BITS = {4: 32, 6: 128}
"""Address length in bits by IP version."""


class Address(NamedTuple):
    """One IP address. `family` is the IP version, 4 or 6."""

    family: int
    value: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "10.1.0.5" or "fd00::1". Raises ValueError; a zone ("%eth0") is refused."""
        if "%" in text:
            raise ValueError(f"{text!r}: a zone cannot be part of an address here")
        parsed = ipaddress.ip_address(text)
        return cls(parsed.version, int(parsed))

    @classmethod
    def from_bytes(cls, octets: bytes) -> Address:
        """Read 4 or 16 octets in network order."""
        if len(octets) not in (4, 16):
            raise ValueError(f"an address has 4 or 16 octets, not {len(octets)}")
        return cls(4 if len(octets) == 4 else 6, int.from_bytes(octets))

    @property
    def packed(self) -> bytes:
        """The address in network order, 4 or 16 octets."""
        return self.value.to_bytes(BITS[self.family] // 8)

    def __str__(self) -> str:
        if self.family == 4:
            value = self.value  # by hand, as every notice of a handshake shows addresses
            return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
        return str(ipaddress.IPv6Address(self.value))


class Prefix(NamedTuple):
    """An address block. `value` is the lowest address as an integer; bits below `length` are zero."""

    family: int
    value: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read "10.0.0.0/8" or an address. Set host bits are an error (ValueError), never masked away."""
        if "%" in text:
            raise ValueError(f"{text!r}: a zone cannot be part of an address here")
        parsed = ipaddress.ip_network(text, strict=True)
        return cls(parsed.version, int(parsed.network_address), parsed.prefixlen)

    @classmethod
    def host(cls, address: Address) -> Prefix:
        """The block that holds just this address."""
        return cls(address.family, address.value, BITS[address.family])

    @classmethod
    def any(cls, family: int) -> Prefix:
        """The block of all addresses of an IP version."""
        return cls(family, 0, 0)

    @property
    def address(self) -> Address:
        """The lowest address."""
        return Address(self.family, self.value)

    @property
    def last(self) -> int:
        """The highest address, as an integer."""
        return self.value | ((1 << (BITS[self.family] - self.length)) - 1)

    @property
    def mask(self) -> int:
        """The network mask as an integer."""
        bits = BITS[self.family]
        return ((1 << self.length) - 1) << (bits - self.length)

    @property
    def is_host(self) -> bool:
        """True for a single address."""
        return self.length == BITS[self.family]

    def contains(self, other: Prefix | Address) -> bool:
        """Is every address of `other` in this block? Different families: no."""
        if other.family != self.family:
            return False
        if isinstance(other, Prefix) and other.length < self.length:
            return False
        return (other.value ^ self.value) >> (BITS[self.family] - self.length) == 0

    def overlaps(self, other: Prefix) -> bool:
        """Do the two blocks share an address? (Then one contains the other.)"""
        return self.contains(other) or other.contains(self)

    def __str__(self) -> str:
        return str(self.address) if self.is_host else f"{self.address}/{self.length}"


NOBODY = tuple(
    map(
        Prefix.parse,
        ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255", "::/127", "::ffff:0:0/96", "ff00::/8"),
    )
)
"""Unspecified, loopback, multicast and broadcast addresses, and IPv4 in IPv6 form: no packet on the wire has them as
the address of one host."""


def is_nobody(address: Address) -> bool:
    """Can no host on a network have this address?"""
    return any(prefix.contains(address) for prefix in NOBODY)


def range_to_prefixes(family: int, first: int, last: int) -> tuple[Prefix, ...]:
    """The fewest disjoint prefixes that cover first..last (both included), in ascending order."""
    bits, found = BITS[family], []
    if first == last:  # most of those that IKE negotiates
        return (Prefix(family, first, bits),)
    while first <= last:
        span = min((first & -first) or (1 << bits), 1 << ((last - first + 1).bit_length() - 1))
        found.append(Prefix(family, first, bits - span.bit_length() + 1))
        first += span
    return tuple(found)
