# SPDX-License-Identifier: GPL-2.0-or-later
"""What is found when a policy is checked on a host."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import product, repeat

import pytest

from tests.unit.compiler_cases import HOST, facts, one, policy, rule
from xfrmd import limits
from xfrmd.compiler import Checked, check, compile_and_check
from xfrmd.compiler.cost import MAPS, WILDCARDS
from xfrmd.compiler.expand import generic_filters
from xfrmd.compiler.names import names_of
from xfrmd.compiler.size import bounded
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors
from xfrmd.policy.words import Config, Filter, PolicySet, Rule

SMB = rule("negotiate", one("me", "any", "tcp", dport=445, line=3), name="smb", psk=b"not to be shown")
V4 = facts("10.1.0.5/16")
BLOCK = rule("block", one("any", "me", line=2), name="shut")


def problems(*rules: Rule, host: HostFacts = HOST, config: Config | None = None) -> list[Problem]:
    return list(check(replace(policy(*rules), config=config or Config()), host))


def test_a_plain_policy_has_no_problems() -> None:
    assert problems(SMB) == []


def test_a_filter_that_others_take_whole_is_told() -> None:
    found = problems(
        rule("block", one("me", "10.2.0.0/24", "tcp", dport="80,443", line=2), line=1),
        rule("permit", one("me", "10.2.0.0/25", line=4), one("me", "10.2.0.128/25", line=5), line=3),
    )
    assert [(str(one.at), one.severity) for one in found] == [("policy.yaml:2:9", Severity.WARNING)]
    assert "never decides" in found[0].message
    assert problems(
        rule("block", one("me", "10.2.0.0/24", "tcp", dport="80,443", line=2), line=1),
        rule("permit", one("me", "10.2.0.0/25", line=4), line=3),
    ) == []  # fmt: skip


def test_equal_filters_with_different_verdicts_are_told() -> None:
    found = problems(
        rule("block", one("me", "any", "udp", dport="1-10", line=2), line=1),
        rule("permit", one("me", "any", "udp", dport="5-14", line=4), line=3),
    )
    assert [str(one.at) for one in found] == ["policy.yaml:4:9"]
    assert "policy.yaml:2:9" in found[0].message


def test_a_narrower_range_of_the_same_class_is_no_tie() -> None:
    found = problems(
        rule("block", one("me", "any", "udp", dport="1000-1999", line=2), line=1),
        rule("permit", one("me", "any", "udp", dport="1100-1800", line=4), line=3),
    )
    assert found == []


def test_a_filter_without_addresses_is_told() -> None:
    found = problems(rule("permit", one("me", "dns-servers", line=2)))
    assert [str(one.at) for one in found] == ["policy.yaml:2:9"]
    assert "means nothing on this host" in found[0].message


def test_a_connection_type_needs_me() -> None:
    found = problems(rule("block", one("10.0.0.0/8", "10.1.0.5", line=2), conntype="lan"))
    assert [(one.severity, str(one.at)) for one in found] == [(Severity.ERROR, "policy.yaml:2:9")]


def test_one_way_negotiation_is_told() -> None:
    found = problems(rule("negotiate", one("me", "10.2.0.1", mirrored=False, line=2)))
    assert ["mirrored" in one.remedy for one in found] == [True]


def test_nobody_is_locked_out_without_being_told_and_refused() -> None:
    (found,) = problems(BLOCK, host=V4)
    assert (found.severity, str(found.at)) == (Severity.ERROR, "policy.yaml:2:9")
    assert found.message.startswith("nobody can reach TCP port 22 of this host")
    assert "allow_lockout: yes" in found.remedy


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (Config(allow_lockout=True), [(Severity.WARNING, "22")]),
        (Config(management=()), []),
        (Config(management=(22, 443)), [(Severity.ERROR, "22"), (Severity.ERROR, "443")]),
    ],
    ids=str,
)
def test_what_the_policy_says_of_management(config: Config, found: list[tuple[Severity, str]]) -> None:
    told = problems(BLOCK, host=V4, config=config)
    assert [(each.severity, each.message.split("TCP port ")[1].split(" ")[0]) for each in told] == found


def test_whoever_may_come_in_is_no_lock_out() -> None:
    one_host = rule("permit", one("10.1.0.9", "me", "tcp", dport=22), line=3)
    protected = rule("negotiate", one("10.1.0.0/24", "me"), line=3)
    for way in (one_host, protected):
        assert problems(BLOCK, way, host=V4) == []
    half = rule("block", one("10.0.0.0/8", "me", "tcp", dport=22, line=5), line=4)
    assert [each.severity for each in problems(BLOCK, half, host=V4)] == [Severity.ERROR]


def test_answers_that_cannot_leave_lock_out_as_well() -> None:
    out = one("me", "any", line=2, mirrored=False)
    assert [each.severity for each in problems(rule("block", out), host=V4)] == [Severity.ERROR]
    ssh = rule("permit", one("me", "10.1.0.0/16", "tcp", sport=22, line=3, mirrored=False), line=3)
    assert problems(rule("block", out), ssh, host=V4) == []
    other_way = rule("permit", one("10.1.0.0/16", "me", "tcp", dport=22, line=3, mirrored=False), line=3)
    assert [each.severity for each in problems(rule("block", out), other_way, host=V4)] == [Severity.ERROR]


def test_one_address_of_several_may_be_closed() -> None:
    dialup = rule("block", one("any", "me", line=2), conntype="dialup")
    (found,) = problems(dialup, host=facts("10.1.0.5/16", dialup=("192.0.2.7/32",)))
    assert (found.severity, "TCP port 22 of 192.0.2.7" in found.message) == (Severity.WARNING, True)
    assert problems(dialup, host=V4)[0].message.startswith("the filter means nothing")


def test_a_link_local_address_manages_nobody() -> None:
    four = rule("block", one("0.0.0.0/0", "me", line=2))
    assert [each.severity for each in problems(four, host=facts("10.1.0.5/16", "fe80::5/64"))] == [Severity.ERROR]
    assert [each.severity for each in problems(four, host=HOST)] == [Severity.WARNING]


def test_a_filter_that_stands_twice_is_told_as_such() -> None:
    twice = one("me", "10.2.0.1", "tcp", dport=80, line=3), one("me", "10.2.0.1", "tcp", dport=80, line=4)
    (found,) = problems(rule("block", *twice, line=1))
    assert (str(found.at), found.severity) == ("policy.yaml:4:9", Severity.WARNING)
    assert found.message == (
        "the filter says the same as the one at policy.yaml:3:9 of rule 'rule 1', which comes first in the file"
    )
    mirror = one("10.2.0.1", "me", "tcp", sport=80, line=4)
    assert [each.message for each in problems(rule("block", twice[0], mirror, line=1))] == [found.message]


def test_two_words_for_the_same_packets_are_told_once_with_who_wins() -> None:
    left, right = one("me", "10.2.0.1", line=2), one("me", "10.2.0.1", line=4)
    (found,) = problems(rule("block", left), rule("permit", right, line=3))
    assert str(found.at) == "policy.yaml:4:9"
    assert "speaks of the same packets, comes first in the file and wins (block)" in found.message
    same, other = rule("negotiate", left), rule("negotiate", right, line=3)
    assert "says the same" in problems(same, other)[0].message
    assert "speaks of the same packets" in problems(same, rule("negotiate", right, line=3, inpass=True))[0].message


def test_half_a_twin_is_a_tie_and_not_dead() -> None:
    left, right = one("me", "10.2.0.1", line=2, mirrored=False), one("me", "10.2.0.1", line=4)
    (found,) = problems(rule("block", left), rule("permit", right, line=3))
    assert "which is as specific" in found.message


def test_traffic_that_a_narrower_rule_authenticates_is_told() -> None:
    wide = rule("negotiate", one("me", "10.2.0.0/16", "tcp", line=2), line=1)
    narrow = rule("negotiate", one("me", "10.2.3.0/24", "udp", line=4), line=3, psk=b"another secret")
    (found,) = problems(wide, narrow, host=V4)
    assert (found.severity, str(found.at)) == (Severity.WARNING, "policy.yaml:1:5")
    assert found.message.startswith(
        "between 10.1.0.5 and 10.2.3.0/24 traffic of rule 'rule 1' is authenticated as rule 'rule 3' (policy.yaml:3:5)"
    )
    assert problems(wide, rule("negotiate", one("me", "10.2.3.0/24", "udp", line=4), line=3), host=V4) == []


def test_a_narrower_rule_that_takes_all_traffic_may_authenticate_as_it_likes() -> None:
    wide = rule("negotiate", one("me", "10.2.0.0/16", "tcp", line=2), one("me", "any", line=3), line=1)
    for narrow in (
        (one("me", "10.2.3.0/24", line=5),),
        (one("me", "10.2.3.0/25", line=5), one("me", "10.2.3.128/25", line=6)),
    ):
        assert problems(wide, rule("negotiate", *narrow, line=4, psk=b"another secret"), host=V4) == []
    rest = rule("block", one("me", "10.2.3.0/24", line=7), line=6)
    udp = rule("negotiate", one("me", "10.2.3.0/24", "udp", line=5), line=4, psk=b"another secret")
    assert problems(wide, udp, rest, host=V4) == []


def test_parts_that_several_take_together_are_seen() -> None:
    wide = rule("block", one("me", "10.2.0.0/22", line=2), line=1)
    quarters = [one("me", f"10.2.{index}.0/24", line=index + 4) for index in range(4)]
    assert "never decides" in problems(wide, rule("permit", *quarters, line=3))[0].message
    assert problems(wide, rule("permit", *quarters[:3], line=3)) == []
    assert problems(wide, rule("permit", *quarters[1:], line=3)) == []


def test_no_protocol_is_forgotten() -> None:
    wide = rule("block", one("me", "10.2.0.0/24", line=2), line=1)
    halves = [one("me", f"10.2.0.{half}/25", protocol, line=4) for half in (0, 128) for protocol in ("tcp", "udp")]
    assert problems(wide, rule("permit", *halves, line=3)) == []


def test_security_policies_with_any_are_counted_when_there_are_many() -> None:
    def told(count: int) -> list[str]:
        filters = (one("me", "any", "tcp", dport=1025 + 2 * index) for index in range(count))
        return [each.message for each in problems(rule("negotiate", *filters), host=facts("10.1.0.5/32"))]

    # Each has an entry for multicast and one for broadcast besides, of which that for any counts.
    assert told(WILDCARDS) == []
    (found,) = told(WILDCARDS + 1)
    assert found.startswith("201 security policies have the address any at one end")
    assert "about 6 us" in found


def test_neighbouring_ports_are_one_security_policy() -> None:
    ports = ",".join(str(1024 + index) for index in range(512))
    assert problems(rule("negotiate", one("me", "any", "tcp", dport=ports)), host=V4) == []


def test_many_kinds_of_filters_are_told() -> None:
    def told(lengths: range) -> list[str]:
        forms = product(lengths, ("any", "tcp"), ("any", "80"), ("any", "80"))
        filters = [
            one("me", f"10.0.0.0/{length}", protocol, sport, dport)
            for length, protocol, sport, dport in forms
            if protocol != "any" or (sport, dport) == ("any", "any")
        ]
        return [each.message for each in problems(rule("permit", *filters), host=V4)]

    assert told(range(8, 28)) == []
    (found,) = told(range(8, 29))
    assert f"up to {MAPS + 5} maps" in found


def test_checking_gives_the_plan_and_none_for_a_policy_that_has_none() -> None:
    assert compile_and_check(PolicySet((), None), HOST).plan.policy == ""
    checked = compile_and_check(policy(SMB), HOST)
    assert checked.plan.policy == "Test"
    with pytest.raises(PolicyErrors):
        _ = Checked(None, tuple(problems(BLOCK, host=V4))).plan


def test_name_servers_that_cannot_be_asked_are_told_where_the_policy_has_names() -> None:
    host = replace(V4, dns_servers=(Address.parse("10.1.0.53"),), names={"files.example": (Address.parse("10.2.0.9"),)})
    shut = rule("block", one("me", "10.1.0.0/16", line=2), line=1, name="shut")
    named = rule("permit", one("me", "files.example", line=4), line=3)
    asked = rule("permit", one("me", "dns-servers", "udp", dport=53, line=6), line=5)
    (found,) = problems(shut, named, host=host)
    assert (str(found.at), found.severity) == ("policy.yaml:4:9", Severity.WARNING)
    assert "policy.yaml:2:9" in found.message
    assert "blocks DNS to the name server 10.1.0.53" in found.message
    assert problems(shut, named, asked, host=host) == []
    assert problems(shut, host=host) == []
    (under,) = problems(rule("negotiate", one("me", "10.1.0.0/16", line=2), psk=b"x"), named, host=host)
    assert "only under protection" in under.message


def test_more_names_than_can_be_followed_are_an_error_at_the_first_too_many() -> None:
    host = replace(V4, names={f"n{n}.example": (Address(4, (11 << 24) + n),) for n in range(limits.NAMES + 2)})
    filters = [one("me", f"n{n}.example", line=n + 2) for n in range(limits.NAMES + 1)]
    found = [problem for problem in problems(rule("permit", *filters), host=host) if problem.severity is Severity.ERROR]
    assert [str(problem.at) for problem in found] == [f"policy.yaml:{limits.NAMES + 2}:9"]
    assert problems(rule("permit", *filters[:-1]), host=host) == []
    unused = replace(rule("permit", *filters), active=False)
    assert [problem for problem in problems(SMB, unused, host=host) if problem.severity is Severity.ERROR] == []


def test_names_are_those_of_active_rules_and_of_tunnels() -> None:
    tunnel = replace(rule("negotiate", one("me", "10.2.0.0/16"), psk=b"x"), tunnel="gateway.example")
    named = rule("permit", one("a.example", "me"), one("me", "b.example"))
    unused = replace(rule("permit", one("me", "c.example")), active=False)
    assert names_of(policy(tunnel, named, unused)) == {"gateway.example", "a.example", "b.example"}
    assert names_of(PolicySet((), None)) == frozenset()


WIDE = {
    "ranges at both ends": [
        one("10.0.0.1,10.0.0.2/31,10.0.0.4/30,10.0.0.8", "any", "tcp", "1-65534", "1-65534", line=7)
    ]
    * 100,
    "one filter": [one("10.0.0.1", "10.0.0.2", "udp", "1-65534,2-65533", "1-65534," * 300 + "1-65534", line=7)],
}


@pytest.mark.parametrize("filters", WIDE.values(), ids=WIDE)
def test_few_lines_become_no_more_filters_than_a_host_bears(filters: list[Filter]) -> None:
    (problem,) = problems(rule("permit", *filters, name="wide"))
    assert (str(problem.at), problem.severity) == ("policy.yaml:7:9", Severity.ERROR)
    assert "rule 'wide'" in problem.message
    assert f"more than {limits.SPECIFIC_FILTERS} filters of the kernel" in problem.message
    assert "in one rule only" in problem.remedy


def test_rules_that_share_a_list_multiply_no_further_than_that() -> None:
    (generic,) = generic_filters(policy(SMB).in_force)
    with pytest.raises(PolicyErrors, match=r"policy.yaml:3:9: error: .*more than 1000000 filters"):
        deque(bounded(repeat(generic, limits.SPECIFIC_FILTERS + 1)), maxlen=0)


def test_filters_that_all_overlap_are_refused_before_they_are_all_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = [one("me", "any", "tcp", dport=f"{first}-{first + 50}", line=first) for first in range(2, 40)]
    pairs = len(ranges) * (len(ranges) - 1) // 2  # in each direction and IP version
    told = f"more than {pairs - 1} pairs of equally specific filters overlap"
    monkeypatch.setattr(limits, "OVERLAPS", pairs)
    assert not any(told in problem.message for problem in problems(rule("permit", *ranges)))
    monkeypatch.setattr(limits, "OVERLAPS", pairs - 1)
    (problem,) = problems(rule("permit", *ranges, name="ranges"))
    assert (problem.severity, told in problem.message, "rule 'ranges'" in problem.message) == (
        Severity.ERROR,
        True,
        True,
    )
