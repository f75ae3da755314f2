# SPDX-License-Identifier: GPL-2.0-or-later
"""Boxes of packets of one IP version: ranges of addresses and ports, and a set of protocols.

Cutting a selector out of a selector leaves up to 32 prefixes per address and 254 protocols; out of a box it leaves at
most nine boxes, and neighbours are joined again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from xfrmd.model.addresses import BITS
from xfrmd.model.selector import ICMP, ICMPV6, Selector

ALL_PROTOCOLS: Final = (1 << 256) - 2
"""Bit n stands for protocol n. 0, IPv6's hop-by-hop options, is never a packet's upper protocol."""
ICMP_PROTOCOLS: Final = (1 << ICMP, 1 << ICMPV6)
LAST_TYPE: Final = 255

SRC, DST, SPORT, DPORT, PROTOCOLS = 0, 2, 4, 6, 8
"""Where a dimension's first value stands in a box; its last one stands behind it."""
_RANGES: Final = (SRC, DST, SPORT, DPORT)
_WORTH: Final = 0.75
"""Work grows with the square of what meets in a box: less of a saving is not worth the pieces."""


class Box(NamedTuple):
    """Packets between two ranges of addresses, with these ports and protocols. All ends are included."""

    src_first: int
    src_last: int
    dst_first: int
    dst_last: int
    sport_first: int
    sport_last: int
    dport_first: int
    dport_last: int
    protocols: int
    """Bit n: protocol n."""

    def covers(self, other: Box) -> bool:
        """Is every packet of `other` in this box?"""
        return (
            self[0] <= other[0]
            and self[1] >= other[1]
            and self[2] <= other[2]
            and self[3] >= other[3]
            and not other[8] & ~self[8]
            and self[4] <= other[4]
            and self[5] >= other[5]
            and self[6] <= other[6]
            and self[7] >= other[7]
        )

    @property
    def reversed(self) -> Box:
        """The packets of the other direction. ICMP's type and code stay where they are."""
        a, b, c, d, e, f, g, h, protocols = self
        if protocols in ICMP_PROTOCOLS:
            return Box(c, d, a, b, e, f, g, h, protocols)
        return Box(c, d, a, b, g, h, e, f, protocols)


class Cut(NamedTuple):
    """Divides a box: a range before `at` and from there on, protocols into those of `at` and the others."""

    dimension: int
    at: int


def whole(family: int) -> Box:
    """All packets of an IP version."""
    top = (1 << BITS[family]) - 1
    return Box(0, top, 0, top, 0, 65535, 0, 65535, ALL_PROTOCOLS)


def box_of(selector: Selector) -> Box:
    """A selector as a box."""
    src, dst, protocol, sport, dport = selector
    protocols = 1 << protocol if protocol else ALL_PROTOCOLS
    return Box(src.value, src.last, dst.value, dst.last, *sport, *dport, protocols)


def separating(box: Box, inner: Box) -> Cut | None:
    """The cut of `box` that leaves least beside `inner`, which overlaps it; None when `inner` covers it. Protocols are
    cut before ports, so that ports are cut only where they mean something.
    """
    best, least = None, 2.0
    if box.protocols & ~inner.protocols:
        best = Cut(PROTOCOLS, inner.protocols)
        least = (box.protocols & inner.protocols).bit_count() / box.protocols.bit_count()
    for dimension in (SRC, DST) if best else _RANGES:
        first, last = box[dimension], box[dimension + 1]
        low, high = inner[dimension], inner[dimension + 1]
        if low > first or high < last:
            share = (min(high, last) - max(low, first) + 1) / (last - first + 1)
            if share < least:
                best, least = Cut(dimension, low if low > first else high + 1), share
    return best


def halving(box: Box, inner: Sequence[Box]) -> Cut | None:
    """The cut in the middle of others, along the dimension in which both parts together keep least of them; None when
    every such cut goes through too many of them to be worth it.
    """
    best, least = None, _WORTH * len(inner) ** 2
    for first in _RANGES:
        last = first + 1
        edges = [one[first] for one in inner if one[first] > box[first]]
        edges += [one[last] + 1 for one in inner if one[last] < box[last]]
        if edges:
            at = sorted(edges)[len(edges) // 2]
            left, right = sum(one[first] < at for one in inner), sum(one[last] >= at for one in inner)
            if left**2 + right**2 < least:
                best, least = Cut(first, at), left**2 + right**2
    return best


def halves(box: Box, cut: Cut) -> tuple[Box, Box]:
    """The two parts of a box."""
    dimension, at = cut
    if dimension == PROTOCOLS:
        return box._replace(protocols=box.protocols & at), box._replace(protocols=box.protocols & ~at)
    left = Box._make((*box[: dimension + 1], at - 1, *box[dimension + 2 :]))
    return left, Box._make((*box[:dimension], at, *box[dimension + 1 :]))


def joined(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Disjoint boxes, with neighbours made one as far as that is simple; in ascending order."""
    found, before = sorted(set(boxes)), -1
    while len(found) != before:
        before = len(found)
        for dimension in (DPORT, SPORT, PROTOCOLS, DST, SRC):
            found = _joined_along(found, dimension)
    return tuple(sorted(found))


def _joined_along(boxes: Iterable[Box], dimension: int) -> list[Box]:
    groups: dict[tuple[int, ...], list[Box]] = {}
    width = 1 if dimension == PROTOCOLS else 2
    for one in boxes:
        groups.setdefault(one[:dimension] + one[dimension + width :], []).append(one)
    return [made for group in groups.values() for made in _joined_group(group, dimension)]


def _joined_group(group: list[Box], dimension: int) -> Iterator[Box]:
    """Boxes that differ in one dimension only."""
    if dimension == PROTOCOLS:
        yield group[0]._replace(protocols=sum(one.protocols for one in group))
        return
    group.sort()
    current = group[0]
    for one in group[1:]:
        if current[dimension + 1] + 1 == one[dimension]:
            current = Box._make((*current[: dimension + 1], *one[dimension + 1 :]))
        else:
            yield current
            current = one
    yield current


def possible(box: Box) -> Box | None:
    """The box without ICMP types and codes that do not exist; None when nothing else is in it."""
    if box.protocols not in ICMP_PROTOCOLS:
        return box
    if box.sport_first > LAST_TYPE or box.dport_first > LAST_TYPE:
        return None
    return box._replace(sport_last=min(box.sport_last, LAST_TYPE), dport_last=min(box.dport_last, LAST_TYPE))
