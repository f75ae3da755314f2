# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters that mean nothing on a host, that mean less than they say, or that cannot be expressed."""

from __future__ import annotations

from collections.abc import Iterator

from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.exempt import groups_exempt
from xfrmd.compiler.expand import KINDS, Expansion, Generic, resolve, unresolved_of
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import ICMP, ICMPV6, WITH_PORTS
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Action, AddressSpec, AddressWord, ConnectionType


def meanings(made: Compilation) -> Iterator[Problem]:
    """What the words of each filter come to on this host, where that is not what one would think."""
    meant = {one.number for one in made.filters()}
    expansion = Expansion(made.facts, unresolved_of(made.policies))
    for generic in made.generics.values():
        yield from _inexpressible(generic)
        opened = [one for one in (generic.filter.src, generic.filter.dst) if expansion.is_open(one)]
        if opened:
            yield _unresolved(generic, str(opened[0]))
        elif generic.number not in meant:
            message = f"the filter means nothing on this host: {_nothing(made, generic)}"
            remedy = "nothing to do if that is meant; else check the host's addresses and names"
            yield Problem(Severity.WARNING, generic.filter.at, message, remedy)
        elif generic.rule.filter_action.action is Action.NEGOTIATE and _to_groups(made, generic):
            yield _group(made, generic)


def _inexpressible(generic: Generic) -> Iterator[Problem]:
    one, rule = generic.filter, generic.rule
    # The connection type of a tunnel is that of the interface where it ends.
    typed = rule.conntype is not ConnectionType.ALL and rule.tunnel is None
    if typed and AddressWord.ME not in (one.src, one.dst):
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


def _unresolved(generic: Generic, name: str) -> Problem:
    """A DNS name without an address, in a policy that fails closed then."""
    permits = generic.rule.filter_action.action is Action.PERMIT
    effect = "the filter permits nothing" if permits else "the filter blocks any address in its place"
    message = f"{name} has no address now, so {effect} until it has one"
    return Problem(Severity.WARNING, generic.filter.at, message, "check the name, or write `unresolved: keep`")


def _nothing(made: Compilation, generic: Generic) -> str:
    """Why no packet is meant."""
    one, conntype = generic.filter, generic.rule.conntype
    if one.src is AddressWord.ME and one.dst is AddressWord.ME:
        return "traffic from `me` to `me` never leaves it"
    for spec in (one.src, one.dst):
        if not resolve(spec, made.facts, KINDS[conntype]):
            return _absent(spec, conntype)
    return "its two sides are of different IP versions there"


def _absent(spec: AddressSpec, conntype: ConnectionType) -> str:
    if isinstance(spec, str):
        return f"{spec} has no address"
    if spec is AddressWord.ME:
        where = "" if conntype is ConnectionType.ALL else f" on an interface of connection type {conntype.value}"
        return f"it has no address{where}"
    return f"its network settings name no {spec.value if isinstance(spec, AddressWord) else 'address'}"


def _to_groups(made: Compilation, generic: Generic) -> bool:
    """Does one side name nothing but multicast or broadcast addresses?"""
    return any(
        isinstance(spec, tuple) and all(_is_group(made, prefix) for prefix in spec)
        for spec in (generic.filter.src, generic.filter.dst)
    )


def _is_group(made: Compilation, prefix: Prefix) -> bool:
    return any(group.contains(prefix) for group in made.ground.groups)


def _group(made: Compilation, generic: Generic) -> Problem:
    exempt = groups_exempt(made.ground.level)
    effect = f"passes ahead of all filters at ipsecexempt {made.ground.level}" if exempt else "is dropped"
    message = f"multicast and broadcast are never negotiated: what this filter speaks of {effect}"
    return Problem(Severity.WARNING, generic.filter.at, message, "write an action of permit or block for it")
