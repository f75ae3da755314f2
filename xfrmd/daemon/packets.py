# SPDX-License-Identifier: GPL-2.0-or-later
"""Which negotiate filter a held packet belongs to, and which SPD entries carry a filter's outbound traffic."""

from __future__ import annotations

from xfrmd.ike.lookup import PlanIndex
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry


class NegotiatedPackets:
    """The part of the Plan that packets ask about, indexed; exchanged whole when the Plan changes."""

    def __init__(self, plan: Plan) -> None:
        self._index = PlanIndex(plan)
        self._out: dict[int, list[SpdEntry]] = {}
        for entry in plan.spd:
            if entry.direction is Direction.OUT and entry.action is SpdAction.PROTECT:
                self._out.setdefault(entry.reqid, []).append(entry)

    def reqid(self, packet: Selector) -> int:
        """The reqid of the negotiate filter that decides an outbound packet, 0 when none does."""
        region = self._index.heaviest(packet)
        return region.protect.reqid if region else 0

    def rule(self, packet: Selector) -> str:
        """The rule whose SA an outbound packet needs, "" when it needs none."""
        region = self._index.heaviest(packet)
        return region.protect.origin.rule if region else ""

    def out_entries(self, reqid: int, selector: Selector) -> list[SpdEntry]:
        """The filter's out policies that speak of traffic of `selector`."""
        return [entry for entry in self._out.get(reqid, ()) if entry.selector.overlaps(selector)]
