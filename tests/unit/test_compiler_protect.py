# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.compiler_cases import ESP_AES, HOST, IKE_AES, facts, one, policy, rule
from xfrmd import limits
from xfrmd.compiler import check, compile_policy
from xfrmd.compiler.reqids import number
from xfrmd.errors import PolicyError
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.source import Severity
from xfrmd.model.spd import Mode
from xfrmd.policy.words import PolicySet

V4 = facts("10.1.0.5/16")


def numbers(policies: PolicySet, host: HostFacts = HOST) -> set[int]:
    return {one.reqid for one in compile_policy(policies, host).protect}


def selectors(plan: Plan) -> list[list[str]]:
    return [[str(selector) for selector in one.selectors] for one in plan.protect]


def test_one_entry_per_filter_and_ip_version_with_outbound_selectors() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "me", "tcp", dport=445))), HOST)
    assert selectors(plan) == [["[fd00:1::5]:445 -> any tcp"], ["10.1.0.5:445 -> any tcp"]]
    protect = plan.protect[0]
    assert (protect.proposals, protect.mode, protect.origin.rule) == ((ESP_AES,), Mode.TRANSPORT, "rule 1")
    assert {entry.reqid for entry in plan.spd if entry.reqid} == {one.reqid for one in plan.protect}


def test_a_filter_between_literal_addresses_starts_here() -> None:
    filters = rule("negotiate", one("10.1.0.5", "10.1.0.6", "tcp", dport=445))
    assert selectors(compile_policy(policy(filters), V4)) == [["10.1.0.5 -> 10.1.0.6:445 tcp"]]
    other = facts("10.1.0.6/16")
    assert selectors(compile_policy(policy(filters), other)) == [["10.1.0.6:445 -> 10.1.0.5 tcp"]]


def test_a_weight_is_told_as_seen_outbound_also_where_only_inbound_is_filtered() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "me", "tcp", dport=445, mirrored=False))), V4)
    assert str(plan.protect[0].weight) == "32.32.32.1.1.0.65535"


def test_reqids_stay_when_rules_come_and_go() -> None:
    smb, web = rule("negotiate", one("me", "any", "tcp", dport=445)), rule("negotiate", one("me", "10.2.0.1"), line=2)
    alone, both = numbers(policy(smb)), numbers(policy(web, smb))
    assert alone < both
    assert all(limits.REQID_FIRST <= reqid <= limits.REQID_LAST for reqid in both)


def test_reqids_stay_when_addresses_change_or_the_file_is_edited_above() -> None:
    before = policy(rule("negotiate", one("me", "any", "tcp", dport=445, line=2), name="smb"))
    after = policy(rule("negotiate", one("me", "any", "tcp", dport=445, line=9), name="smb", line=8))
    assert numbers(before) == numbers(after) == numbers(before, facts("10.7.0.1/16", "fd00:7::1/64"))


def test_the_same_words_in_another_rule_are_another_filter() -> None:
    a, b = (policy(rule("negotiate", one("me", "any"), name=name)) for name in ("a", "b"))
    assert numbers(a).isdisjoint(numbers(b))


def test_colliding_names_get_different_numbers() -> None:
    names = [f"filter {i}" for i in range(2000)]
    found = number(names)
    assert len(set(found.values())) == len(names)
    assert found == number(reversed(names))


def test_more_filters_than_numbers_are_refused() -> None:
    with pytest.raises(PolicyError, match="65536 are possible"):
        number(str(i) for i in range(65537))


def test_pairs_of_several_filters_collapse_and_narrow_ones_come_first() -> None:
    plan = compile_policy(
        policy(
            rule("negotiate", one("me", "any", "tcp"), one("me", "any", "udp")),
            rule("negotiate", one("me", "10.2.0.0/16"), line=2, psk=b"other"),
            qmpermm=3,
        ),
        V4,
    )
    assert [f"{entry.local} {entry.remote} {entry.rule}" for entry in plan.pad] == [
        "10.1.0.5 10.2.0.0/16 rule 2",
        "10.1.0.5 0.0.0.0/0 rule 1",
    ]
    assert (plan.pad[0].main_mode.proposals, plan.pad[0].main_mode.quick_modes) == ((IKE_AES,), 3)


def test_master_key_pfs_means_one_quick_mode() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "10.2.0.1")), qmpermm=5, mmpfs=True), V4)
    assert plan.pad[0].main_mode.quick_modes == 1


def test_different_authentication_of_one_pair_is_an_error_and_the_first_holds() -> None:
    tcp, udp = one("me", "10.2.0.1", "tcp"), one("me", "10.2.0.1", "udp")
    rules = (rule("negotiate", udp, line=5, psk=b"second"), rule("negotiate", tcp, line=2, psk=b"first"))
    problems = [problem for problem in check(policy(*rules), V4) if problem.severity is Severity.ERROR]
    assert [(str(problem.at), problem.message.split("'")[1]) for problem in problems] == [("policy.yaml:5:5", "rule 2")]
    assert compile_policy(policy(*rules), V4).pad[0].auth == rules[1].auth
    same = replace(rules[0], auth=rules[1].auth)
    assert not [p for p in check(policy(same, rules[1]), V4) if p.severity is Severity.ERROR]


def test_permit_and_block_need_no_peers() -> None:
    plan = compile_policy(
        policy(rule("permit", one("me", "any")), rule("block", one("any", "me", "udp"), line=2)), HOST
    )
    assert (plan.protect, plan.pad) == ((), ())
