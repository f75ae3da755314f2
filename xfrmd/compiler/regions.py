# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wins between filters of one class: the exact weight, then the place in the file.

What the winner takes is cut out of the loser, so that the regions of a class are disjoint and the order in which
nftables and XFRM see them does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from xfrmd.compiler.cut import subtract_all
from xfrmd.compiler.expand import Expanded
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.weight import class_of


class Region(NamedTuple):
    """A filter after cutting, with its class."""

    weight_class: int
    expanded: Expanded


class Overlap(NamedTuple):
    """Filters of one class that speak of the same packets; `lost` is all of the loser."""

    winner: Expanded
    loser: Expanded
    lost: bool


def order(one: Expanded) -> tuple[object, ...]:
    """Sort key: heaviest first, then place in the file; the rest makes the order total."""
    specific = one.specific
    weight = tuple(-part for part in specific.weight)
    return (weight, one.generic.place, specific.inbound, specific.selector)


def settle(filters: Iterable[Expanded]) -> tuple[tuple[Region, ...], tuple[Overlap, ...]]:
    """Cut overlaps of equal class. Gives the regions, heaviest first, and what met (repeats of one filter left out)."""
    kept: list[Region] = []
    met: list[Overlap] = []
    taken: dict[tuple[bool, int], OverlapIndex[Expanded]] = {}
    for one in sorted(filters, key=order):
        specific, weight_class = one.specific, class_of(one.specific.weight)
        index = taken.setdefault((specific.inbound, weight_class), OverlapIndex())
        winners = index.find(specific.selector)
        pieces = subtract_all(specific.selector, [winner.specific.selector for winner in winners])
        met += [Overlap(winner, one, not pieces) for winner in winners if winner.generic is not one.generic]
        for piece in pieces:
            part = one if piece is specific.selector else one._replace(specific=replace(specific, selector=piece))
            index.add(piece, part)
            kept.append(Region(weight_class, part))
    return tuple(kept), tuple(met)
