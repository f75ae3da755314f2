# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json

from tests.unit.compiler_cases import HOST, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain
from xfrmd.compiler.render import plan_json, plan_text
from xfrmd.model.plan import Verdict

SMB = rule("negotiate", one("me", "any", "tcp", dport=445, line=3), name="smb", psk=b"not to be shown")


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
        assert "never negotiated" in found.notes[0]


def test_inpass_lets_no_group_out() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "any"), inpass=True)), HOST)
    assert explain(plan, packet("out", "10.1.0.5", "239.1.1.1", "udp")).verdict is Verdict.BLOCK


def test_inpass_is_mentioned() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "any"), inpass=True)), HOST)
    assert "inpass" in explain(plan, packet("in", "10.1.0.9", "10.1.0.5")).notes[0]
    assert explain(plan, packet("out", "10.1.0.5", "10.1.0.9")).notes == ()


def test_a_plan_is_told_without_its_secrets() -> None:
    plan = compile_policy(policy(SMB), HOST)
    for text in (plan_text(plan), json.dumps(plan_json(plan))):
        assert "smb" in text
        assert "not to be shown" not in text
