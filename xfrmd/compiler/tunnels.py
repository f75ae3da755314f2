# SPDX-License-Identifier: GPL-2.0-or-later
"""Where tunnels end: which end is this host's, and so which way a tunnel rule's packets go.

A tunnel is two rules whose filters mirror each other. Each names the end that its packets go to, so the one that names
an address of this host is for packets that come, and the other one for packets that leave. A tunnel of which that
cannot be said is not active, and its filters block: packets that should be in a tunnel never go outside of it.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from itertools import product
from typing import NamedTuple

from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, InterfaceKind
from xfrmd.policy.words import AddressSpec, Policy, Rule, TunnelEnd


class Active(NamedTuple):
    """A tunnel that ends here, as one of its two rules sees it."""

    inbound: bool
    ends: tuple[Address, Address]
    """Outer source and destination, in the direction of the rule's packets."""


class Inactive(enum.Enum):
    """Why there is no tunnel."""

    LONE = "the rule of the way back is missing"
    UNRESOLVED = "a DNS name that it ends at has no answer"
    ELSEWHERE = "neither end is an address of this host"
    HERE = "both ends are addresses of this host"
    FAMILIES = "its ends are of different IP versions"


Ends = Active | Inactive
Way = tuple[str, AddressSpec, AddressSpec]
"""A rule's name, and the source and destination of a filter of it."""


def ways_back(policy: Policy) -> dict[Way, TunnelEnd]:
    """For each filter of an active tunnel rule the end that the rule of the way back names, where there is one."""
    rules = [rule for rule in policy.rules if rule.tunnel is not None and rule.active]
    by_filter: dict[tuple[AddressSpec, AddressSpec], list[Rule]] = {}
    for rule in rules:
        for one in rule.filter_list.filters:
            by_filter.setdefault((one.src, one.dst), []).append(rule)
    found: dict[Way, TunnelEnd] = {}
    for rule in rules:
        for one in rule.filter_list.filters:
            for other in by_filter.get((one.dst, one.src), ()):
                if other is not rule and other.tunnel is not None:
                    found[rule.name, one.src, one.dst] = other.tunnel
    return found


def _addresses(end: TunnelEnd, facts: HostFacts) -> tuple[Address, ...]:
    return facts.names.get(end, ()) if isinstance(end, str) else (end,)


def _fits(remote: Address, local: Address) -> bool:
    return remote.family == local.family


def locate(
    end: TunnelEnd | None,
    back: TunnelEnd | None,
    facts: HostFacts,
    kinds: Collection[InterfaceKind],
    redirects: Collection[Address] = (),
) -> Ends:
    """The tunnel of a rule that names `end`, whose other rule names `back`. An end is this host's only with an address
    on an interface of these kinds. Of a name's many addresses the first of each side count that fit together, in the
    order of addresses: the order of answers changes from one to the next. `redirects`: gateways to which the far end
    may have sent us.
    """
    if end is None or back is None:
        return Inactive.LONE
    there, here = _addresses(end, facts), _addresses(back, facts)
    if not there or not here:
        return Inactive.UNRESOLVED
    own, all_own = facts.own_addresses(frozenset(kinds)), frozenset(facts.own_addresses())
    inbound = any(address in own for address in there)
    if inbound == any(address in own for address in here):
        return Inactive.HERE if inbound else Inactive.ELSEWHERE
    near, far = (there, here) if inbound else (here, there)
    fitting = sorted(
        (local, remote)
        for local, remote in product(near, far)
        if local in own and remote not in all_own and _fits(remote, local)
    )
    if not fitting:
        return Inactive.FAMILIES
    local, remote = fitting[0]
    elsewhere = facts.redirects.get(remote)
    if elsewhere is not None and elsewhere in redirects and _fits(elsewhere, local) and elsewhere not in all_own:
        remote = elsewhere
    return Active(inbound, (remote, local) if inbound else (local, remote))
