# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be said beside the decision over a packet: what its filter does besides, what might decide otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from xfrmd.compiler.expand import Expanded, Expansion, Generic, unresolved_of
from xfrmd.compiler.protect import responder
from xfrmd.compiler.rivals import generics_of
from xfrmd.compiler.tunnels import Inactive
from xfrmd.model.addresses import Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Verdict
from xfrmd.model.selector import Packet
from xfrmd.policy.words import Action, Policy

_NAMES: Final = 3
"""Names without an address that are told of one packet."""
_SOFT: Final = "soft: with a host that answers IKE with nothing at all it passes in the clear"
_RESPONSE: Final = (
    "the default response rule: should the other host ask for protection, packets such as this one are "
    "protected for as long as its SA lasts"
)


def of_filter(won: Expanded, verdict: Verdict, policies: Sequence[Policy], facts: HostFacts) -> Iterator[str]:
    """What the filter that decides does besides its verdict, or why it does not do what its action says."""
    specific, generic = won
    if specific.tunnel is not None:
        yield "in the tunnel from {} to {}".format(*specific.tunnel)
    if specific.soft and verdict is Verdict.NEGOTIATE:
        yield f"{_SOFT}, for {generic.policy.soft_seconds} s at a time"
    if specific.verdict is Verdict.BLOCK and generic.rule.filter_action.action is not Action.BLOCK:
        yield _closed(generic, Expansion(facts, unresolved_of(policies)))


def _closed(generic: Generic, expansion: Expansion) -> str:
    """Why a filter blocks whose action says otherwise."""
    names = [str(one) for one in (generic.filter.src, generic.filter.dst) if expansion.is_open(one)]
    if names:
        return f"{names[0]} has no address now, and `unresolved: block` blocks any address in its place"
    tunnel = expansion.tunnel(generic)
    why = tunnel.value if isinstance(tunnel, Inactive) else "its ends and `me` contradict each other"
    return f"there is no tunnel, as {why}: what should be in it is blocked"


def of_response(
    policies: Iterable[Policy], facts: HostFacts, packet: Packet, groups: Iterable[Prefix]
) -> Iterator[str]:
    """What the default response rule may come to mean for a packet that no filter matches."""
    near = packet.selector.dst if packet.inbound else packet.selector.src
    ours = near.address in facts.own_addresses()
    if responder(policies) and ours and not any(group.contains(packet.selector.dst) for group in groups):
        yield _RESPONSE


def of_names(policies: Sequence[Policy], facts: HostFacts, packet: Packet) -> Iterator[str]:
    """Filters that speak of no packet now, as their DNS name has no address, and might match this one if it had."""
    addresses = (packet.selector.src.address, packet.selector.dst.address)
    unresolved = unresolved_of(policies)
    now, told = Expansion(facts, unresolved), set[str]()
    for generic in generics_of(policies, packet):
        ends = (generic.filter.src, generic.filter.dst)
        for name in () if any(now.is_open(one) for one in ends) and not _permits(generic) else ends:
            if isinstance(name, str) and not facts.names.get(name) and name not in told and len(told) < _NAMES:
                known = replace(facts, names={**facts.names, name: addresses})
                if _matches(generic, Expansion(known, unresolved), packet):
                    told.add(name)
                    yield f"{name}, of rule {generic.rule.name!r} at {generic.filter.at}, has no address now"


def _permits(generic: Generic) -> bool:
    return generic.rule.filter_action.action is Action.PERMIT


def _matches(generic: Generic, expansion: Expansion, packet: Packet) -> bool:
    return any(
        one.inbound == packet.inbound and one.selector.contains(packet.selector) for one in expansion.specifics(generic)
    )
