# SPDX-License-Identifier: GPL-2.0-or-later
"""From which prefix lengths on the kernel shall find SPD entries by hash (`ip xfrm policy set hthresh4`).

The kernel hashes a policy by both of its addresses, cut to the thresholds, when its prefixes are at least that long;
the others stand in a tree. Entries that fall together are a list, so a threshold must keep them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice, product
from typing import Final

from xfrmd import limits
from xfrmd.model.spd import Direction, SpdEntry

_TRIED: Final = 4
Threshold = tuple[int, int]
"""Local and remote prefix length."""


def thresholds(entries: Sequence[SpdEntry]) -> tuple[Threshold, Threshold]:
    """For IPv4 and for IPv6: what hashes the most entries and lets few fall together. The kernel's default for few."""
    out = [entry for entry in entries if entry.direction is Direction.OUT]
    v4, v6 = ([one for one in out if one.selector.src.family == family] for family in (4, 6))
    return _threshold(v4, 32), _threshold(v6, 128)


def _threshold(entries: Sequence[SpdEntry], width: int) -> Threshold:
    whole = (width, width)
    if len(entries) < limits.HASH_FROM:
        return whole
    pairs = Counter((one.selector.src.length, one.selector.dst.length) for one in entries)
    locals_, remotes = ({pair[side] for pair in pairs if pair[side]} for side in (0, 1))

    def hashed(pair: Threshold) -> int:
        return sum(count for one, count in pairs.items() if one[0] >= pair[0] and one[1] >= pair[1])

    ranked = sorted(product(locals_, remotes), key=lambda pair: (hashed(pair), *pair), reverse=True)
    return next(
        (pair for pair in islice(ranked, _TRIED) if _fullest(entries, pair, width) <= limits.HASH_BUCKET), whole
    )


def _fullest(entries: Sequence[SpdEntry], pair: Threshold, width: int) -> int:
    """How many entries fall together at most."""
    local, remote = (width - length for length in pair)
    buckets = Counter(
        (one.selector.src.value >> local, one.selector.dst.value >> remote)
        for one in entries
        if one.selector.src.length >= pair[0] and one.selector.dst.length >= pair[1]
    )
    return max(buckets.values(), default=0)
