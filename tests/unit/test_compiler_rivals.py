# SPDX-License-Identifier: GPL-2.0-or-later
"""Which filters would decide a packet without the winner, and why they do not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.compiler_cases import HOST, facts, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import RUNNERS_UP, Explanation, explain_whole
from xfrmd.compiler.reasons import reason
from xfrmd.compiler.views import View
from xfrmd.compiler.weight import weigh
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import ANY_PORT, Packet, Ports
from xfrmd.policy.spoken import filter_text
from xfrmd.policy.words import Filter, Rule

WEB, HIGH = Ports(80, 80), Ports(1024, 65535)


def whole(asked: Packet, *rules: Rule, host: HostFacts = HOST) -> Explanation:
    policies = policy(*rules)
    return explain_whole(policies, host, asked, compile_policy(policies, host))


@pytest.mark.parametrize(
    ("winner", "loser", "words"),
    [
        ((32, 24, 0, ANY_PORT, ANY_PORT), (32, 16, 6, WEB, WEB), "has longer prefixes: 56 > 48 bits, both ends summed"),
        ((32, 16, 0, ANY_PORT, ANY_PORT), (24, 24, 0, ANY_PORT, ANY_PORT), "a longer prefix at one end: 32 > 24 bits"),
        ((32, 16, 0, ANY_PORT, ANY_PORT), (16, 32, 0, ANY_PORT, ANY_PORT), "a longer source prefix: 32 > 16 bits"),
        ((32, 0, 6, ANY_PORT, ANY_PORT), (32, 0, 0, ANY_PORT, ANY_PORT), "names a protocol"),
        ((32, 0, 6, ANY_PORT, HIGH), (32, 0, 6, ANY_PORT, ANY_PORT), "names a port"),
        ((32, 0, 6, HIGH, HIGH), (32, 0, 6, ANY_PORT, WEB), "names both ports"),
        ((32, 0, 6, ANY_PORT, HIGH), (32, 0, 6, WEB, ANY_PORT), "names the destination port"),
        ((32, 0, 6, ANY_PORT, WEB), (32, 0, 6, ANY_PORT, HIGH), "names fewer ports: 1 < 64512"),
        ((32, 0, 6, WEB, HIGH), (32, 0, 6, HIGH, HIGH), "names fewer ports: 64513 < 129024"),
        ((32, 0, 6, ANY_PORT, WEB), (32, 0, 6, ANY_PORT, WEB), "is as specific, and comes first in the file"),
    ],
)
def test_each_part_of_a_weight_has_its_words(
    winner: tuple[int, int, int, Ports, Ports], loser: tuple[int, int, int, Ports, Ports], words: str
) -> None:
    assert words in reason(weigh(*winner), weigh(*loser))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (one("me", "dns-servers", "udp", dport=53), "me <-> dns-servers:53 udp"),
        (one("any", "www.example.com", mirrored=False), "any -> www.example.com any"),
        (one("10.1.2.3,10.1.2.4/30", "me", "tcp", sport="1-9,80"), "10.1.2.3-10.1.2.7:1-9,80 <-> me tcp"),
        (one("fd00:1::/64", "fd00::9", "tcp", dport=80), "fd00:1::/64 <-> [fd00::9]:80 tcp"),
        (one("0.0.0.0/0", "10.0.0.0/8", "icmp", sport=8, dport=0), "any <-> 10.0.0.0/8 icmp type 8 code 0"),
    ],
)
def test_a_filter_is_told_as_it_is_written(written: Filter, words: str) -> None:
    assert filter_text(written) == words


def test_those_that_lost_are_told_heaviest_first_with_the_reason() -> None:
    found = whole(
        packet("out", "10.1.0.5", "10.1.2.3", dport=80),
        rule("permit", one("me", "any", line=1), name="all"),
        rule("block", one("me", "10.1.0.0/16", "tcp", dport=80, line=2), line=2, name="web"),
        rule("negotiate", one("me", "10.1.0.0/16", line=3), line=3, name="net"),
        rule("block", one("me", "192.0.2.0/24", line=4), line=4, name="elsewhere"),
    )
    assert (found.verdict, found.rule, found.written) == (Verdict.BLOCK, "web", "me <-> 10.1.0.0/16:80 tcp")
    assert [(each.origin.rule, each.verdict, each.lost, each.why) for each in found.runners_up] == [
        ("net", Verdict.NEGOTIATE, "lighter", "names a protocol"),
        ("all", Verdict.PERMIT, "lighter", "has longer prefixes: 48 > 32 bits, both ends summed"),
    ]


def test_a_filter_as_specific_that_stands_later_is_told_though_the_plan_has_cut_it_away() -> None:
    found = whole(
        packet("in", "10.9.9.9", "10.1.0.5", dport=1700),
        rule("permit", one("any", "me", "tcp", dport="1000-1999", line=1), name="first"),
        rule("block", one("any", "me", "tcp", dport="1500-2499", line=2), line=2, name="second"),
    )
    assert found.rule == "first"
    assert [(each.origin.rule, each.lost) for each in found.runners_up] == [("second", "later")]


def test_an_exempt_packet_has_the_filters_that_would_have_decided_it() -> None:
    ike = packet("out", "10.1.0.5", "10.1.2.3", "udp", 500, 500)
    found = whole(ike, rule("negotiate", one("me", "any"), name="all"))
    assert (found.verdict, found.rule, found.winner) == (Verdict.PERMIT, "exempt-ike", None)
    assert [(each.origin.rule, each.lost, each.verdict) for each in found.runners_up] == [
        ("all", "exempt", Verdict.NEGOTIATE)
    ]
    assert found.runners_up[0].why == "exempt-ike decides before all filters"


def test_a_runner_up_tells_what_it_would_do_with_a_group_address() -> None:
    asked = packet("out", "10.1.0.5", "239.1.1.1", "udp", 40000, 5353)
    found = whole(
        asked, rule("permit", one("me", "any", "udp"), name="udp"), rule("negotiate", one("me", "any"), line=2)
    )
    assert [each.verdict for each in found.runners_up] == [Verdict.BLOCK]


def test_there_may_be_none_and_never_too_many() -> None:
    asked = packet("out", "10.1.0.5", "10.1.2.3")
    assert whole(asked).to_json()["runners_up"] == []
    many = [rule("block", one("me", f"10.0.0.0/{length}", line=length), line=length) for length in range(8, 15)]
    found = whole(asked, *many)
    assert len(found.runners_up) == RUNNERS_UP
    told = found.to_json()
    assert json.loads(json.dumps(told)) == told


def test_what_stands_for_a_decision_in_the_kernel_is_named() -> None:
    rules = (
        rule("negotiate", one("me", "any", line=1), name="all"),
        rule("block", one("me", "10.1.2.3", line=2), line=2),
    )
    host = facts("10.1.0.5/16")
    told = whole(packet("out", "10.1.0.5", "10.1.2.3"), *rules, host=host).kernel
    assert told is not None
    assert told.spd is not None
    assert (told.chain, told.map[:11], told.element) == ("classify_out", "out4_32_32_", "drop")
    assert (told.spd.action.value, str(told.spd.selector)) == ("discard", "10.1.0.5 -> 10.1.2.3 any")
    chains = [
        whole(asked, *rules, host=host).kernel
        for asked in (
            packet("in", "10.1.2.3", "10.1.0.5", "udp", 500, 500),
            packet("in", "10.1.0.5", "10.1.0.5"),
            packet("in", "192.0.2.1", "192.0.2.2"),
        )
    ]
    assert [(each.chain, each.map) for each in chains if each] == [
        ("exempt_in", ""),
        ("prerouting", ""),
        ("classify_in", ""),
    ]


def test_the_filters_of_a_plan_are_not_made_for_one_packet() -> None:
    policies = policy(rule("block", one("me", "10.2.0.0/16")), rule("permit", one("me", "any"), line=2))
    plan = compile_policy(policies, HOST)

    def never() -> tuple[SpecificFilter, ...]:
        raise AssertionError

    unmade = replace(plan, filters=View(never))
    for target, verdict in (("10.2.0.1", Verdict.BLOCK), ("10.3.0.1", Verdict.PERMIT)):
        assert explain_whole(policies, HOST, packet("out", "10.1.0.5", target), unmade).verdict is verdict
