# SPDX-License-Identifier: GPL-2.0-or-later
"""From a world that fails to a small one that fails too: rules, filters and what they say are taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from tests.worlds.lawful import lawful
from tests.worlds.world import World
from xfrmd.model.selector import ANY_PORT, Ports
from xfrmd.policy.words import AddressWord, Config, ConnectionType, Filter, Rule, Unresolved

ROUNDS = 200
"""Steps of shrinking at most, each a smaller world that was found."""
TRIES = 100_000

T = TypeVar("T")


def _without(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """All but one of several."""
    if len(items) > 1:
        yield from (items[:index] + items[index + 1 :] for index in range(len(items)))


def _simpler_ports(ranges: tuple[Ports, ...]) -> Iterator[tuple[Ports, ...]]:
    yield from _without(ranges)
    if ranges != (ANY_PORT,):
        yield (ANY_PORT,)


def _simpler_filters(one: Filter) -> Iterator[Filter]:
    yield from (replace(one, sports=ranges) for ranges in _simpler_ports(one.sports))
    yield from (replace(one, dports=ranges) for ranges in _simpler_ports(one.dports))
    if one.protocol and one.sports == one.dports == (ANY_PORT,):
        yield replace(one, protocol=0)
    if not one.mirrored:
        yield replace(one, mirrored=True)
    if one.src is not AddressWord.ANY:
        yield replace(one, src=AddressWord.ANY)
    if one.dst is not AddressWord.ANY:
        yield replace(one, dst=AddressWord.ANY)


def _with_filters(rule: Rule, filters: tuple[Filter, ...]) -> Rule:
    return replace(rule, filter_list=replace(rule.filter_list, filters=filters))


def _simpler_rules(rule: Rule) -> Iterator[Rule]:
    filters, action = rule.filter_list.filters, rule.filter_action
    yield from (_with_filters(rule, fewer) for fewer in _without(filters))
    for index, one in enumerate(filters):
        for simpler in _simpler_filters(one):
            yield _with_filters(rule, (*filters[:index], simpler, *filters[index + 1 :]))
    if rule.conntype is not ConnectionType.ALL:
        yield replace(rule, conntype=ConnectionType.ALL)
    if action.inpass:
        yield replace(rule, filter_action=replace(action, inpass=False))
    if action.soft:
        yield replace(rule, filter_action=replace(action, soft=False))


def _is_lawful(rule: Rule) -> bool:
    return lawful(rule) == rule


def _simpler(world: World) -> Iterator[World]:
    rules = world.rules
    yield from map(world.with_rules, _without(rules))
    for index, rule in enumerate(rules):
        for simpler in filter(_is_lawful, _simpler_rules(rule)):
            yield world.with_rules((*rules[:index], simpler, *rules[index + 1 :]))
    if world.policy.unresolved is Unresolved.BLOCK:
        yield world.with_policy(replace(world.policy, unresolved=Unresolved.KEEP))
    if world.policy.default_response is not None:
        yield world.with_policy(replace(world.policy, default_response=None))
    if world.policies.config != Config():
        yield world._replace(policies=replace(world.policies, config=Config()))


def shrink(world: World, fails: Callable[[World], bool], tries: int = TRIES) -> World:
    """The smallest world found that still fails, after so many tries at most."""
    for _ in range(ROUNDS):
        candidates = list(islice(_simpler(world), tries))
        found = next((place for place, one in enumerate(candidates, 1) if fails(one)), None)
        if found is None:
            break
        world, tries = candidates[found - 1], tries - found
    return world
