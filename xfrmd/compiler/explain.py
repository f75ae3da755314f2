# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a packet meets its fate: the filter that decides it, in the words and at the place of the policy, and those that
would decide if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from xfrmd.compiler.exempt import LOOPBACK, exempts
from xfrmd.compiler.expand import Expanded
from xfrmd.compiler.interpreter import first_entry, key
from xfrmd.compiler.reasons import TIE, reason
from xfrmd.compiler.rivals import rivals
from xfrmd.model.addresses import Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import FilterOrigin, Plan, SpecificFilter, Verdict, Weight
from xfrmd.model.selector import Packet
from xfrmd.model.source import Span
from xfrmd.model.spd import Direction, SpdEntry
from xfrmd.policy.spoken import filter_text
from xfrmd.policy.words import PolicySet

SCHEMA: Final = 1
"""Version of the JSON form; it grows when a field changes its meaning."""
RUNNERS_UP: Final = 5
"""Filters that are told beside the winner: enough to see what happens when it goes, and short enough to be read."""

_GROUP_BLOCK = "multicast and broadcast are never negotiated: a negotiate filter drops them"
_GROUP_INPASS = "multicast and broadcast are never negotiated; with inpass they are let in"
_EXEMPT = "an exemption: decided before all filters"
_INPASS = "inpass: it is let in in the clear as well"


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """A filter that matches as well and lost. `lost`: exempt, lighter or later; `why` says it in words."""

    origin: FilterOrigin
    verdict: Verdict
    weight: Weight
    filter: str
    lost: str
    why: str

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {
            "verdict": self.verdict.value,
            "rule": self.origin.rule,
            "filter_list": self.origin.filter_list,
            "filter_action": self.origin.filter_action,
            "filter": self.filter,
            "weight": list(self.weight),
            "at": str(self.origin.at),
            "lost": self.lost,
            "why": self.why,
        }


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


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict over one packet. For an exemption `rule` is its name; where no filter matches it is ""."""

    packet: Packet
    verdict: Verdict
    rule: str = ""
    winner: SpecificFilter | None = None
    note: str = ""
    written: str = ""
    """The winner as it stands in the policy."""
    runners_up: tuple[RunnerUp, ...] = ()
    kernel: InKernel | None = None

    @property
    def at(self) -> Span | None:
        """Place of the winner."""
        return self.winner.origin.at if self.winner else None

    @property
    def weight(self) -> Weight | None:
        """Weight of the winner."""
        return self.winner.weight if self.winner else None

    def to_json(self) -> dict[str, object]:
        """A JSON object; what does not apply is null."""
        one = self.winner
        return {
            "schema": SCHEMA,
            "direction": "in" if self.packet.inbound else "out",
            "packet": str(self.packet.selector),
            "verdict": self.verdict.value,
            "rule": self.rule or None,
            "filter_list": one.origin.filter_list if one else None,
            "filter_action": one.origin.filter_action if one else None,
            "filter": self.written or None,
            "selector": str(one.selector) if one else None,
            "weight": list(one.weight) if one else None,
            "at": str(one.origin.at) if one else None,
            "note": self.note or None,
            "runners_up": [other.to_json() for other in self.runners_up],
            "kernel": self.kernel.to_json() if self.kernel else None,
        }


def winner(plan: Plan, packet: Packet) -> SpecificFilter | None:
    """The heaviest filter that matches a packet; exemptions are not asked."""
    for one in plan.filters:
        if one.inbound == packet.inbound and one.selector.contains(packet.selector):
            return one
    return None


def fate(one: SpecificFilter, packet: Packet, groups: Iterable[Prefix]) -> tuple[Verdict, str]:
    """What a filter does with a packet that it decides, and what is to be said about it."""
    if one.verdict is not Verdict.NEGOTIATE:
        return one.verdict, ""
    inpass = one.inpass and packet.inbound
    if any(group.contains(packet.selector.dst) for group in groups):
        return (Verdict.PERMIT, _GROUP_INPASS) if inpass else (Verdict.BLOCK, _GROUP_BLOCK)
    return Verdict.NEGOTIATE, _INPASS if inpass else ""


def explain(plan: Plan, packet: Packet) -> Explanation:
    """The fate of a packet under a plan, and the filter that decides it."""
    return _exempt(plan, packet) or _decided(plan, packet, winner(plan, packet))


def _exempt(plan: Plan, packet: Packet) -> Explanation | None:
    name = exempts(packet, plan.local, plan.ipsecexempt, plan.groups) if plan.policy else ""
    return Explanation(packet, Verdict.PERMIT, name, note=_EXEMPT) if name else None


def _decided(plan: Plan, packet: Packet, one: SpecificFilter | None) -> Explanation:
    if one is None:
        return Explanation(packet, Verdict.PASS)
    verdict, note = fate(one, packet, plan.groups)
    return Explanation(packet, verdict, one.origin.rule, one, note)


def explain_whole(plan: Plan, packet: Packet, policies: PolicySet, facts: HostFacts) -> Explanation:
    """The same with all that the policy knows beside it. `plan` is that policy compiled with these facts.

    Only the policy's filters that may match are expanded, and the Plan's are not asked: a policy of a hundred thousand
    is asked in a tenth of a second.
    """
    matching = rivals(policies.assigned, facts, packet) if policies.assigned else ()
    found, others = _exempt(plan, packet), matching
    if found is None:
        found, others = _decided(plan, packet, matching[0].specific if matching else None), matching[1:]
    return replace(
        found,
        written=filter_text(matching[0].generic.filter) if found.winner else "",
        runners_up=tuple(_runner_up(other, found, plan.groups) for other in others[:RUNNERS_UP]),
        kernel=_in_kernel(plan, found) if plan.policy else None,
    )


def _runner_up(other: Expanded, found: Explanation, groups: Iterable[Prefix]) -> RunnerUp:
    one = other.specific
    verdict, _ = fate(one, found.packet, groups)
    lost, why = "exempt", f"{found.rule} decides before all filters"
    if found.winner:
        why = reason(found.winner.weight, one.weight)
        lost = "later" if why == TIE else "lighter"
    return RunnerUp(one.origin, verdict, one.weight, filter_text(other.generic.filter), lost, why)


def _in_kernel(plan: Plan, found: Explanation) -> InKernel:
    side = "in" if found.packet.inbound else "out"
    spd = first_entry(plan.spd, Direction.IN if found.packet.inbound else Direction.OUT, found.packet)
    if found.rule == LOOPBACK:
        return InKernel("prerouting" if found.packet.inbound else "postrouting", spd=spd)
    if found.rule and found.winner is None:
        return InKernel(f"exempt_{side}", spd=spd)
    chain = f"classify_{side}"
    for one in plan.nft.maps:
        if one.name.startswith(side):
            asked = key(one.expression, found.packet.selector)
            element = None if asked is None else one.elements.get(asked)
            if element is not None:
                return InKernel(chain, one.name, element, spd)
    return InKernel(chain, spd=spd)
