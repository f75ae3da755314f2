# SPDX-License-Identifier: GPL-2.0-or-later
"""Selectors as the kernel holds them: prefixes, a protocol, and ports as value and mask."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xfrmd.adapters.xfrm import uapi
from xfrmd.errors import KernelError, LocalProtocolError
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.selector import ANY_PORT, Ports, Selector

_ANY_PORTS: Final = bytes(8)


def packed_address(address: Address) -> bytes:
    """xfrm_address_t: 16 octets, an IPv4 address in the first 4."""
    return address.packed.ljust(16, b"\0")


def unpacked_address(version: int, octets: bytes) -> Address:
    """The address in an xfrm_address_t."""
    return Address.from_bytes(octets[: BITS[version] // 8])


def port_mask(ports: Ports) -> int:
    """The mask of a port block: a power of two of ports that begins at a multiple of it. Others: LocalProtocolError."""
    width = ports.last - ports.first + 1
    if width & (width - 1) or ports.first & (width - 1):
        raise LocalProtocolError(f"ports {ports} are no block with a mask")
    return 0x1_0000 - width


def covering_block(ports: Ports) -> Ports:
    """The smallest block with a mask that holds all these ports."""
    bits = (ports.first ^ ports.last).bit_length()
    first = ports.first >> bits << bits
    return Ports(first, first + (1 << bits) - 1)


@lru_cache(maxsize=4096)
def _packed_ports(sport: Ports, dport: Ports) -> bytes:
    return uapi.PORTS.pack(dport.first, port_mask(dport), sport.first, port_mask(sport))


def selector_fields(selector: Selector) -> tuple[bytes, bytes, bytes, int, int, int, int, int, int]:
    """The values of uapi.SELECTOR_FORMAT. Port ranges without a mask: LocalProtocolError."""
    src, dst, protocol, sport, dport = selector
    octets = 4 if src.family == 4 else 16  # the format fills up with zeros
    return (
        dst.value.to_bytes(octets),
        src.value.to_bytes(octets),
        _ANY_PORTS if sport is ANY_PORT and dport is ANY_PORT else _packed_ports(sport, dport),
        uapi.FAMILIES[src.family],
        dst.length,
        src.length,
        protocol,
        0,
        0,
    )


def unpack_selector(data: bytes, at: int) -> tuple[Selector, bool]:
    """The selector at octet `at`, and whether it says all. The caller has checked the size.

    A selector tied to an interface, or with a port mask that has holes, is given as the wider one around it, and False.
    KernelError for an unknown family or a prefix that is too long.
    """
    daddr, saddr, ports, family, dst_bits, src_bits, protocol, ifindex, _ = uapi.SELECTOR.unpack_from(data, at)
    version = uapi.VERSIONS.get(family)
    if version is None or max(dst_bits, src_bits) > BITS[version]:
        raise KernelError(f"XFRM selector of family {family} with prefixes of {src_bits} and {dst_bits} bits")
    dport, dmask, sport, smask = uapi.PORTS.unpack(ports)
    ends = (_prefix(version, saddr, src_bits), _prefix(version, daddr, dst_bits))
    selector = Selector(*ends, protocol, _ports(sport, smask), _ports(dport, dmask))
    return selector, not ifindex and _is_block(dmask) and _is_block(smask)


def _prefix(version: int, octets: bytes, length: int) -> Prefix:
    bits = BITS[version]
    value = int.from_bytes(octets[: bits // 8]) >> (bits - length) << (bits - length)
    return Prefix(version, value, length)


def _is_block(mask: int) -> bool:
    width = 0x1_0000 - mask
    return width & (width - 1) == 0


def _ports(value: int, mask: int) -> Ports:
    """The ports under a mask; all of them when it has holes."""
    if mask == 0 or not _is_block(mask):
        return ANY_PORT
    first = value & mask
    return Ports(first, first + 0xFFFF - mask)
