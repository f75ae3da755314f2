# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a packet meets its fate: the filter that decides it, in the words and at the place of the policy, and those that
would decide if it were not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from xfrmd.compiler.exempt import LOOPBACK, condition, exempts, groups
from xfrmd.compiler.expand import Expanded
from xfrmd.compiler.in_kernel import InKernel, in_kernel
from xfrmd.compiler.protect import DEFAULT_RESPONSE
from xfrmd.compiler.reasons import STORES, TIE, reason
from xfrmd.compiler.remarks import of_filter, of_names, of_response
from xfrmd.compiler.rivals import rivals
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import NO_OVERLAY, FilterOrigin, Overlay, Plan, SpecificFilter, Verdict, Weight
from xfrmd.model.selector import Packet
from xfrmd.model.source import Span
from xfrmd.model.spd import SpdAction
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
_SOFT_NOW = "a soft SA is open now, as the other host does not answer IKE: it passes in the clear"
_RESPONDS_NOW = "no filter matches; the other host has asked for protection, and the default response rule gives it"


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """A filter that matches as well and lost. `lost`: exempt, lighter, store or later; `why` says it in words."""

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
            "policy": self.origin.policy,
            "store": self.origin.store.value,
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
class Explanation:
    """The verdict over one packet. For an exemption `rule` is its name; where no filter matches it is ""."""

    packet: Packet
    verdict: Verdict
    rule: str = ""
    winner: SpecificFilter | None = None
    notes: tuple[str, ...] = ()
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
            "packet": str(self.packet),
            "verdict": self.verdict.value,
            "policy": one.origin.policy if one else None,
            "store": one.origin.store.value if one else None,
            "rule": self.rule or None,
            "filter_list": one.origin.filter_list if one else None,
            "filter_action": one.origin.filter_action if one else None,
            "filter": self.written or None,
            "selector": str(one.selector) if one else None,
            "weight": list(one.weight) if one else None,
            "at": str(one.origin.at) if one else None,
            "notes": [*self.notes],
            "runners_up": [other.to_json() for other in self.runners_up],
            "kernel": self.kernel.to_json() if self.kernel else None,
        }


def winner(plan: Plan, packet: Packet) -> SpecificFilter | None:
    """The heaviest filter that matches a packet; exemptions are not asked."""
    for one in plan.filters:
        if one.inbound == packet.inbound and one.selector.contains(packet.selector):
            return one
    return None


def fate(one: SpecificFilter, packet: Packet, groups: Iterable[Prefix]) -> tuple[Verdict, tuple[str, ...]]:
    """What a filter does with a packet that it decides, and what is to be said about it."""
    if one.verdict is not Verdict.NEGOTIATE:
        return one.verdict, ()
    inpass = one.inpass and packet.inbound
    if any(group.contains(packet.selector.dst) for group in groups):
        return (Verdict.PERMIT, (_GROUP_INPASS,)) if inpass else (Verdict.BLOCK, (_GROUP_BLOCK,))
    return Verdict.NEGOTIATE, (_INPASS,) if inpass else ()


def explain(plan: Plan, packet: Packet) -> Explanation:
    """The fate of a packet under a plan, and the filter that decides it."""
    exempt = _exempt(packet, plan.local, plan.ipsecexempt, plan.groups) if plan.policy else None
    return exempt or _decided(packet, winner(plan, packet), plan.groups)


def _exempt(packet: Packet, own: Collection[Address], level: int, groups: tuple[Prefix, ...]) -> Explanation | None:
    name = exempts(packet, own, level, groups)
    if not name:
        return None
    where = condition(name)
    return Explanation(packet, Verdict.PERMIT, name, notes=(f"{_EXEMPT}, where {where}" if where else _EXEMPT,))


def _decided(packet: Packet, one: SpecificFilter | None, groups: Iterable[Prefix]) -> Explanation:
    if one is None:
        return Explanation(packet, Verdict.PASS)
    verdict, notes = fate(one, packet, groups)
    return Explanation(packet, verdict, one.origin.rule, one, notes)


def explain_whole(
    policies: PolicySet,
    facts: HostFacts,
    packet: Packet,
    plan: Plan | None = None,
    overlay: Overlay = NO_OVERLAY,
) -> Explanation:
    """The same with all that the policy knows beside it. `plan`: the policy compiled with these facts, for what stands
    in the kernel; without it that is left out. `overlay`: what stands there beside the plan.

    Only filters that may match are expanded, and the Plan's are not asked: a policy of a hundred thousand is asked in a
    tenth of a second.
    """
    every_policy = policies.in_force
    if not every_policy:
        return Explanation(packet, Verdict.PASS)
    matching, own, every = rivals(every_policy, facts, packet), facts.own_addresses(), groups(facts)
    exempt = _exempt(packet, own, policies.config.ipsecexempt, every)
    others = matching if exempt else matching[1:]
    found = exempt or _decided(packet, matching[0].specific if matching else None, every)
    if exempt is None:
        remarks = (
            of_filter(matching[0], found.verdict, every_policy, facts)
            if matching
            else of_response(every_policy, facts, packet, every)
        )
        found = replace(found, notes=(*found.notes, *remarks, *of_names(every_policy, facts, packet)))
    return _beside(
        replace(
            found,
            written=filter_text(matching[0].generic.filter) if found.winner else "",
            runners_up=tuple(_runner_up(other, found, every) for other in others[:RUNNERS_UP]),
            kernel=in_kernel(plan, overlay, packet, _chain(found)) if plan else None,
        ),
        overlay,
    )


def _runner_up(other: Expanded, found: Explanation, groups: Iterable[Prefix]) -> RunnerUp:
    one = other.specific
    verdict, _ = fate(one, found.packet, groups)
    lost, why = "exempt", f"{found.rule} decides before all filters"
    if found.winner:
        why = reason(found.winner.weight, one.weight)
        lost = "later" if why == TIE else "lighter"
        if why == TIE and found.winner.origin.store is not one.origin.store:
            lost, why = "store", STORES
    return RunnerUp(one.origin, verdict, one.weight, filter_text(other.generic.filter), lost, why)


def _chain(found: Explanation) -> str:
    side = "in" if found.packet.inbound else "out"
    if found.rule == LOOPBACK:
        return "prerouting" if found.packet.inbound else "postrouting"
    return f"exempt_{side}" if found.rule and found.winner is None else f"classify_{side}"


def _beside(found: Explanation, overlay: Overlay) -> Explanation:
    """What is decided at run time, where it differs from what the policy alone says."""
    entry = found.kernel.spd if found.kernel else None
    if entry is None or entry not in overlay.spd:
        return found
    if entry.action is SpdAction.BYPASS:
        return replace(found, verdict=Verdict.PERMIT, notes=(*found.notes, _SOFT_NOW))
    return replace(found, verdict=Verdict.NEGOTIATE, rule=DEFAULT_RESPONSE, notes=(_RESPONDS_NOW,))
