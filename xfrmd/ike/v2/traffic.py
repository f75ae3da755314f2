# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic Selectors (RFC 7296 2.9, 3.13.1): ranges at one end of an SA, and their way to and from model Selectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.model.addresses import Address, Prefix, range_to_prefixes
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, Ports, Selector

OPAQUE: Final = Ports(65535, 0)
"""Packets whose ports cannot be seen, such as later fragments (RFC 7296 3.13.1)."""


class TrafficSelector(NamedTuple):
    """Addresses first..last of one family with this protocol (0 = any) and these ports at this end.

    For ICMP and ICMPv6 a "port" is type * 256 + code and stands at both ends.
    """

    family: int
    """IP version, 4 or 6."""
    first: int
    last: int
    protocol: int = 0
    ports: Ports = ANY_PORT

    @classmethod
    def of(cls, prefix: Prefix, protocol: int = 0, ports: Ports = ANY_PORT) -> TrafficSelector:
        """The selector of a prefix; `ports` as on the wire."""
        return cls(prefix.family, prefix.value, prefix.last, protocol, ports)

    def contains(self, other: TrafficSelector) -> bool:
        """Is all of `other` part of this one?"""
        return self.intersection(other) == other

    def intersection(self, other: TrafficSelector) -> TrafficSelector | None:
        """What both speak of, None when there is nothing."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        if self.family != other.family or first > last or not _agree(self.protocol, other.protocol):
            return None
        ports = _common_ports(self.ports, other.ports)
        return (
            None if ports is None else TrafficSelector(self.family, first, last, self.protocol or other.protocol, ports)
        )

    def covers(self, address: Address) -> bool:
        """Is the address one of this end?"""
        return address.family == self.family and self.first <= address.value <= self.last

    def __str__(self) -> str:
        ends = f"{Address(self.family, self.first)}-{Address(self.family, self.last)}"
        ports = "opaque" if self.ports == OPAQUE else str(self.ports)
        return f"{ends}[{self.protocol}/{ports}]"


def narrow(offered: Iterable[TrafficSelector], allowed: Sequence[TrafficSelector]) -> tuple[TrafficSelector, ...]:
    """What of the offer is allowed, in the order offered, each once (RFC 7296 2.9). Empty: TS_UNACCEPTABLE."""
    found = (ours.intersection(theirs) for theirs in offered for ours in allowed)
    return tuple(dict.fromkeys(common for common in found if common is not None))


# rfc 7296: selector-form
def from_selectors(selectors: Iterable[Selector]) -> tuple[tuple[TrafficSelector, ...], tuple[TrafficSelector, ...]]:
    """Traffic selectors at the source and at the destination of these packets, each once.

    An SA carries every pair of both lists: several selectors that are no such product become wider here.
    """
    pairs = [pair for selector in selectors for pair in _ends(selector)]
    return tuple(dict.fromkeys(src for src, _ in pairs)), tuple(dict.fromkeys(dst for _, dst in pairs))


# rfc 7296: selector-form
def to_selectors(src: Iterable[TrafficSelector], dst: Iterable[TrafficSelector]) -> tuple[Selector, ...]:
    """All packets from `src` to `dst` as selectors: ranges become prefixes. OPAQUE has no selector and is left out.

    Both lists may come from a peer, which may repeat itself in them: more than limits.SELECTORS, counted each where
    ranges overlap too, are a RemoteProtocolError with TS_UNACCEPTABLE.
    """
    found: dict[Selector, None] = {}
    ends = dict.fromkeys(dst)
    pieces = (selector for a in dict.fromkeys(src) for b in ends for selector in _between(a, b))
    for count, selector in enumerate(pieces, 1):
        found[selector] = None
        if count > limits.SELECTORS:
            raise RemoteProtocolError("traffic selectors in too many pieces", NotifyType.TS_UNACCEPTABLE)
    return tuple(found)


def _agree(one: int, other: int) -> bool:
    return one == other or 0 in (one, other)


def _common_ports(one: Ports, other: Ports) -> Ports | None:
    """The ports both mean; "any" includes OPAQUE (RFC 4301 4.4.1.1)."""
    if OPAQUE in (one, other):
        return OPAQUE if {one, other} <= {OPAQUE, ANY_PORT} else None
    common = Ports(max(one.first, other.first), min(one.last, other.last))
    return common if common.first <= common.last else None


def _ends(selector: Selector) -> Iterable[tuple[TrafficSelector, TrafficSelector]]:
    src, dst, protocol, sport, dport = selector
    if protocol in (ICMP, ICMPV6):
        for ports in _icmp_to_wire(sport, dport):
            yield TrafficSelector.of(src, protocol, ports), TrafficSelector.of(dst, protocol, ports)
    else:
        yield TrafficSelector.of(src, protocol, sport), TrafficSelector.of(dst, protocol, dport)


def _between(src: TrafficSelector, dst: TrafficSelector) -> Iterable[Selector]:
    if src.family != dst.family or not _agree(src.protocol, dst.protocol) or OPAQUE in (src.ports, dst.ports):
        return
    protocol = src.protocol or dst.protocol
    ports: list[tuple[Ports, Ports]] = [(src.ports, dst.ports)]
    if protocol in (ICMP, ICMPV6):
        common = _common_ports(src.ports, dst.ports)
        if common is None:
            return
        ports = list(_icmp_from_wire(common))
    destinations = range_to_prefixes(dst.family, dst.first, dst.last)
    for a in range_to_prefixes(src.family, src.first, src.last):
        for b in destinations:
            for sport, dport in ports:
                yield Selector(a, b, protocol, sport, dport)


def _icmp_to_wire(types: Ports, codes: Ports) -> Iterable[Ports]:
    """Types and codes of a Selector as ranges of type * 256 + code; "any" stays the whole range."""
    first_type, last_type = types.first, min(types.last, 255)
    first_code, last_code = codes.first, min(codes.last, 255)
    if (first_code, last_code) == (0, 255) or first_type == last_type:
        yield Ports(first_type << 8 | first_code, last_type << 8 | last_code)
    else:
        yield from (Ports(t << 8 | first_code, t << 8 | last_code) for t in range(first_type, last_type + 1))


def _icmp_from_wire(ports: Ports) -> Iterable[tuple[Ports, Ports]]:
    """The other way: up to three rectangles of types and codes."""
    (first_type, first_code), (last_type, last_code) = divmod(ports.first, 256), divmod(ports.last, 256)
    if first_type == last_type:
        yield _rectangle(first_type, last_type, first_code, last_code)
        return
    if first_code:
        yield _rectangle(first_type, first_type, first_code, 255)
        first_type += 1
    whole_last = last_type if last_code == 255 else last_type - 1
    if first_type <= whole_last:
        yield _rectangle(first_type, whole_last, 0, 255)
    if whole_last < last_type:
        yield _rectangle(last_type, last_type, 0, last_code)


def _rectangle(first_type: int, last_type: int, first_code: int, last_code: int) -> tuple[Ports, Ports]:
    types, codes = Ports(first_type, last_type), Ports(first_code, last_code)
    return ANY_PORT if types == (0, 255) else types, ANY_PORT if codes == (0, 255) else codes
