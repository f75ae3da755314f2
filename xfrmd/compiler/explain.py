# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a packet meets its fate: the filter that decides it, in the words and at the place of the policy."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.compiler.exempt import exempts
from xfrmd.model.plan import FilterOrigin, Plan, SpecificFilter, Verdict, Weight
from xfrmd.model.selector import Packet
from xfrmd.model.source import Span

SCHEMA = 1
"""Version of the JSON form; it grows when a field changes its meaning."""

_GROUP_BLOCK = "multicast and broadcast are never negotiated: a negotiate filter drops them"
_GROUP_INPASS = "multicast and broadcast are never negotiated; with inpass they are let in"
_STORIES = {
    Verdict.PERMIT: "passes unmodified",
    Verdict.BLOCK: "is dropped",
    Verdict.NEGOTIATE: "passes only on an SA that IKE negotiates",
    Verdict.PASS: "passes unmodified: no filter matches",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict over one packet. For an exemption `rule` is its name; where no filter matches it is ""."""

    packet: Packet
    verdict: Verdict
    rule: str = ""
    filter_list: str = ""
    filter_action: str = ""
    weight: Weight | None = None
    at: Span | None = None
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """A JSON object; what does not apply is null."""
        return {
            "schema": SCHEMA,
            "direction": "in" if self.packet.inbound else "out",
            "packet": str(self.packet.selector),
            "verdict": self.verdict.value,
            "rule": self.rule or None,
            "filter_list": self.filter_list or None,
            "filter_action": self.filter_action or None,
            "weight": list(self.weight) if self.weight else None,
            "at": str(self.at) if self.at else None,
            "note": self.note or None,
        }

    def __str__(self) -> str:
        direction = "inbound" if self.packet.inbound else "outbound"
        lines = [f"{direction} {self.packet.selector}: {self.verdict.value}, it {_STORIES[self.verdict]}"]
        if self.at:
            lines.append(f"  rule {self.rule!r}, filter list {self.filter_list!r}, action {self.filter_action!r}")
            lines.append(f"  filter at {self.at}, weight {self.weight}")
        elif self.rule:
            lines.append(f"  {self.rule}: decided before all filters")
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join(lines)


def winner(plan: Plan, packet: Packet) -> SpecificFilter | None:
    """The heaviest filter that matches a packet; exemptions are not asked."""
    for one in plan.filters:
        if one.inbound == packet.inbound and one.selector.contains(packet.selector):
            return one
    return None


def explain(plan: Plan, packet: Packet) -> Explanation:
    """The fate of a packet under a plan, and why."""
    exempt = exempts(packet, plan.local, plan.ipsecexempt, plan.groups) if plan.policy else ""
    if exempt:
        return Explanation(packet, Verdict.PERMIT, exempt)
    found = winner(plan, packet)
    if found is None:
        return Explanation(packet, Verdict.PASS)
    if found.verdict is Verdict.NEGOTIATE and any(group.contains(packet.selector.dst) for group in plan.groups):
        if found.inpass and packet.inbound:
            return _explanation(packet, Verdict.PERMIT, found, _GROUP_INPASS)
        return _explanation(packet, Verdict.BLOCK, found, _GROUP_BLOCK)
    inpass = found.inpass and packet.inbound and found.verdict is Verdict.NEGOTIATE
    return _explanation(packet, found.verdict, found, "inpass: it is let in in the clear as well" if inpass else "")


def _explanation(packet: Packet, verdict: Verdict, found: SpecificFilter, note: str) -> Explanation:
    origin: FilterOrigin = found.origin
    return Explanation(
        packet, verdict, origin.rule, origin.filter_list, origin.filter_action, found.weight, origin.at, note
    )
