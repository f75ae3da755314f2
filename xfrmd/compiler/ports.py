# SPDX-License-Identifier: GPL-2.0-or-later
"""Port ranges as value/mask blocks, the only form that XFRM selectors and hashed nftables keys know."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from xfrmd.model.selector import Ports, Selector

_BITS = 16


@lru_cache(maxsize=4096)
def blocks(ports: Ports) -> tuple[Ports, ...]:
    """The fewest blocks that make up a range, ascending: widths are powers of two, first ports multiples of them."""
    first, found = ports.first, []
    while first <= ports.last:
        span = min((first & -first) or (1 << _BITS), 1 << ((ports.last - first + 1).bit_length() - 1))
        found.append(Ports(first, first + span - 1))
        first += span
    return tuple(found)


def mask(block: Ports) -> int:
    """The 16-bit mask of a block."""
    return (1 << _BITS) - block.width


def length(block: Ports) -> int:
    """How many leading bits a block fixes, 0..16."""
    return _BITS + 1 - block.width.bit_length()


def split(selector: Selector) -> tuple[Selector, ...]:
    """A selector as disjoint selectors whose ports are blocks."""
    sports, dports = blocks(selector.sport), blocks(selector.dport)
    if len(sports) == len(dports) == 1:
        return (selector,)
    return tuple(selector._replace(sport=sport, dport=dport) for sport, dport in product(sports, dports))
