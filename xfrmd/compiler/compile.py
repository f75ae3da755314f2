# SPDX-License-Identifier: GPL-2.0-or-later
"""From a policy and the host's facts to its Plan. Equal input gives an equal Plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xfrmd.compiler import nft, pad, protect, reqids, spd
from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.exempt import groups
from xfrmd.compiler.expand import Expanded, expand, generic_filters
from xfrmd.compiler.regions import Overlap, Region, settle
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan, Verdict
from xfrmd.policy.words import AddressWord, Policy, PolicySet


def _numbered(filters: Sequence[Expanded]) -> tuple[Expanded, ...]:
    """Give negotiate filters their reqids, one per filter and IP version."""
    names = {
        index: reqids.name_of(one.generic, one.specific.selector.family)
        for index, one in enumerate(filters)
        if one.specific.verdict is Verdict.NEGOTIATE
    }
    numbers = reqids.number(names.values())
    return tuple(
        one._replace(specific=replace(one.specific, reqid=numbers[names[index]])) if index in names else one
        for index, one in enumerate(filters)
    )


def regions_of(policy: Policy, facts: HostFacts) -> tuple[tuple[Region, ...], tuple[Overlap, ...]]:
    """The specific filters of a policy, numbered and cut apart, heaviest first; and which of equal class met."""
    return settle(_numbered(expand(policy, facts)))


def _restricts_me(policy: Policy) -> bool:
    """Does a filter that protects or blocks speak of `me`?"""
    return any(
        AddressWord.ME in (generic.filter.src, generic.filter.dst)
        for generic in generic_filters(policy)
        if BY_ACTION[generic.rule.filter_action.action].verdict is not Verdict.PERMIT
    )


def compile_policy(policies: PolicySet, facts: HostFacts) -> Plan:
    """Compile the assigned policy for a host with these facts; without one the Plan is empty.

    Conflicts are decided as documented and not told here: `check` tells them. Raises PolicyError when the policy has
    more negotiate filters than there are reqids.
    """
    policy, own = policies.assigned, tuple(sorted(facts.own_addresses()))
    if policy is None:
        return Plan("", (), nft.table((), (), None), (), (), ())
    regions, _ = regions_of(policy, facts)
    group_prefixes, level = groups(facts), policies.config.ipsecexempt
    return Plan(
        policy=policy.name,
        filters=tuple(one.expanded.specific for one in regions),
        nft=nft.table(regions, group_prefixes, own if _restricts_me(policy) else None, level),
        spd=spd.entries(regions, own, group_prefixes, level),
        protect=protect.policies(regions, own),
        pad=pad.entries(regions, policy, own),
        local=own,
        groups=group_prefixes,
        ipsecexempt=level,
    )
