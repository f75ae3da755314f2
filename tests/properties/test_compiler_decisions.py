# SPDX-License-Identifier: GPL-2.0-or-later
"""Oracle, explain, nftables maps and SPD decide alike, on random policies and packets at their edges.

Two generators make them. tests/worlds knows the whole language and is quick: XFRMD_WORLDS policies (default 500, and
20,000 in `make test`) with 50 packets each, from fixed seeds. Hypothesis varies what it finds interesting:
XFRMD_EXAMPLES policies (default 100) with 24 packets each. What fails is shrunk and told as a golden case.
"""

from __future__ import annotations

import gc
import os
import random
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.compiler_cases import addresses, facts, policy, rule
from tests.worlds.engines import ALWAYS, Engines
from tests.worlds.golden import packet_text, story
from tests.worlds.shrink import shrink
from tests.worlds.traffic import Traffic
from tests.worlds.world import World, world
from xfrmd.compiler import compile_policy
from xfrmd.compiler.nft_text import render
from xfrmd.compiler.runs import WORTH
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, UDP, Packet, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.policy.words import Filter, PolicySet

EXAMPLES = int(os.environ.get("XFRMD_EXAMPLES", "100"))
PACKETS = 24
WORLD_PACKETS = 50
FACTS = st.sampled_from(
    [
        facts("10.1.0.5/16", "fd00:1::5/64", dns=("10.1.0.53", "fd00:1::35")),
        facts("10.1.0.5/24", "10.1.0.6/31", dialup=("192.0.2.1/32", "fd00:2::1/128")),
        facts("10.1.0.5/8"),
    ]
)
ENDS = [
    *("me", "any", "any", "10.1.0.5", "10.1.0.0/16", "10.1.0.0/24", "10.1.2.0/24", "10.1.2.3", "10.0.0.0/8"),
    *("10.1.2.3,10.1.2.4/30", "192.0.2.1", "224.0.0.0/4", "239.1.1.1", "10.1.255.255", "255.255.255.255"),
    *("fd00:1::/64", "fd00:1::5", "fd00:2::/32", "ff02::/16", "::/0", "0.0.0.0/1"),
]
OTHER_OF_SERVER = "dns-servers"
PORTS = [
    *(ANY_PORT, ANY_PORT, Ports(445, 445), Ports(500, 500), Ports(80, 80), Ports(80, 81), Ports(1000, 1999)),
    *(Ports(1500, 2499), Ports(0, 1023), Ports(1024, 65535), Ports(67, 68), Ports(1, 65535)),
]
TYPES = [ANY_PORT, Ports(8, 8), Ports(0, 0), Ports(128, 135), Ports(133, 140)]


@st.composite
def filters(draw: st.DrawFn, line: int) -> Filter:
    src, dst = draw(st.sampled_from(ENDS)), draw(st.sampled_from(ENDS))
    if draw(st.integers(0, 9)) == 0:
        src, dst = draw(st.permutations(["me", OTHER_OF_SERVER]))
    protocol = draw(st.sampled_from([0, TCP, TCP, UDP, ICMP, ICMPV6, 47]))
    sports: tuple[Ports, ...] = (ANY_PORT,)
    dports: tuple[Ports, ...] = (ANY_PORT,)
    if protocol in (TCP, UDP):
        sports = tuple(draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=1)))
        dports = tuple(draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=2)))
    if protocol in (ICMP, ICMPV6):
        sports = (draw(st.sampled_from(TYPES)),)
        dports = (draw(st.sampled_from([ANY_PORT, Ports(0, 0), Ports(3, 3)])),)
    at = Span("policy.yaml", line, 9)
    return Filter(addresses(src), addresses(dst), at, protocol, sports, dports, draw(st.booleans()))


@st.composite
def policy_sets(draw: st.DrawFn) -> PolicySet:
    rules = []
    for line in range(1, draw(st.integers(2, 7))):
        action = draw(st.sampled_from(["permit", "block", "negotiate"]))
        inpass = action == "negotiate" and draw(st.integers(0, 3)) == 0
        conntype = draw(st.sampled_from(["all", "all", "lan", "dialup"]))
        chosen = [draw(filters(100 * line + place)) for place in range(draw(st.integers(1, 3)))]
        rules.append(rule(action, *chosen, line=line, inpass=inpass, conntype=conntype))
    return policy(*rules)


def _near(prefix: Prefix, dice: random.Random) -> Prefix:
    """An address in the prefix, at its ends, or just outside."""
    top = (1 << BITS[prefix.family]) - 1
    value = dice.choice([prefix.value, prefix.last, prefix.value - 1, prefix.last + 1, prefix.value + 3])
    return Prefix.host(Address(prefix.family, min(max(value, 0), top)))


