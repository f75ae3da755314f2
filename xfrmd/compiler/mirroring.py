# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether block filters are XFRM policies too, so that they hold when nftables is flushed (docs/decisions/0025)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from xfrmd import limits
from xfrmd.model.addresses import Prefix
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

FILTERS: Final = 4096
"""Permit and block filters up to which blocks are mirrored: they become some 12,000 policies, a tenth of a second."""
WILDCARDS: Final = 64
"""Policies with the address any in one direction and IP version: 2 us for each packet, as the kernel looks at all."""


SHUT: Final = tuple(
    SpdEntry(direction, Selector(Prefix.any(family), Prefix.any(family)), SpdAction.DISCARD, limits.PRIORITY_LAST)
    for direction in Direction
    for family in (4, 6)
)
"""Blocks everything that no other policy of ours speaks of: for the moment in which somebody has removed or changed the
nftables table of a policy that is not mirrored. What is protected goes on: of one priority the older is asked first.
"""


def are_few(regions: Iterable[SpecificFilter]) -> bool:
    """Are there few enough filters that only nftables needs, and heavier ones that mirrored blocks would need?"""
    plain = (one for one in regions if one.verdict is not Verdict.NEGOTIATE)
    return next(islice(plain, FILTERS, None), None) is None


def is_cheap(wildcards: int) -> bool:
    """May a policy be mirrored that has then so many policies with the address any?"""
    return wildcards <= WILDCARDS
