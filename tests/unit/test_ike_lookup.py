# SPDX-License-Identifier: GPL-2.0-or-later
"""The index against the plain walk over all rules, and that it does not walk."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from tests.unit import ike_cases as case
from xfrmd.ike.lookup import PlanIndex
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan
from xfrmd.model.selector import ANY_PORT, ICMP, TCP, UDP, Ports, Selector
from xfrmd.model.spd import Mode

LENGTHS = (0, 8, 24, 32)


def prefix(rng: random.Random) -> Prefix:
    length = rng.choice(LENGTHS)
    value = rng.choice((0x0A000000, 0x0A000100, 0x0A000101, 0x0B000001))
    return Prefix(4, value >> (32 - length) << (32 - length), length)


def some_ports(rng: random.Random) -> Ports:
    return rng.choice((ANY_PORT, Ports(445, 445), Ports(80, 80), Ports(0, 1023), Ports(400, 500)))


def some_selector(rng: random.Random) -> Selector:
    protocol = rng.choice((0, 0, TCP, UDP, ICMP))
    if protocol in (0, ICMP):
        return Selector(prefix(rng), prefix(rng), protocol)
    return Selector(prefix(rng), prefix(rng), protocol, some_ports(rng), some_ports(rng))


def packet(rng: random.Random) -> Selector:
    ends = [Prefix(4, rng.choice((0x0A000001, 0x0A000101, 0x0A000102, 0x0B000001)), 32) for _ in range(2)]
    protocol = rng.choice((TCP, UDP, ICMP))
    if protocol == ICMP:
        return Selector(ends[0], ends[1], ICMP, Ports(8, 8), Ports(0, 0))
    numbers = [rng.choice((80, 445, 450, 40000)) for _ in range(2)]
    return Selector(ends[0], ends[1], protocol, Ports(numbers[0], numbers[0]), Ports(numbers[1], numbers[1]))


def some_plan(rng: random.Random, size: int) -> Plan:
    protects = [
        case.protect(number, [some_selector(rng) for _ in range(rng.choice((1, 2)))]) for number in range(1, size)
    ]
    entries = [case.pad(str(prefix(rng)), str(prefix(rng)), f"rule {n}") for n in range(size)]
    return case.plan(protects, entries)


def test_the_heaviest_region_is_that_of_a_plain_walk() -> None:
    rng = random.Random(7)
    hits = 0
    for _ in range(60):
        plan = some_plan(rng, rng.randrange(1, 15))
        index = PlanIndex(plan)
        for _ in range(40):
            wanted = packet(rng)
            plain = [one.weight for one in plan.protect for s in one.selectors if s.contains(wanted)]
            found = index.heaviest(wanted)
            assert (found.weight if found else None) == max(plain, default=None)
            assert found is None or found.selector.contains(wanted)
            hits += found is not None
    assert hits > 500


def test_regions_between_two_hosts_are_all_of_them_heaviest_first() -> None:
    rng = random.Random(8)
    plan = some_plan(rng, 30)
    index = PlanIndex(plan)
    for _ in range(50):
        pair = packet(rng)
        local, remote = pair.src.address, pair.dst.address
        found = index.regions(local, remote, Mode.TRANSPORT)
        plain = {
            (one.reqid, s)
            for one in plan.protect
            for s in one.selectors
            if s.src.contains(local) and s.dst.contains(remote)
        }
        assert {(region.protect.reqid, region.selector) for region in found} == plain
        assert [r.weight for r in found] == sorted((r.weight for r in found), reverse=True)


def test_the_pad_entry_with_the_longest_prefixes_wins_then_the_first() -> None:
    rng = random.Random(9)
    for _ in range(30):
        plan = some_plan(rng, 12)
        index = PlanIndex(plan)
        for _ in range(30):
            pair = packet(rng)
            local, remote = pair.src.address, pair.dst.address
            fitting = [e for e in plan.pad if e.local.contains(local) and e.remote.contains(remote)]
            found = index.pad(local, remote)
            if not fitting:
                assert found is None
                continue
            best = max(e.local.length + e.remote.length for e in fitting)
            assert found is not None
            assert found.local.length + found.remote.length == best
            same = [e for e in fitting if (e.local, e.remote) == (found.local, found.remote)]
            assert found is same[0]


def test_tunnels_are_found_by_their_ends() -> None:
    here, there = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
    tunnel = case.protect(5, [case.selector("192.0.2.1", "192.0.2.2")], Mode.TUNNEL)
    index = PlanIndex(case.plan([tunnel]))
    assert [r.protect.reqid for r in index.regions(here, there, Mode.TUNNEL)] == [5]
    assert index.regions(there, here, Mode.TUNNEL) == []
    assert index.regions(here, there, Mode.TRANSPORT) == []


def test_a_packet_is_decided_by_a_tunnel_or_by_what_is_narrower() -> None:
    tunnel = replace(
        case.protect(5, [case.selector("10.2.0.0/16", "10.3.0.0/16")], Mode.TUNNEL),
        tunnel=(Address.parse("192.0.2.1"), Address.parse("192.0.2.2")),
    )
    narrower = case.protect(6, [case.selector("10.2.0.1", "10.3.0.1")])
    index = PlanIndex(case.plan([tunnel, narrower]))
    for source, reqid in (("10.2.0.1", 6), ("10.2.0.2", 5)):
        found = index.heaviest(case.selector(source, "10.3.0.1", "tcp", "1", "2"))
        assert found is not None
        assert found.protect.reqid == reqid


def test_families_do_not_meet() -> None:
    index = PlanIndex(
        case.plan([case.protect(1, [case.selector("0.0.0.0/0", "0.0.0.0/0")])], [case.pad("::/0", "::/0")])
    )
    four, six = Address.parse("10.0.0.1"), Address.parse("fd00::1")
    assert index.pad(four, four) is None
    assert index.pad(six, six) is not None
    assert index.regions(six, six, Mode.TRANSPORT) == []
    assert index.heaviest(case.selector("fd00::1", "fd00::2", "tcp", "1", "2")) is None


def test_the_cost_does_not_grow_with_the_policy() -> None:
    def cost(size: int) -> float:
        peers = [f"10.{n >> 8}.{n & 255}.1" for n in range(size)]
        protects = [case.protect(n + 1, [case.selector("192.0.2.1", peer)]) for n, peer in enumerate(peers)]
        index = PlanIndex(case.plan(protects, [case.pad("192.0.2.1", peer) for peer in peers]))
        wanted = case.selector("192.0.2.1", peers[-1], "tcp", "1", "2")
        best = []
        for _ in range(5):
            start = time.process_time()
            for _ in range(200):
                assert index.heaviest(wanted)
                assert index.pad(wanted.src.address, wanted.dst.address)
            best.append(time.process_time() - start)
        return min(best)

    assert cost(4000) < 5 * cost(4), "a walk would be a thousand times slower"
