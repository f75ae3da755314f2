# SPDX-License-Identifier: GPL-2.0-or-later
"""What leads from the kernel's state to a plan, in the safe order (docs/decisions/0008), as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.adapters import nft_listing
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.compiler.delta import element_changes
from xfrmd.errors import LocalProtocolError
from xfrmd.model.nft import ElementChange, NftTable, TableChange
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry

_SHOWN: Final = 10
"""Differences and foreign policies named one by one; of more, only how many."""
Key = tuple[Direction, Selector]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has."""

    policies: tuple[ObservedPolicy, ...]
    table: NftTable | None


class WritePolicy(NamedTuple):
    """Add a policy, or replace the one of ours with its direction and selector at once."""

    entry: SpdEntry
    replaces: bool


class RemovePolicy(NamedTuple):
    """Remove a policy of ours, by its index: nobody else's can be hit."""

    policy: ObservedPolicy


@dataclass(frozen=True, slots=True)
class PrepareTable:
    """Make and fill new maps that no packet asks yet. No packet meets another policy through it."""

    change: TableChange


@dataclass(frozen=True, slots=True)
class ExchangeTable:
    """Put the table in the place of the one before, in one transaction."""

    change: TableChange


@dataclass(frozen=True, slots=True)
class ChangeElements:
    """Change elements of the table's maps, in one transaction."""

    elements: Mapping[str, ElementChange]


PolicyStep = WritePolicy | RemovePolicy
Step = PolicyStep | PrepareTable | ExchangeTable | ChangeElements


def overlaid(plan: Plan, overlay: Overlay) -> Plan:
    """The plan as the kernel shall have it. LocalProtocolError when it has no map that the overlay speaks of."""
    if not overlay.spd and not overlay.elements:
        return plan
    unknown = overlay.elements.keys() - {one.name for one in plan.nft.maps}
    if unknown:
        raise LocalProtocolError(f"an overlay speaks of maps that the plan does not have: {', '.join(sorted(unknown))}")
    maps = tuple(
        replace(one, elements={**one.elements, **overlay.elements[one.name]}) if one.name in overlay.elements else one
        for one in plan.nft.maps
    )
    return replace(plan, nft=replace(plan.nft, maps=maps), spd=(*plan.spd, *overlay.spd))


def steps(plan: Plan, observed: Observed) -> tuple[Step, ...]:
    """What leads from the kernel's state to the Plan, in the safe order; () when they are equal.

    0. New maps are made and filled, which nobody asks yet.
    1. Without a table of ours: the table, which can only restrict.
    2. New and changed policies, the one that is asked first at first: until the entry that decides a packet stands, its
       old one does.
    3. Policies that no longer belong, the one that is asked last at first, for the same reason.
    4. The table, if there was another one: up to here the old fence let nothing pass that it did not let pass before.
       Where only elements differ, they change, in one transaction as well.
    """
    writes, removals = _spd_steps(plan, observed)
    spd: tuple[Step, ...] = (*writes, *removals)
    table = nft_listing.recognised(plan.nft, observed.table)
    changed = {} if table is None else element_changes(table, plan.nft)
    if not nft_listing.frame_differences(plan.nft, table):
        return (*spd, ChangeElements(changed)) if changed else spd
    change = TableChange(table, plan.nft, changed)
    return ordered(spd, change)


def ordered(spd: Sequence[Step], change: TableChange) -> tuple[Step, ...]:
    """Steps of the SPD and an exchange of the table in the safe order."""
    if change.old is None:
        return (PrepareTable(change), ExchangeTable(change), *spd)
    return (PrepareTable(change), *spd, ExchangeTable(change))


def _spd_steps(plan: Plan, observed: Observed) -> tuple[list[WritePolicy], list[RemovePolicy]]:
    """What has to be written, the one that is asked first at first, and to be removed, the one asked last at first."""
    there = {policy.key: policy for policy in observed.policies}
    writes, met = [], 0
    for entry in plan.spd:
        policy = there.get(entry.key)
        if policy is None:
            writes.append(WritePolicy(entry, False))
            continue
        met += 1
        if policy.entry is not entry and policy.entry != entry and policy.ours:
            writes.append(WritePolicy(entry, True))
    writes.sort(key=lambda step: step.entry.priority)
    if met == len(there):
        return writes, []
    wanted = {entry.key for entry in plan.spd}
    left = [policy for key, policy in there.items() if key not in wanted and policy.ours]
    return writes, [RemovePolicy(one) for one in sorted(left, key=lambda policy: policy.priority, reverse=True)]


def foreign(plan: Plan, others: Iterable[ObservedPolicy]) -> tuple[str, ...]:
    """Policies of others that stand on a selector of ours, or are asked ahead of ours for some of its packets."""
    others = sorted((policy for policy in others if not policy.ours), key=lambda one: one.priority)
    if not others:
        return ()
    keys = {entry.key for entry in plan.spd}
    found = [
        f"a foreign policy stands in the way of ours: {policy}"
        for policy in others
        if (policy.direction, policy.selector) in keys
        or (policy.priority <= limits.PRIORITY_LAST and _overlaps(policy, plan.spd))
    ]
    return few(found, "foreign policies stand in the way of ours")


def _overlaps(policy: ObservedPolicy, entries: Iterable[SpdEntry]) -> bool:
    return any(
        entry.direction is policy.direction
        and entry.priority >= policy.priority
        and entry.selector.overlaps(policy.selector)
        for entry in entries
    )


def differences(plan: Plan, observed: Observed) -> tuple[str, ...]:
    """Where the kernel is not what the Plan says, in words; () when they are equal."""
    writes, removals = _spd_steps(plan, observed)
    found = [
        f"SPD entry {step.entry.direction.name.lower()} {step.entry.selector} "
        + ("differs" if step.replaces else "is missing")
        for step in writes
    ]
    found += [f"SPD entry {step.policy} does not belong to the policy" for step in removals]
    table = nft_listing.differences(plan.nft, observed.table)
    return (*few(found, "SPD entries differ"), *(f"nftables: {text}" for text in few(table, "differences in all")))


def few(found: Sequence[str], summary: str) -> tuple[str, ...]:
    """The first of many, and how many there are."""
    if len(found) <= _SHOWN:
        return tuple(found)
    return (*found[:_SHOWN], f"and more: {len(found)} {summary}")
