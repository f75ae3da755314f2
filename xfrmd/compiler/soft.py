# SPDX-License-Identifier: GPL-2.0-or-later
"""A soft SA as what the kernel carries beside the Plan: clear packets of one filter between two hosts.

It stands directly above its own filter and below every heavier one: BYPASS entries just ahead of the filter's own, and
`accept` in the empty map that is asked just before the filter's. Both ways, for the filter's protocol and ports only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from xfrmd.compiler import companions, ports
from xfrmd.compiler.weight import class_of, priority_of
from xfrmd.model.nft import ElementKey, NftMap
from xfrmd.model.plan import Overlay, Plan, SpecificFilter
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

AHEAD = 2
"""How far the BYPASS of a soft SA stands ahead of its filter; multicast's DISCARD stands between them."""
_DIRECTIONS = {False: (Direction.OUT,), True: (Direction.IN, Direction.FWD)}


def soft_part(plan: Plan, filters: Iterable[SpecificFilter], outbound: Selector) -> Overlay:
    """What opens `outbound`, a filter's selector cut to two hosts, and its reverse. `filters`: all with its reqid.

    An empty Overlay when the filter no longer has this traffic.
    """
    spd: list[SpdEntry] = []
    elements: dict[str, Mapping[ElementKey, str]] = {}
    known = tuple(filters)
    for inbound, selector in ((False, outbound), (True, outbound.reversed)):
        weight_class = _class(known, selector, inbound=inbound)
        if weight_class is None:
            return Overlay()
        spd += _bypass(selector, _DIRECTIONS[inbound], priority_of(weight_class) - AHEAD)
        elements.update(companions.elements(_maps(plan, weight_class, inbound=inbound), selector, "accept"))
    return Overlay(tuple(spd), elements)


def _class(filters: Iterable[SpecificFilter], selector: Selector, *, inbound: bool) -> int | None:
    """The class of the filter that holds a selector."""
    holding = (one.weight for one in filters if one.inbound == inbound and one.selector.contains(selector))
    heaviest = max(holding, default=None)
    return None if heaviest is None else class_of(heaviest)


def _maps(plan: Plan, weight_class: int, *, inbound: bool) -> Iterator[NftMap]:
    side = "in" if inbound else "out"
    for one in plan.nft.maps:
        if one.name.startswith(f"soft_{side}") and one.name.endswith(f"_{weight_class:x}"):
            yield one


def _bypass(selector: Selector, directions: Iterable[Direction], priority: int) -> Iterator[SpdEntry]:
    for direction in directions:
        for block in ports.split(selector):
            yield SpdEntry(direction, block, SpdAction.BYPASS, priority)
