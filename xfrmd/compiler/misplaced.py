# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with where tunnels end, on this host: ends of nobody or both, names without answers, halves swapped."""

from __future__ import annotations

from collections.abc import Iterator

from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.expand import Generic, directions
from xfrmd.compiler.tunnels import Active, Inactive
from xfrmd.model.addresses import Address
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import AddressSpec, TunnelEnd

_BLOCKED = "there is no tunnel, and what should be in it is blocked"
_EMPTY = "there is no tunnel; its filter speaks of no traffic now"
_SWAP = "exchange `tunnel` of its two rules: the rule for packets that leave names the far gateway, the other this host"
_REMEDIES = {
    Inactive.LONE: "add the rule of the way back",
    Inactive.UNRESOLVED: "see that the name server knows it; the tunnel comes up with the answer. Or name an address",
    Inactive.ELSEWHERE: "give this host one of the addresses: the tunnel comes up with it. Or write `activate: no` for "
    "both rules where the policy is shared with hosts that are no gateway",
    Inactive.HERE: "name the far gateway in the rule for packets that leave",
    Inactive.FAMILIES: "name two ends of one IP version; the networks in the tunnel may be of the other",
}


def misplaced(made: Compilation) -> Iterator[Problem]:
    """Problems of the tunnels of a policy, each told once for its two rules."""
    told: set[object] = set()
    meant = {one.number for one in made.filters()}
    for generic in made.generics.values():
        if generic.rule.tunnel is not None:
            problem = _wrong(made, generic, _BLOCKED if generic.number in meant else _EMPTY)
            key = (problem.message.partition(": ")[2], _ends(generic)) if problem else None
            if problem is not None and key not in told:
                told.add(key)
                yield problem


def _ends(generic: Generic) -> frozenset[TunnelEnd | None]:
    return frozenset((generic.rule.tunnel, generic.back))


def _wrong(made: Compilation, generic: Generic, effect: str) -> Problem | None:
    tunnel, name = made.tunnel(generic), repr(generic.rule.name)
    if not isinstance(tunnel, Active):
        # An address may come and a name may get an answer; two addresses that never fit are a mistake.
        named = any(isinstance(end, str) for end in _ends(generic))
        fatal = tunnel is Inactive.LONE or (tunnel in (Inactive.HERE, Inactive.FAMILIES) and not named)
        severity = Severity.ERROR if fatal else Severity.WARNING
        ends = " and ".join(sorted(str(end) for end in _ends(generic) if end is not None))
        message = f"tunnel of rule {name} between {ends}: {tunnel.value}, so {effect}"
        return Problem(severity, generic.rule.at, message, _REMEDIES[tunnel])
    if tunnel.inbound not in directions(generic.filter):
        way = "come out of it" if tunnel.inbound else "go into it"
        message = f"tunnel of rule {name}: its ends say that the filter's packets {way}, `me` says the contrary, so "
        return Problem(Severity.ERROR, generic.filter.at, message + effect, _SWAP)
    if tunnel.inbound and _is_here(generic.filter.src, made.ground.own, other=generic.filter.dst):
        message = f"tunnel of rule {name}: packets come out of it from a network that this host is part of"
        return Problem(Severity.WARNING, generic.filter.at, message, _SWAP)
    return None


def _is_here(spec: AddressSpec, own: tuple[Address, ...], other: AddressSpec) -> bool:
    """Has this host addresses in one literal side of a filter, and none in the other?"""
    here, there = (
        isinstance(side, tuple) and any(prefix.contains(address) for prefix in side for address in own)
        for side in (spec, other)
    )
    return here and isinstance(other, tuple) and not there
