# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said about a policy only with the host's facts: what can never win, what conflicts, what locks out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from xfrmd.compiler import pad
from xfrmd.compiler.blocks import blocks_of
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.cut import subtract_all
from xfrmd.compiler.expand import Generic
from xfrmd.compiler.layers import Layer, meeting, rank
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.errors import PolicyError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, WITH_PORTS, Ports, Selector
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Action, AddressWord, ConnectionType, PolicySet

MANAGEMENT: Final = (22,)
"""TCP ports that keep the host manageable: ssh."""
_SHADOWS: Final = 64
"""Heavier filters that a filter is compared with when it is asked whether anything is left of it."""


def _words(made: Compilation) -> Iterator[Problem]:
    """Filters that mean nothing here, or something that cannot be expressed."""
    meant = {one.number for one in made.filters()}
    for generic in made.generics.values():
        yield from _one(generic, generic.number in meant)


def _one(generic: Generic, meant: bool) -> Iterator[Problem]:
    one, rule = generic.filter, generic.rule
    if rule.conntype is not ConnectionType.ALL and AddressWord.ME not in (one.src, one.dst):
        yield Problem(
            Severity.ERROR,
            one.at,
            f"rule {rule.name!r} is for connection type {rule.conntype.value}, but this filter names no side `me`",
            "write `me` on the side of this host: the connection type chooses among its addresses",
        )
    if one.protocol not in (*WITH_PORTS, ICMP, ICMPV6) and any(not ports.is_any for ports in one.sports + one.dports):
        yield Problem(
            Severity.ERROR, one.at, "ports without a protocol that has ports", "name tcp or udp, or drop the ports"
        )
    if not one.mirrored and rule.filter_action.action is Action.NEGOTIATE and rule.tunnel is None:
        yield Problem(
            Severity.WARNING,
            one.at,
            f"rule {rule.name!r} negotiates for one direction only, so the other passes in the clear",
            "set `mirrored: yes`",
        )
    if not meant:
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


def _ties(made: Compilation) -> Iterator[Problem]:
    """Filters of equal weight that overlap and want different things."""
    told: set[tuple[int, int]] = set()
    for one, other, _ in made.overlaps():
        pair = (one.number, other.number)
        alike = one.verdict is other.verdict and one.verdict is not Verdict.NEGOTIATE
        if alike or one.number == other.number or one.weight != other.weight or pair in told:
            continue
        told.add(pair)
        yield Problem(
            Severity.WARNING,
            other.origin.at,
            f"overlaps the filter at {one.origin.at} of rule {one.origin.rule!r}, which is as specific, comes first in "
            f"the file and wins ({one.verdict.value})",
            "make one of them narrower, or remove one",
        )


def _heaviest_first(made: Compilation, *, inbound: bool) -> list[tuple[int, Layer]]:
    """The layers of one direction with their classes."""
    found = [(weight_class, layer) for (way, weight_class), layer in made.layers.items() if way == inbound]
    return sorted(found, key=lambda pair: -pair[0])


def _shadows(made: Compilation) -> dict[int, SpecificFilter]:
    """Filters of which no packet is left, by number, each with one that took from it."""
    alive: set[int] = set()
    shadow = {loser.number: winner for winner, loser, lost in made.overlaps() if lost and winner.number != loser.number}
    for inbound in (True, False):
        heavier: OverlapIndex[SpecificFilter] = OverlapIndex()
        layers = _heaviest_first(made, inbound=inbound)
        for place, (_, layer) in enumerate(layers):
            for one in layer.regions():
                above = _above(heavier, one) if place else []
                if above and len(above) <= _SHADOWS and not subtract_all(one.selector, [up.selector for up in above]):
                    shadow.setdefault(one.number, above[0])
                else:
                    alive.add(one.number)
            for one in layer.regions() if place < len(layers) - 1 else ():
                heavier.add(one.selector, one)
    return {number: by for number, by in shadow.items() if number not in alive}


def _above(heavier: OverlapIndex[SpecificFilter], one: SpecificFilter) -> list[SpecificFilter]:
    """Heavier regions of other filters that take from this one."""
    family = one.selector.family
    if not any(heavier.meets(family, block) for block in blocks_of(one.selector)):
        return []
    return [other for other in heavier.find(one.selector) if other.number != one.number]


def _shadowed(made: Compilation) -> Iterator[Problem]:
    """Filters that never decide anything."""
    for number, by in _shadows(made).items():
        yield Problem(
            Severity.WARNING,
            made.generics[number].filter.at,
            f"the filter never decides anything: more specific ones take all of it, such as the one at "
            f"{by.origin.at} of rule {by.origin.rule!r}",
            "remove it, or make it narrower than those",
        )


def _lock_out(made: Compilation) -> Iterator[Problem]:
    """Blocks that hold for the management ports from everywhere."""
    layers = _heaviest_first(made, inbound=True)
    for port in MANAGEMENT:
        for address in made.facts.own_addresses():
            asked = _management(address, port)
            regions = chain.from_iterable(sorted(meeting(layer, asked), key=rank) for _, layer in layers)
            block = _blocks(regions, asked)
            if block is not None:
                yield Problem(
                    Severity.WARNING,
                    block.origin.at,
                    f"nobody can reach TCP port {port} of {address}: this block of rule {block.origin.rule!r} "
                    "holds for it from everywhere",
                    f"add a narrower permit or negotiate filter for TCP port {port} if the host is managed over it",
                )


def _blocks(heaviest_first: Iterator[SpecificFilter], asked: Selector) -> SpecificFilter | None:
    """The block that holds for all of a selector, None when something more specific lets a part of it pass."""
    for one in heaviest_first:
        if one.verdict is not Verdict.BLOCK:
            return None
        if one.selector.contains(asked):
            return one
    return None


def _management(address: Address, port: int) -> Selector:
    return Selector(Prefix.any(address.family), Prefix.host(address), TCP, ANY_PORT, Ports(port, port))


def examine(made: Compilation) -> tuple[Problem, ...]:
    """Problems of a compiled policy, in the order of the file."""
    found = [
        *_words(made),
        *pad.conflicts(made.peers()),
        *_ties(made),
        *_shadowed(made),
        *_lock_out(made),
    ]
    return tuple(sorted(found, key=lambda problem: (problem.at, problem.severity.value, problem.message)))


def check(policies: PolicySet, facts: HostFacts) -> tuple[Problem, ...]:
    """Problems of the assigned policy on a host with these facts, in the order of the file. A policy with an error
    among them must not be installed.
    """
    if policies.assigned is None:
        return ()
    try:
        made = Compilation(policies, facts)
    except PolicyError as error:
        return (Problem(Severity.ERROR, policies.assigned.at, str(error), "merge filters: subnets, port ranges"),)
    return examine(made)
