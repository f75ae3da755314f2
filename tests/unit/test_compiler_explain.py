# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json

from tests.unit.compiler_cases import HOST, facts, one, packet, policy, rule
from xfrmd.compiler import check, compile_policy
from xfrmd.compiler.explain import explain
from xfrmd.compiler.render import plan_json, plan_text
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Verdict
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Rule

SMB = rule("negotiate", one("me", "any", "tcp", dport=445, line=3), name="smb", psk=b"not to be shown")


def problems(*rules: Rule, host: HostFacts = HOST) -> list[Problem]:
    return list(check(policy(*rules), host))


def test_the_winner_is_told_with_its_place() -> None:
    found = explain(compile_policy(policy(SMB), HOST), packet("out", "10.1.0.5", "10.1.2.3"))
    told = found.to_json()
    wanted = {
        "verdict": "negotiate",
        "rule": "smb",
        "filter_list": "list of smb",
        "filter_action": "negotiate",
        "at": "policy.yaml:3:9",
    }
    assert wanted.items() <= told.items()
    assert json.loads(json.dumps(told)) == told
    assert str(found.weight) == "32.32.32.1.1.1.65535"


def test_no_filter_and_no_policy_pass() -> None:
    asked = packet("out", "10.1.0.5", "10.1.2.3", dport=80)
    for policies in (policy(SMB), policy()):
        found = explain(compile_policy(policies, HOST), asked)
        assert (found.verdict, found.rule, found.at) == (Verdict.PASS, "", None)


def test_group_destinations_are_blocked_by_negotiate_and_let_in_by_inpass() -> None:
    asked = packet("in", "10.1.0.9", "10.1.255.255", "udp")
    for inpass, verdict in ((False, Verdict.BLOCK), (True, Verdict.PERMIT)):
        plan = compile_policy(policy(rule("negotiate", one("any", "any"), inpass=inpass)), HOST)
        found = explain(plan, asked)
        assert (found.verdict, found.rule) == (verdict, "rule 1")
        assert "never negotiated" in found.note


def test_inpass_lets_no_group_out() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "any"), inpass=True)), HOST)
    assert explain(plan, packet("out", "10.1.0.5", "239.1.1.1", "udp")).verdict is Verdict.BLOCK


def test_inpass_is_mentioned() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "any"), inpass=True)), HOST)
    assert "inpass" in explain(plan, packet("in", "10.1.0.9", "10.1.0.5")).note
    assert explain(plan, packet("out", "10.1.0.5", "10.1.0.9")).note == ""


def test_a_plan_is_told_without_its_secrets() -> None:
    plan = compile_policy(policy(SMB), HOST)
    for text in (plan_text(plan), json.dumps(plan_json(plan))):
        assert "smb" in text
        assert "not to be shown" not in text


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


def test_a_block_of_ssh_from_everywhere_is_told_unless_somebody_may() -> None:
    block = rule("block", one("any", "me", line=2))
    assert [one.message[:36] for one in problems(block, host=facts("10.1.0.5/16"))] == [
        "nobody can reach TCP port 22 of 10.1"
    ]
    assert (
        problems(block, rule("permit", one("10.1.0.9", "me", "tcp", dport=22), line=3), host=facts("10.1.0.5/16")) == []
    )
    half = rule("block", one("10.0.0.0/8", "me", "tcp", dport=22, line=5), line=4)
    assert len(problems(block, half, host=facts("10.1.0.5/16"))) == 1


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
