# SPDX-License-Identifier: GPL-2.0-or-later
"""Oracle, explain, nftables maps and SPD decide alike, on random policies and packets at their edges.

XFRMD_EXAMPLES sets how many policies are tried (default 100; each with 24 packets).
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.compiler_cases import addresses, facts, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.exempt import LOOPBACK
from xfrmd.compiler.explain import explain
from xfrmd.compiler.interpreter import Interpreter, Seen, first_entry
from xfrmd.compiler.nft_text import render
from xfrmd.compiler.oracle import Decision, decide
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, UDP, Packet, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.model.spd import Direction, SpdAction
from xfrmd.policy.words import Filter, PolicySet

EXAMPLES = int(os.environ.get("XFRMD_EXAMPLES", "100"))
PACKETS = 24
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


def _expected(decision: Decision) -> tuple[str, str, str]:
    """What nftables does: in the clear, on an SA, and in the chain that holds packets."""
    if decision.verdict is Verdict.BLOCK:
        return "drop", "drop", "drop"
    if decision.verdict is Verdict.NEGOTIATE:
        return ("accept" if decision.inpass else "drop"), "accept", "queue"
    return "accept", "accept", "accept"


def _impossible(plan: Plan, packet: Packet) -> bool:
    """To an own address outbound, or from one inbound: on the wire only a forger does that, and only nftables can tell
    it from loopback.
    """
    selector = packet.selector
    return (selector.src if packet.inbound else selector.dst).address in plan.local


def _check_nft(plan: Plan, packet: Packet, decision: Decision) -> None:
    if decision.rule == LOOPBACK:
        return  # the interpreter's packets are on real interfaces
    hook = "prerouting" if packet.inbound else "postrouting"
    table = Interpreter(plan.nft)
    clear, protected, held = _expected(decision)
    assert table.run(hook, Seen(packet, plan.local, protected=False)) == clear
    assert table.run(hook, Seen(packet, plan.local, protected=True)) == protected
    if not packet.inbound and any(chain.name == "hold_output" for chain in plan.nft.chains):
        for chain in ("hold_output", "hold_forward"):
            assert table.run(chain, Seen(packet, plan.local, protected=False)) == held
            assert table.run(chain, Seen(packet, plan.local, protected=True)) == "accept"


def _check_spd(plan: Plan, packet: Packet, decision: Decision) -> None:
    if decision.rule in ("exempt-ike", "exempt-esp", "exempt-ah", LOOPBACK) or _impossible(plan, packet):
        return  # sockets, carriers and `lo` never come to the SPD
    exempt = decision.rule.startswith("exempt-")
    directions = [Direction.IN, *([] if exempt else [Direction.FWD])] if packet.inbound else [Direction.OUT]
    for direction in directions:
        entry = first_entry(plan.spd, direction, packet)
        if decision.verdict is Verdict.NEGOTIATE:
            won = next(f for f in plan.filters if f.inbound == packet.inbound and f.selector.contains(packet.selector))
            assert entry is not None
            assert (entry.action, entry.reqid, entry.optional) == (SpdAction.PROTECT, won.reqid, decision.inpass)
        elif entry is not None and entry.optional:
            assert decision.verdict is Verdict.PERMIT  # a group address under inpass
            assert any(group.contains(packet.selector.dst) for group in plan.groups)
        elif entry is not None:
            wanted = SpdAction.DISCARD if decision.verdict is Verdict.BLOCK else SpdAction.BYPASS
            assert entry.action is wanted


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(policy_sets(), FACTS, st.integers(0, 2**32))
def test_all_engines_decide_alike(policies: PolicySet, host: HostFacts, seed: int) -> None:
    plan = compile_policy(policies, host)
    dice = random.Random(seed)
    for _ in range(PACKETS):
        packet = _packet(plan, host, dice)
        decision = decide(policies, host, packet)
        explained = explain(plan, packet)
        assert (explained.verdict, explained.rule, explained.at, explained.weight) == (
            decision.verdict,
            decision.rule,
            decision.at,
            decision.weight,
        )
        _check_nft(plan, packet, decision)
        _check_spd(plan, packet, decision)


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
