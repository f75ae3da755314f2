# SPDX-License-Identifier: GPL-2.0-or-later
"""The makers of random policies are tested too: what they tell of a failure is what failed, and it is small."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.worlds.golden import facts_text, packet_text, policy_text
from tests.worlds.shrink import shrink
from tests.worlds.traffic import Traffic
from tests.worlds.world import World, world
from xfrmd.compiler.oracle import decide
from xfrmd.model.plan import Verdict
from xfrmd.model.secret import SecretRef
from xfrmd.model.selector import ICMP
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.packets import parse_packet


def a_secret(_: SecretRef) -> bytes:
    return b"a secret"


@pytest.mark.parametrize("seed", range(40))
def test_the_files_of_a_case_decide_as_the_world_does(seed: int) -> None:
    one = world(seed)
    read = load(policy_text(one), "policy.yaml", a_secret)
    host = load_facts(facts_text(one.host), "facts.yaml")
    for packet in islice(Traffic(one, seed), 20):
        if (packet.selector.family, packet.selector.protocol) != (6, ICMP):  # in words that is ICMPv6
            assert parse_packet(packet_text(packet).split()) == packet
        ours, theirs = decide(*one, packet), decide(read, host, packet)
        assert (ours.verdict, ours.weight, ours.inpass) == (theirs.verdict, theirs.weight, theirs.inpass)


def test_a_failing_world_shrinks_to_what_fails() -> None:
    seed, packet = next(
        (seed, packet)
        for seed in range(1000)
        for packet in islice(Traffic(world(seed), seed), 20)
        if len(world(seed).rules) > 3 and decide(*world(seed), packet).verdict is Verdict.BLOCK
    )

    def fails(one: World) -> bool:
        return decide(*one, packet).verdict is Verdict.BLOCK

    small = shrink(world(seed), fails)
    assert fails(small)
    assert [len(rule.filter_list.filters) for rule in small.rules] == [1]
