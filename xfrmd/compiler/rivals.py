# SPDX-License-Identifier: GPL-2.0-or-later
"""All filters of the policies in force that match one packet, heaviest first: those that lost as well.

A Plan does not know them all: what the winner takes from a filter of its class is cut out of the loser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from xfrmd.compiler.expand import Expanded, Generic, expand, generic_filters
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import FilterOrigin
from xfrmd.model.selector import Packet
from xfrmd.policy.words import AddressSpec, Filter, Policy, Rule


def _may_name(spec: AddressSpec, address: Address) -> bool:
    """Literal addresses are looked at before the costly expansion; behind words anything may stand."""
    return not isinstance(spec, tuple) or any(prefix.contains(address) for prefix in spec)


def _may_match(one: Filter, near: Address, far: Address) -> bool:
    src, dst = one.src, one.dst
    return (_may_name(src, near) and _may_name(dst, far)) or (_may_name(src, far) and _may_name(dst, near))


def _thinned(rule: Rule, packet: Packet) -> Rule:
    near, far = packet.selector.src.address, packet.selector.dst.address
    filters = tuple(one for one in rule.filter_list.filters if _may_match(one, near, far))
    return replace(rule, filter_list=replace(rule.filter_list, filters=filters))


def _thin(policy: Policy, packet: Packet) -> Policy:
    """The policy with those filters alone that may match a packet."""
    return replace(policy, rules=tuple(_thinned(rule, packet) for rule in policy.rules if rule.active))


def generics_of(policies: Iterable[Policy], packet: Packet) -> Iterator[Generic]:
    """The filters that may match a packet, as far as literal addresses say."""
    return generic_filters(_thin(policy, packet) for policy in policies)


def _order(one: Expanded) -> tuple[object, ...]:
    return (tuple(-part for part in one.specific.weight), one.generic.number)


def rivals(policies: Iterable[Policy], facts: HostFacts, packet: Packet) -> tuple[Expanded, ...]:
    """The filters that match a packet, each filter of a rule once and at its heaviest."""
    matching = [
        one
        for one in expand([_thin(policy, packet) for policy in policies], facts)
        if one.specific.inbound == packet.inbound and one.specific.selector.contains(packet.selector)
    ]
    found: dict[tuple[FilterOrigin, object], Expanded] = {}
    for one in sorted(matching, key=_order):
        found.setdefault((one.specific.origin, one.generic.rule.at), one)
    return tuple(found.values())
