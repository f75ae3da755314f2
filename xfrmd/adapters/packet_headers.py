# SPDX-License-Identifier: GPL-2.0-or-later
"""The head of an IP packet as a selector: addresses, protocol and ports. The octets may be cut and may be hostile."""

from __future__ import annotations

from typing import Final

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ICMP, ICMPV6, WITH_PORTS, Ports, Selector

_V4_HEADER: Final = 20
_V6_HEADER: Final = 40
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60
_EXTENSIONS: Final = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION})
_EXTENSIONS_LAST: Final = 8
"""More of them than any sender has reason to put into a packet."""
_NO_PORT: Final = Ports(0, 0)


def read(data: bytes) -> Selector | None:
    """The packet of which `data` is the beginning; None when it is no IP packet or cut within its address header.

    Ports are 0..0 where the protocol has none, and where they are out of sight: behind the cut, or in a later fragment.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= _V4_HEADER:
        return _v4(data)
    if version == 6 and len(data) >= _V6_HEADER:
        return _v6(data)
    return None


def _v4(data: bytes) -> Selector:
    later_fragment = int.from_bytes(data[6:8]) & 0x1FFF != 0
    behind = b"" if later_fragment else data[(data[0] & 15) * 4 :]
    return _selector(data[12:16], data[16:20], data[9], behind)


def _v6(data: bytes) -> Selector:
    protocol, at = data[6], _V6_HEADER
    for _ in range(_EXTENSIONS_LAST):
        if protocol not in _EXTENSIONS or at + 8 > len(data):
            break
        later_fragment = protocol == _FRAGMENT and int.from_bytes(data[at + 2 : at + 4]) >> 3 != 0
        length = 8 if protocol == _FRAGMENT else 8 + data[at + 1] * 8
        protocol, at = data[at], at + length
        if later_fragment:
            return _selector(data[8:24], data[24:40], protocol, b"")
    return _selector(data[8:24], data[24:40], protocol, data[at:])


def _selector(src: bytes, dst: bytes, protocol: int, behind: bytes) -> Selector:
    sport = dport = _NO_PORT
    if protocol in WITH_PORTS and len(behind) >= 4:
        first, second = int.from_bytes(behind[:2]), int.from_bytes(behind[2:4])
        sport, dport = Ports(first, first), Ports(second, second)
    elif protocol in (ICMP, ICMPV6) and len(behind) >= 2:
        sport, dport = Ports(behind[0], behind[0]), Ports(behind[1], behind[1])
    ends = (Prefix.host(Address.from_bytes(src)), Prefix.host(Address.from_bytes(dst)))
    return Selector(*ends, protocol, sport, dport)
