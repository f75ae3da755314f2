# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said about a policy only with the host's facts: what can never win, what conflicts, what locks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from xfrmd.compiler import pad
from xfrmd.compiler.compile import regions_of
from xfrmd.compiler.cut import subtract_all
from xfrmd.compiler.expand import Expanded, Generic, Place, expand_one, generic_filters
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.regions import Overlap, Region
from xfrmd.errors import PolicyError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Verdict
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, WITH_PORTS, Ports, Selector
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Action, AddressWord, ConnectionType, Policy, PolicySet

MANAGEMENT: Final = (22,)
"""TCP ports that keep the host manageable: ssh."""
_SHADOWS: Final = 64
"""Heavier filters that a filter is compared with when it is asked whether anything is left of it."""


def _words(policy: Policy, facts: HostFacts) -> Iterator[Problem]:
    """Filters that mean nothing here, or something that cannot be expressed."""
    for generic in generic_filters(policy):
        yield from _one(generic, facts)


def _one(generic: Generic, facts: HostFacts) -> Iterator[Problem]:
    one, rule = generic.filter, generic.rule
    if rule.conntype is not ConnectionType.ALL and AddressWord.ME not in (one.src, one.dst):
        yield Problem(
            Severity.ERROR,
            one.at,
            f"rule {rule.name!r} is for connection type {rule.conntype.value}, but this filter names no side `me`",
            "write `me` on the side of this host: the connection type chooses among its addresses",
        )
    if any(not ports.is_any for ports in one.sports + one.dports) and one.protocol not in (*WITH_PORTS, ICMP, ICMPV6):
        yield Problem(
            Severity.ERROR, one.at, "ports without a protocol that has ports", "name tcp or udp, or drop the ports"
        )
    if rule.filter_action.action is Action.NEGOTIATE and not one.mirrored:
        yield Problem(
            Severity.WARNING,
            one.at,
            f"rule {rule.name!r} negotiates for one direction only, so the other passes in the clear",
            "set `mirrored: yes`",
        )
    if next(expand_one(generic, facts), None) is None:
        yield Problem(
            Severity.WARNING,
            one.at,
            f"the filter means nothing on this host: {_nothing(generic)}",
            "nothing to do if that is meant; else check the host's addresses and names",
        )


def _nothing(generic: Generic) -> str:
    one = generic.filter
    if one.src is AddressWord.ME and one.dst is AddressWord.ME:
        return "traffic from `me` to `me` never leaves it"
    return "no address stands behind one of its sides, or the sides are of different IP versions"


def _ties(met: Iterable[Overlap]) -> Iterator[Problem]:
    """Filters of equal weight that overlap and want different things."""
    told: set[tuple[object, object]] = set()
    for winner, loser, _ in met:
        one, other = winner.specific, loser.specific
        pair = (winner.generic.place, loser.generic.place)
        alike = one.verdict is other.verdict and one.verdict is not Verdict.NEGOTIATE
        if alike or one.weight != other.weight or pair in told:
            continue
        told.add(pair)
        yield Problem(
            Severity.WARNING,
            loser.generic.filter.at,
            f"overlaps the filter at {one.origin.at} of rule {one.origin.rule!r}, which is as specific, comes first in "
            f"the file and wins ({one.verdict.value})",
            "make one of them narrower, or remove one",
        )


def _shadows(regions: Iterable[Region], met: Iterable[Overlap]) -> dict[Place, Generic]:
    """Filters of which no packet is left, each with one that took from it."""
    heavier: dict[bool, OverlapIndex[Region]] = {True: OverlapIndex(), False: OverlapIndex()}
    alive: set[Place] = set()
    shadow = {loser.generic.place: winner.generic for winner, loser, wholly in met if wholly}
    for region in regions:
        specific, generic = region.expanded.specific, region.expanded.generic
        index = heavier[specific.inbound]
        above = [other.expanded for other in index.find(specific.selector) if other.expanded.generic is not generic]
        if len(above) > _SHADOWS or subtract_all(specific.selector, [other.specific.selector for other in above]):
            alive.add(generic.place)
        else:
            shadow.setdefault(generic.place, above[0].generic)
        index.add(specific.selector, region)
    return {place: by for place, by in shadow.items() if place not in alive}


def _shadowed(policy: Policy, regions: Iterable[Region], met: Iterable[Overlap]) -> Iterator[Problem]:
    """Filters that never decide anything."""
    shadow = _shadows(regions, met)
    for generic in generic_filters(policy):
        by = shadow.get(generic.place)
        if by is not None:
            yield Problem(
                Severity.WARNING,
                generic.filter.at,
                f"the filter never decides anything: more specific ones take all of it, such as the one at "
                f"{by.filter.at} of rule {by.rule.name!r}",
                "remove it, or make it narrower than those",
            )


def _lock_out(facts: HostFacts, regions: Iterable[Region]) -> Iterator[Problem]:
    """Blocks that hold for the management ports from everywhere."""
    inbound = [one.expanded for one in regions if one.expanded.specific.inbound]
    for port in MANAGEMENT:
        for address in facts.own_addresses():
            block = _blocks(inbound, _management(address, port))
            if block is not None:
                yield Problem(
                    Severity.WARNING,
                    block.generic.filter.at,
                    f"nobody can reach TCP port {port} of {address}: this block of rule {block.generic.rule.name!r} "
                    "holds for it from everywhere",
                    f"add a narrower permit or negotiate filter for TCP port {port} if the host is managed over it",
                )


def _blocks(heaviest_first: Iterable[Expanded], asked: Selector) -> Expanded | None:
    """The block that holds for all of a selector, None when something more specific lets a part of it pass."""
    for one in heaviest_first:
        if not one.specific.selector.overlaps(asked):
            continue
        if one.specific.verdict is not Verdict.BLOCK:
            return None
        if one.specific.selector.contains(asked):
            return one
    return None


def _management(address: Address, port: int) -> Selector:
    return Selector(Prefix.any(address.family), Prefix.host(address), TCP, ANY_PORT, Ports(port, port))


def check(policies: PolicySet, facts: HostFacts) -> tuple[Problem, ...]:
    """Problems of the assigned policy on a host with these facts, in the order of the file. A policy with an error
    among them must not be installed.
    """
    policy = policies.assigned
    if policy is None:
        return ()
    try:
        regions, met = regions_of(policy, facts)
    except PolicyError as error:
        return (Problem(Severity.ERROR, policy.at, str(error), "merge filters: subnets, port ranges"),)
    found = [
        *_words(policy, facts),
        *pad.conflicts(regions, policy, tuple(sorted(facts.own_addresses()))),
        *_ties(met),
        *_shadowed(policy, regions, met),
        *_lock_out(facts, regions),
    ]
    return tuple(sorted(found, key=lambda problem: (problem.at, problem.severity.value, problem.message)))
