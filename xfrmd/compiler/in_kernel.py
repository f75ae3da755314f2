# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the kernel for the decision over a packet."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.compiler.interpreter import first_entry, key
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.selector import Packet
from xfrmd.model.spd import Direction, SpdEntry


@dataclass(frozen=True, slots=True)
class InKernel:
    """What stands for the decision in the kernel: chain and map of nftables, and the SPD entry."""

    chain: str
    map: str = ""
    element: str = ""
    spd: SpdEntry | None = None

    def to_json(self) -> dict[str, object]:
        """A JSON object; what there is none of is null."""
        return {
            "chain": self.chain,
            "map": self.map or None,
            "element": self.element or None,
            "spd": {
                "direction": self.spd.direction.name.lower(),
                "action": self.spd.action.value,
                "selector": str(self.spd.selector),
                "priority": self.spd.priority,
                "reqid": self.spd.reqid or None,
            }
            if self.spd
            else None,
        }


def in_kernel(plan: Plan, overlay: Overlay, packet: Packet, chain: str) -> InKernel:
    """What stands for a packet that is decided in this chain, in a plan's table and SPD and in what stands beside."""
    direction = Direction.IN if packet.inbound else Direction.OUT
    found = (first_entry(spd, direction, packet) for spd in (overlay.spd, plan.spd))
    spd = min(filter(None, found), key=lambda entry: entry.priority, default=None)
    side = "in" if packet.inbound else "out"
    for one in plan.nft.maps if chain == f"classify_{side}" else ():
        if one.name.startswith((side, f"soft_{side}", f"dyn_{side}")):
            asked = key(one.expression, packet.selector)
            element = None if asked is None else overlay.elements.get(one.name, one.elements).get(asked)
            if element is not None:
                return InKernel(chain, one.name, element, spd)
    return InKernel(chain, spd=spd)