def _port(ports: Ports, dice: random.Random) -> Ports:
    number = dice.choice([ports.first, ports.last, ports.first - 1, ports.last + 1, (ports.first + ports.last) // 2])
    number = min(max(number, 0), 65535)
    return Ports(number, number)


def _packet(plan: Plan, host: HostFacts, dice: random.Random) -> Packet:
    """A packet at the edges of one filter, perhaps with the source of another or with an own address."""
    pool = [one.selector for one in plan.filters] or [Selector(Prefix.any(4), Prefix.any(4))]
    first, second = dice.choice(pool), dice.choice(pool)
    src = second.src if second.family == first.family and dice.random() < 0.3 else first.src
    dst = second.dst if second.family == first.family and dice.random() < 0.3 else first.dst
    protocol = first.protocol or dice.choice([TCP, UDP, 47, ICMPV6 if first.family == 6 else ICMP])
    sport, dport = _port(first.sport, dice), _port(dice.choice([first.dport, second.dport]), dice)
    if protocol in (ICMP, ICMPV6):
        sport, dport = Ports(sport.first & 255, sport.first & 255), Ports(dport.first & 255, dport.first & 255)
    elif protocol == 47:
        sport = dport = Ports(0, 0)
    return Packet(dice.random() < 0.5, Selector(_near(src, dice), _near(dst, dice), protocol, sport, dport))


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(policy_sets(), FACTS, st.integers(0, 2**32))
def test_all_engines_decide_alike(policies: PolicySet, host: HostFacts, seed: int) -> None:
    engines = Engines(World(policies, host), ALWAYS if seed % 2 else WORTH)
    dice = random.Random(seed)
    for _ in range(PACKETS):
        packet = _packet(engines.plan, host, dice)
        assert list(engines.disagreements(packet)) == [], packet_text(packet)


WORLDS = int(os.environ.get("XFRMD_WORLDS", "500"))
PROCESSES = min(2, os.cpu_count() or 1)


def first_failure(seeds: range) -> int | None:
    """The first seed whose world has a packet that the engines decide differently."""
    gc.disable()  # a third of the time; a chunk of worlds has room
    found = next((seed for seed in seeds if disagreement(world(seed), seed)), None)
    gc.collect()
    return found


def disagreement(one: World, seed: int) -> tuple[Packet, list[str]] | None:
    """A packet of this seed that the engines decide differently in a world, and what they say."""
    engines = Engines(one, ALWAYS if seed % 2 else WORTH)
    for packet in islice(Traffic(one, seed), WORLD_PACKETS):
        said = list(engines.disagreements(packet))
        if said:
            return packet, said
    return None


@pytest.mark.timeout(60 + WORLDS // 10)
def test_all_engines_decide_alike_in_many_worlds() -> None:
    chunks = [range(first, min(first + 50, WORLDS)) for first in range(0, WORLDS, 50)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        failed = [seed for seed in pool.map(first_failure, chunks) if seed is not None]
    if failed:
        pytest.fail(shrunk(failed[0]))


def shrunk(seed: int) -> str:
    """The story of a failing seed: its smallest world and the packet."""
    found = disagreement(world(seed), seed)
    assert found is not None
    packet = found[0]

    def said(one: World) -> list[str]:
        return list(Engines(one).disagreements(packet))

    smallest = shrink(world(seed), lambda one: bool(said(one)))
    return story(smallest, [packet], [f"seed {seed}:", *said(smallest)])


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy_sets(), FACTS, st.randoms(use_true_random=False))
def test_the_order_of_rules_changes_nothing(policies: PolicySet, host: HostFacts, dice: random.Random) -> None:
    assert policies.assigned is not None
    rules = list(policies.assigned.rules)
    dice.shuffle(rules)
    first, second = compile_policy(policies, host), compile_policy(policy(*rules), host)
    assert first == second
    assert render(first.nft).encode() == render(second.nft).encode()


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy_sets(), FACTS)
def test_regions_of_a_class_are_disjoint_and_entries_unique(policies: PolicySet, host: HostFacts) -> None:
    plan = compile_policy(policies, host)
    keys = [entry.key for entry in plan.spd]
    assert len(keys) == len(set(keys))
    for index, one in enumerate(plan.filters):
        for other in plan.filters[index + 1 :]:
            if one.weight == other.weight and one.inbound == other.inbound:
                assert not one.selector.overlaps(other.selector)
