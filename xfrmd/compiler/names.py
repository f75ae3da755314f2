# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS names of a policy: which there are, and what stands in the way of following them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from xfrmd import limits
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.expand import unresolved_of
from xfrmd.compiler.layers import rank
from xfrmd.model.addresses import Address
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import UDP
from xfrmd.model.source import Problem, Severity, Span
from xfrmd.policy.words import FilterList, Policy, PolicySet, Unresolved

_DNS: int = 53


def _named(policy: Policy) -> Iterator[tuple[str, Span]]:
    """The names of active rules and where they stand, with repeats."""
    lists: dict[int, FilterList] = {}
    for rule in policy.rules:
        if not rule.active:
            continue
        lists[id(rule.filter_list)] = rule.filter_list
        if isinstance(rule.tunnel, str):
            yield rule.tunnel, rule.at
    for filters in lists.values():
        for one in filters.filters:
            if type(one.src) is str:
                yield one.src, one.at
            if type(one.dst) is str:
                yield one.dst, one.at


def names_of(policies: PolicySet) -> frozenset[str]:
    """The DNS names of the policies in force."""
    return frozenset(name for policy in policies.in_force for name, _ in _named(policy))


def is_strict(policies: PolicySet) -> bool:
    """Do names that are not resolved block?"""
    return unresolved_of(policies.in_force) is Unresolved.BLOCK


def names(made: Compilation) -> Iterator[Problem]:
    """Too many names are an error; name servers that the policy lets nobody ask are a warning."""
    places: dict[str, Span] = {}
    for name, at in chain.from_iterable(map(_named, made.policies)):
        places.setdefault(name, at)
    if len(places) > limits.NAMES:
        yield Problem(
            Severity.ERROR,
            [*places.values()][limits.NAMES],
            f"the policy speaks of {len(places)} DNS names, of which {limits.NAMES} can be followed",
            "name addresses or subnets",
        )
    if places:
        yield from _unasked(made, next(iter(places.values())))


def _unasked(made: Compilation, at: Span) -> Iterator[Problem]:
    deciding: dict[Address, SpecificFilter] = {}
    servers = made.facts.dns_servers
    for one in made.regions() if servers else ():
        if one.inbound or one.selector.protocol not in (0, UDP):
            continue
        if not one.selector.dport.first <= _DNS <= one.selector.dport.last:
            continue
        for server in filter(one.selector.dst.contains, servers):
            if server not in deciding or rank(one) < rank(deciding[server]):
                deciding[server] = one
    told = {
        Verdict.BLOCK: "blocks DNS to",
        Verdict.NEGOTIATE: "lets DNS pass only under protection to",
    }
    for server, one in deciding.items():
        if one.verdict in told:
            yield Problem(
                Severity.WARNING,
                at,
                f"the policy has DNS names, but the filter at {one.origin.at} of rule {one.origin.rule!r} "
                f"{told[one.verdict]} the name server {server}",
                "permit UDP and TCP port 53 from `me` to `dns-servers`",
            )
