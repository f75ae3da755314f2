# SPDX-License-Identifier: GPL-2.0-or-later
"""Specificity: a filter's weight, its class, and the XFRM priority that follows from the class alone.

Weights order all filters (architecture 4). A class is a weight with the width of its ports rounded to a power of two:
few classes mean few hash maps and stable priorities. Filters of one class that overlap are cut apart (regions.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xfrmd import limits
from xfrmd.model.plan import Weight
from xfrmd.model.selector import Ports

_WIDEST: Final = 2 * 65536
"""Width of two unnamed ports, the precision's zero."""
_STEP: Final = 16
"""Priorities of one class lie this far apart: room for what stands directly ahead of a filter."""
AHEAD_GROUP: Final = 1
"""How far the DISCARD of multicast and broadcast stands ahead of its negotiate filter."""
EXEMPT_PRIORITY: Final = limits.PRIORITY_FIRST
"""Exemptions are asked before every filter."""


def weigh(source: int, destination: int, protocol: int, sport: Ports, dport: Ports) -> Weight:
    """The weight of a filter whose ends have these prefix lengths in bits; `protocol` 0 is any."""
    return Weight(
        prefix_sum=source + destination,
        longer_prefix=max(source, destination),
        source_prefix=source,
        protocol_named=int(protocol != 0),
        ports_named=(not sport.is_any) + (not dport.is_any),
        destination_port_named=int(not dport.is_any),
        port_precision=_WIDEST - sport.width - dport.width,
    )


@lru_cache(maxsize=65536)
def weigh_widths(source: int, destination: int, named: bool, sport: int, dport: int) -> tuple[Weight, int]:
    """Weight and class of a filter whose ports have these widths; a weight knows no more of them."""
    weight = weigh(source, destination, int(named), Ports(0, sport - 1), Ports(0, dport - 1))
    return weight, class_of(weight)


def range_length(bits: int, count: int) -> int:
    """The prefix length that a block of `count` addresses weighs as: that of the smallest prefix that could hold it."""
    return bits - (count - 1).bit_length()


def class_of(weight: Weight) -> int:
    """The weight's class, 0..2**27 - 1. A heavier weight never has a smaller class."""
    narrowest = weight.ports_named + (2 - weight.ports_named) * 65536
    excess = _WIDEST - weight.port_precision - narrowest
    code = weight.prefix_sum
    code = code << 8 | weight.longer_prefix
    code = code << 1 | int(weight.source_prefix == weight.longer_prefix)
    code = code << 1 | weight.protocol_named
    code = code << 2 | weight.ports_named
    code = code << 1 | weight.destination_port_named
    return code << 5 | (17 - excess.bit_length())


def priority_of(weight_class: int) -> int:
    """The XFRM priority of a class: inside our band, smaller (asked earlier) for a heavier class."""
    return limits.PRIORITY_LAST - weight_class * _STEP
