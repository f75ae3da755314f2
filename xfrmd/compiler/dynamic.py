# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter of the default response rule as what the kernel carries beside the Plan: traffic between two hosts that is
protected because the peer has asked for it. It is lighter than every filter of the policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from xfrmd import limits
from xfrmd.compiler import companions
from xfrmd.model.nft import ElementKey
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.proposals import ProtocolId, protocol_of
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

_SIDES = (("out", (Direction.OUT,)), ("in", (Direction.IN, Direction.FWD)))


def dynamic_part(plan: Plan, reqid: int, outbound: Selector) -> Overlay:
    """What protects `outbound` and its reverse: whole addresses, and ports that are any or one."""
    protocol = next((protocol_of(one.proposals) for one in plan.protect if one.responds), ProtocolId.ESP)
    spd: list[SpdEntry] = []
    elements: dict[str, Mapping[ElementKey, str]] = {}
    for (side, directions), selector in zip(_SIDES, (outbound, outbound.reversed), strict=True):
        spd += [
            SpdEntry(direction, selector, SpdAction.PROTECT, limits.PRIORITY_LAST, reqid, protocol=protocol)
            for direction in directions
        ]
        maps = [one for one in plan.nft.maps if one.name.startswith(f"dyn_{side}")]
        elements.update(companions.elements(maps, selector, "return"))
    return Overlay(tuple(spd), elements)
