# SPDX-License-Identifier: GPL-2.0-or-later
"""The difference of two policies in traffic, against the oracle's word on each packet: pairs of random policies, and
packets at the edges of what differs and of what the filters say.

XFRMD_WORLDS sets how many pairs are tried (a fifth of it; default 100), each with 60 packets.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from itertools import combinations, islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.compiler_cases import policy
from tests.worlds.traffic import Traffic as Packets
from tests.worlds.world import HOSTS, World, world
from xfrmd.compiler import compile_policy
from xfrmd.compiler.boxes import Box, box_of, joined
from xfrmd.compiler.decisions import BLOCKED, CLEAR, Meaning
from xfrmd.compiler.exempt import exempts
from xfrmd.compiler.explain import explain_whole
from xfrmd.compiler.oracle import Decision, decide
from xfrmd.compiler.regions import regions
from xfrmd.compiler.rivals import rivals
from xfrmd.compiler.traffic import Change, Traffic, kinds_of, traffic
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.selector import Packet, Ports, Selector
from xfrmd.policy.words import Config

PAIRS = int(os.environ.get("XFRMD_WORLDS", "500")) // 5
PACKETS = 60
SEEDS = [range(start, PAIRS, 4) for start in range(4)]


def plan_of(one: World) -> Plan:
    return compile_policy(one.policies, one.host)


def overlap(one: Box, other: Box) -> bool:
    ranges = all(one[at] <= other[at + 1] and other[at] <= one[at + 1] for at in (0, 2, 4, 6))
    return ranges and bool(one.protocols & other.protocols)


def pair(seed: object) -> tuple[World, World]:
    """Two worlds on one host: strangers, or one with rules taken away, added or given another action."""
    dice = random.Random(f"pair {seed}")
    old, other = world(f"old {seed}"), world(f"new {seed}")
    other = other._replace(host=old.host)
    match dice.choice(["strangers", "edited", "edited", "edited", "none", "level", "moved", "action"]):
        case "strangers":
            return old, other
        case "none":
            bare = old._replace(policies=replace(old.policies, assigned=None))
            return (old, bare) if dice.random() < 0.5 else (bare, old)
        case "level":
            return old, old._replace(policies=replace(old.policies, config=Config(dice.randint(0, 3))))
        case "moved":
            return old, old._replace(host=dice.choice(HOSTS))
        case "action":
            action = dice.choice(other.rules).filter_action
            chosen = dice.choice(old.rules)
            rules = (replace(one, filter_action=action) if one is chosen else one for one in old.rules)
            return old, old.with_rules(tuple(rules))
    kept = [one for one in old.rules if dice.random() < 0.7]
    added = [replace(one, name=f"added {one.name}") for one in other.rules if dice.random() < 0.3]
    made = policy(*kept, *added)
    return old, old._replace(policies=replace(made, config=old.policies.config))


def edge(change: Change, dice: random.Random) -> Packet:
    """A packet at the edges of a change."""

    def value(first: int, last: int, top: int) -> int:
        found = dice.choice([first, last, first - 1, last + 1, (first + last) // 2])
        return min(max(found, 0), top)

    box, top = dice.choice([*change.region.boxes()]), (1 << (32 if change.family == 4 else 128)) - 1
    src, dst = value(box.src_first, box.src_last, top), value(box.dst_first, box.dst_last, top)
    protocols = [number for number in (1, 6, 17, 47, 58) if box.protocols >> number & 1] or [6]
    protocol = dice.choice(protocols)
    most = {1: 255, 58: 255, 47: 0}.get(protocol, 65535)
    sport, dport = value(box.sport_first, box.sport_last, most), value(box.dport_first, box.dport_last, most)
    near, far = (Prefix.host(Address(change.family, end)) for end in (src, dst))
    return Packet(change.inbound, Selector(near, far, protocol, Ports(sport, sport), Ports(dport, dport)))


def fate(decision: Decision) -> tuple[Verdict, bool]:
    verdict = Verdict.PERMIT if decision.verdict is Verdict.PASS else decision.verdict
    return verdict, decision.inpass and verdict is Verdict.NEGOTIATE


def is_exempt(plan: Plan, packet: Packet) -> bool:
    return not plan.policy or bool(exempts(packet, plan.local, plan.ipsecexempt, plan.groups))


def packets(worlds: tuple[World, World], found: Traffic, seed: object) -> list[Packet]:
    """Packets at the edges of changes, and of the filters of both worlds."""
    dice = random.Random(f"edges {seed}")
    with_rules = [one for one in worlds if one.policies.assigned and one.rules]
    asked = [packet for one in with_rules for packet in islice(Packets(one, seed), PACKETS // 4)]
    return asked + [edge(dice.choice(found.changes), dice) for _ in range(PACKETS // 2) if found.changes]


def check_packet(worlds: tuple[World, World], found: Traffic, packet: Packet) -> None:
    before, after = (decide(one.policies, one.host, packet) for one in worlds)
    if "exempt-loopback" in (before.rule, after.rule):
        return
    holding = [
        one
        for one in found.changes
        if (one.inbound, one.family) == (packet.inbound, packet.selector.family)
        and any(box.covers(box_of(packet.selector)) for box in one.region.boxes())
    ]
    if fate(before) == fate(after):
        assert all(one.old.meaning.protection != one.new.meaning.protection for one in holding)
        return
    (change,) = holding
    for decided, decision in ((change.old, before), (change.new, after)):
        assert (decided.meaning.verdict, decided.meaning.inpass) == fate(decision)
        assert decided.verdict is decision.verdict
        assert (decided.filter.origin.rule if decided.filter else decided.exemption) == decision.rule
        assert (decided.filter.origin.at if decided.filter else None) == decision.at
    assert change.kinds == kinds_of(change.old.meaning, change.new.meaning) != ()


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_each_packet_fares_as_the_changes_say(seeds: range) -> None:
    for seed in seeds:
        worlds = pair(seed)
        old, new = map(plan_of, worlds)
        found = traffic(old, new)
        assert (found.complete, found.more) == (True, 0), seed
        for one, other in combinations(found.changes, 2):
            alike = (one.inbound, one.family) == (other.inbound, other.family)
            pairs = product(one.region.boxes(), other.region.boxes()) if alike else ()
            assert not any(overlap(*pair) for pair in pairs), (seed, one, other)
        for packet in packets(worlds, found, seed):
            if not (is_exempt(old, packet) and is_exempt(new, packet)):
                try:
                    check_packet(worlds, found, packet)
                except (AssertionError, ValueError) as error:
                    raise AssertionError(f"pair {seed}, {packet.inbound=} {packet.selector}") from error


def test_the_way_back_undoes_the_way_there() -> None:
    for seed in range(PAIRS):
        old, new = map(plan_of, pair(f"back {seed}"))
        there, back = traffic(old, new), traffic(new, old)
        assert amounts(there) == {(side, gone, come): n for (side, come, gone), n in amounts(back).items()}, seed
        assert traffic(old, old).equal


def amounts(found: Traffic) -> dict[tuple[object, Meaning, Meaning], int]:
    """How many packets change from one meaning to another."""
    counted: dict[tuple[object, Meaning, Meaning], int] = {}
    for one in found.changes:
        key = ((one.inbound, one.family), one.old.meaning, one.new.meaning)
        counted[key] = counted.get(key, 0) + sum(map(size, one.region.boxes()))
    return counted


def size(box: Box) -> int:
    """How many packets a box holds; ICMP has types and codes up to 255."""
    amount = (box.src_last - box.src_first + 1) * (box.dst_last - box.dst_first + 1)
    icmp = (box.protocols >> 1 & 1) + (box.protocols >> 58 & 1)
    ports = (box.sport_last - box.sport_first + 1) * (box.dport_last - box.dport_first + 1)
    types = max(min(box.sport_last, 255) - box.sport_first + 1, 0) * max(
        min(box.dport_last, 255) - box.dport_first + 1, 0
    )
    return amount * (icmp * types + (box.protocols.bit_count() - icmp) * ports)


def test_the_first_rival_is_the_winner() -> None:
    for seed in range(PAIRS):
        one = world(f"rivals {seed}")
        plan, assigned = plan_of(one), one.policies.assigned
        assert assigned is not None
        for packet in islice(Packets(one, seed), PACKETS):
            matching = rivals([assigned], one.host, packet)
            won = next(
                (f for f in plan.filters if f.inbound == packet.inbound and f.selector.contains(packet.selector)), None
            )
            assert (matching[0].specific.origin if matching else None) == (won.origin if won else None), (seed, packet)


def test_explain_says_what_the_oracle_says() -> None:
    for seed in range(PAIRS):
        one = world(f"explained {seed}")
        for packet in islice(Packets(one, seed), PACKETS):
            told, wanted = explain_whole(one.policies, one.host, packet), decide(one.policies, one.host, packet)
            assert (told.verdict, told.rule, told.at, told.weight) == wanted[:4], (seed, packet)
            # Why a filter does other than its action says is never left unsaid.
            action = told.winner.origin.filter_action if told.winner else told.verdict.value
            assert action == told.verdict.value or told.notes, (seed, packet)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)), max_size=20, unique=True))
def test_joining_neighbours_keeps_every_packet(cells: list[tuple[int, int, int]]) -> None:
    boxes = [Box(a, a, b, b, 0, 65535, 0, 65535, 1 << c) for a, b, c in cells]
    made = joined(boxes)
    assert sum(map(size, made)) == sum(map(size, boxes))
    assert all(sum(other.covers(one) for other in made) == 1 for one in boxes)
    assert joined([*made]) == made
    read = [box for region in regions(made) for box in region.boxes()]
    assert sorted(joined(read)) == sorted(joined(made))
    assert sum(map(size, read)) == sum(map(size, made))


def test_meanings_have_kinds_unless_they_are_equal() -> None:
    every = [CLEAR, BLOCKED, *(Meaning(Verdict.NEGOTIATE, inpass) for inpass in (False, True))]
    for one in every:
        for other in every:
            assert bool(kinds_of(one, other)) == (one != other)
