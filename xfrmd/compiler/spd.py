# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions to SPD entries: PROTECT for negotiate filters, and as much BYPASS and DISCARD ahead of them as is needed.

XFRM looks up an outgoing packet before nftables sees it, so whatever nftables decides ahead of a negotiate filter must
be known here as well, or an exempt packet would raise an ACQUIRE. A permit or block filter becomes an entry only where
it overlaps a lighter entry that would decide otherwise: a policy without negotiate filters has no entries at all.

FWD repeats IN: a forwarded packet is checked there by its addresses on the wire, then looked up in OUT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from xfrmd.compiler import ports
from xfrmd.compiler.actions import BY_VERDICT
from xfrmd.compiler.exempt import DEFAULT_LEVEL, groups_exempt, spd_selectors
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.regions import Region
from xfrmd.compiler.weight import AHEAD_GROUP, EXEMPT_PRIORITY, priority_of
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import SpecificFilter
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry


class _Spd:
    """Entries of one direction, put in from the lightest to the heaviest."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._present: OverlapIndex[SpdAction] = OverlapIndex()
        self._entries: dict[Selector, SpdEntry] = {}

    def put(self, selector: Selector, action: SpdAction, priority: int, reqid: int = 0, optional: bool = False) -> None:
        """Add an entry. It replaces a lighter one of the same selector, which could never be reached."""
        self._present.add(selector, action)
        for block in ports.split(selector):
            entry = SpdEntry(self._direction, block, action, priority, reqid=reqid, optional=optional)
            self._entries[block] = entry

    def put_ahead(self, selector: Selector, action: SpdAction, priority: int) -> None:
        """Add an entry if a lighter one decides some of its packets otherwise."""
        if any(other is not action for other in self._present.find(selector)):
            self.put(selector, action, priority)

    def entries(self) -> tuple[SpdEntry, ...]:
        """All entries, the first asked first."""
        return tuple(sorted(self._entries.values(), key=lambda entry: (entry.priority, entry.selector)))


def _grouped(one: SpecificFilter, groups: Iterable[Prefix]) -> Iterator[Selector]:
    """The part of a negotiate filter that speaks of multicast and broadcast."""
    for group in groups:
        if group.overlaps(one.selector.dst):
            yield one.selector._replace(dst=max(group, one.selector.dst, key=lambda prefix: prefix.length))


def _fill(spd: _Spd, regions: Iterable[Region], groups: tuple[Prefix, ...]) -> None:
    for weight_class, expanded in regions:
        one, priority = expanded.specific, priority_of(weight_class)
        action = BY_VERDICT[one.verdict].spd
        if action is not SpdAction.PROTECT:
            spd.put_ahead(one.selector, action, priority)
            continue
        optional = one.inpass and one.inbound
        spd.put(one.selector, action, priority, one.reqid, optional)
        if not optional:
            for selector in _grouped(one, groups):
                spd.put_ahead(selector, SpdAction.DISCARD, priority - AHEAD_GROUP)


def _direction(
    direction: Direction, regions: tuple[Region, ...], own: tuple[Address, ...], groups: tuple[Prefix, ...], level: int
) -> tuple[SpdEntry, ...]:
    spd, inbound = _Spd(direction), direction is Direction.IN
    lightest_first = [region for region in reversed(regions) if region.expanded.specific.inbound == inbound]
    _fill(spd, lightest_first, () if groups_exempt(level) else groups)
    for where, selector in spd_selectors(own, level, groups):
        if where is direction:
            spd.put_ahead(selector, SpdAction.BYPASS, EXEMPT_PRIORITY)
    return spd.entries()


def entries(
    regions: tuple[Region, ...], own: tuple[Address, ...], groups: tuple[Prefix, ...], level: int = DEFAULT_LEVEL
) -> tuple[SpdEntry, ...]:
    """The SPD: OUT, IN and FWD, each in the order in which it is asked, with the exemptions of this `ipsecexempt`."""
    if not any(BY_VERDICT[region.expanded.specific.verdict].spd is SpdAction.PROTECT for region in regions):
        return ()
    out = _direction(Direction.OUT, regions, own, groups, level)
    inward = _direction(Direction.IN, regions, own, groups, level)
    forward = tuple(replace(entry, direction=Direction.FWD) for entry in inward if entry.priority != EXEMPT_PRIORITY)
    return out + inward + forward
