# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of two stores together: all engines decide alike, and of equal filters the persistent one decides."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from itertools import islice

import pytest

from tests.worlds.engines import Engines
from tests.worlds.golden import packet_text
from tests.worlds.traffic import Traffic
from tests.worlds.world import World, world
from xfrmd.compiler import compile_policy
from xfrmd.compiler.oracle import decide
from xfrmd.model.store import Store
from xfrmd.policy.stores import merge
from xfrmd.policy.words import PolicySet, Rule

PAIRS = int(os.environ.get("XFRMD_WORLDS", "500")) // 4
PACKETS = 30


def _contrary(rule: Rule, others: list[Rule], dice: random.Random) -> Rule:
    """A rule with the same filters and, mostly, another action: every filter of it ties. Its place is its own."""
    rule = replace(rule, name=f"copied {rule.name}", at=rule.at._replace(line=rule.at.line + 50))
    other = dice.choice(others) if rule.tunnel is None else rule
    if other.tunnel is not None:
        return rule
    return replace(rule, filter_action=other.filter_action, auth=other.auth)


def sets(seed: int) -> tuple[World, PolicySet]:
    """A world, and a policy for its persistent store that speaks of much the same traffic."""
    local, own, dice = world(seed), world(f"persistent {seed}"), random.Random(seed)
    copied = [rule for rule in local.rules if dice.random() < 0.5]
    others = [*local.rules, *own.rules]
    rules = [*(rule for rule in own.rules if dice.random() < 0.5), *(_contrary(one, others, dice) for one in copied)]
    return local, own.with_rules(tuple(rules)).policies


def together(seed: int, other: Store = Store.LOCAL) -> World:
    """Both as one."""
    local, persistent = sets(seed)
    return local._replace(policies=merge({other: local.policies, Store.PERSISTENT: persistent}))


@pytest.mark.timeout(60 + PAIRS)
def test_all_engines_decide_alike_over_pairs_of_stores() -> None:
    for seed in range(PAIRS):
        one = together(seed, Store.DIRECTORY if seed % 3 == 0 else Store.LOCAL)
        engines = Engines(one)
        for packet in islice(Traffic(one, seed), PACKETS):
            assert list(engines.disagreements(packet)) == [], (seed, packet_text(packet))


def test_of_equal_filters_the_persistent_one_decides_and_each_alone_holds_where_the_other_is_silent() -> None:
    ties = silent = 0
    for seed in range(PAIRS):
        both = together(seed)
        local, persistent = sets(seed)
        if both.policies.config.ipsecexempt != local.policies.config.ipsecexempt:
            continue
        closed = {policy.unresolved for policy in both.policies.in_force}
        if len(closed) > 1:
            continue  # names without an answer mean something else together than apart
        level = replace(persistent, config=local.policies.config)
        for packet in islice(Traffic(both, seed), PACKETS):
            ours, theirs = decide(level, both.host, packet), decide(local.policies, both.host, packet)
            found = decide(both.policies, both.host, packet)
            if ours.weight and ours.weight == theirs.weight:
                ties += 1
                assert (found.verdict, found.store) == (ours.verdict, Store.PERSISTENT), (seed, packet_text(packet))
            elif theirs.weight is None and ours.weight:
                silent += 1
                assert found.verdict is ours.verdict
            elif ours.weight is None:
                assert (found.verdict, found.rule) == (theirs.verdict, theirs.rule)
    assert ties > PAIRS
    assert silent > PAIRS // 2


def test_an_empty_store_changes_nothing_at_all() -> None:
    for seed in range(20):
        local, _ = sets(seed)
        assert merge({Store.LOCAL: local.policies}) == local.policies
        alone = compile_policy(local.policies, local.host)
        assert compile_policy(merge({Store.LOCAL: local.policies}), local.host) == alone
