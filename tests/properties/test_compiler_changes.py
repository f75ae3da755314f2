# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy that is changed filter by filter is the policy that is compiled anew, and the delta is just what changed.

XFRMD_CHANGES sets how many worlds are tried (default 60), each with a dozen steps.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.worlds.engines import ALWAYS
from tests.worlds.hosts import addressed, moved
from tests.worlds.world import World, world
from xfrmd.compiler import Compilation
from xfrmd.compiler.expand import Generic
from xfrmd.compiler.runs import WORTH
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import NftTable
from xfrmd.model.plan import Plan, PlanDelta
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry

WORLDS = int(os.environ.get("XFRMD_CHANGES", "60"))
STEPS = 12
Elements = dict[str, dict[bytes, str]]
Spd = dict[tuple[Direction, Selector], SpdEntry]


def elements(table: NftTable) -> Elements:
    return {one.name: dict(one.elements) for one in table.maps}


def spd(plan: Plan) -> Spd:
    return {entry.key: entry for entry in plan.spd}


def assert_equal(changed: Compilation, fresh: Compilation) -> None:
    assert tuple(changed.plan.filters) == tuple(fresh.plan.filters)
    assert elements(changed.plan.nft) == elements(fresh.plan.nft)
    assert [one.name for one in changed.plan.nft.maps] == [one.name for one in fresh.plan.nft.maps]
    assert changed.plan.nft.chains == fresh.plan.nft.chains
    assert spd(changed.plan) == spd(fresh.plan)
    assert tuple(changed.plan.protect) == tuple(fresh.plan.protect)
    assert tuple(changed.plan.pad) == tuple(fresh.plan.pad)
    assert (changed.plan.local, changed.plan.groups) == (fresh.plan.local, fresh.plan.groups)


def assert_delta(before: tuple[Elements, Spd, tuple[object, ...]], delta: PlanDelta, after: Plan) -> None:
    """The delta carried out on what was gives what is; where the frame changed, only maps that stayed count."""
    was, entries, negotiated = before
    now = elements(after.nft)
    for name in was.keys() & now.keys():
        change = delta.elements.get(name)
        wanted = dict(was[name])
        for key in change.removed if change else ():
            del wanted[key]
        wanted.update(change.added if change else ())
        assert wanted == now[name]
    assert delta.structure or was.keys() == now.keys()
    carried = dict(entries)
    for entry in delta.spd_gone:
        del carried[entry.key]
    for entry in delta.spd_new:
        assert carried.get(entry.key) != entry
        carried[entry.key] = entry
    assert carried == spd(after)
    assert delta.negotiates or negotiated == (tuple(after.protect), tuple(after.pad))


def state(plan: Plan) -> tuple[Elements, Spd, tuple[object, ...]]:
    return elements(plan.nft), spd(plan), (tuple(plan.protect), tuple(plan.pad))


def toggled(made: Compilation, out: dict[int, Generic], dice: random.Random) -> PlanDelta | None:
    """Take some filters out or put some back."""
    gone = [one for one in made.generics.values() if dice.random() < 0.25]
    new = [one for one in out.values() if dice.random() < 0.5]
    delta = made.change(gone, new)
    if delta is not None:
        for one in new:
            del out[one.number]
        out.update((one.number, one) for one in gone)
    return delta


@pytest.mark.timeout(60 + WORLDS)
def test_filters_come_and_go_one_by_one() -> None:
    carried = refused = 0
    for seed in range(WORLDS):
        one, dice = world(f"changes {seed}"), random.Random(seed)
        worth = ALWAYS if seed % 2 else WORTH
        made, out = Compilation(one.policies, one.host, worth=worth), dict[int, Generic]()
        for _ in range(STEPS):
            before = state(made.plan)
            delta = toggled(made, out, dice)
            if delta is None:
                refused += 1
                continue
            carried += 1
            generics = [generic for _, generic in sorted(made.generics.items())]
            again = Compilation(one.policies, one.host, made.reqids, generics, worth=worth, mirrors=made.ground.mirrors)
            assert_equal(made, again)
            assert_delta(before, delta, made.plan)
    assert carried > 2 * refused


def follow(one: World, seed: int, change: Callable[[HostFacts, random.Random], HostFacts]) -> int:
    dice = random.Random(seed)
    worth = ALWAYS if seed % 2 else WORTH
    made, followed, host = Compilation(one.policies, one.host, worth=worth), 0, one.host
    for _ in range(STEPS):
        host, last = change(host, dice), host
        before, plan = state(made.plan), made.plan
        delta = made.refresh(host)
        if delta is None:
            made = Compilation(one.policies, host, made.reqids, worth=worth)
            continue
        followed += host != last
        assert_equal(made, Compilation(one.policies, host, made.reqids, worth=worth, mirrors=made.ground.mirrors))
        assert_delta(before, delta, made.plan)
        assert delta != PlanDelta() or made.plan is plan
    return followed


@pytest.mark.timeout(60 + WORLDS)
def test_facts_are_followed_without_compiling_anew() -> None:
    assert sum(follow(world(f"facts {seed}"), seed, moved) for seed in range(WORLDS)) > WORLDS


@pytest.mark.timeout(60 + WORLDS)
def test_own_addresses_are_followed_without_compiling_anew() -> None:
    assert sum(follow(world(f"own {seed}"), seed, addressed) for seed in range(WORLDS)) > WORLDS * STEPS // 2


@pytest.mark.timeout(60 + WORLDS)
def test_own_addresses_and_servers_that_change_together_are_followed() -> None:
    def both(host: HostFacts, dice: random.Random) -> HostFacts:
        return moved(addressed(host, dice) if dice.random() < 0.7 else host, dice)

    assert sum(follow(world(f"both {seed}"), seed, both) for seed in range(WORLDS)) > WORLDS * STEPS // 2
