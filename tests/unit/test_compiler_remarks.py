# SPDX-License-Identifier: GPL-2.0-or-later
"""What explain says beside the decision: fallbacks, tunnels, names without addresses, what stands beside the Plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.compiler_cases import ESP_AES, HOST, facts, one, packet, policy, rule, tunnel
from xfrmd.compiler import compile_policy
from xfrmd.compiler.dynamic import dynamic_part
from xfrmd.compiler.explain import Explanation, explain_whole
from xfrmd.compiler.soft import soft_part
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.pad import PskAuth
from xfrmd.model.plan import NO_OVERLAY, Overlay, Verdict
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Packet, Selector
from xfrmd.model.source import Span
from xfrmd.policy.words import DefaultResponse, PolicySet, Rule, Unresolved

OUT = packet("out", "10.1.0.5", "10.2.0.9")
GATEWAY = facts("10.1.0.1/16", "192.0.2.1/24")


def asked(
    policies: PolicySet, about: Packet = OUT, host: HostFacts = HOST, overlay: Overlay = NO_OVERLAY
) -> Explanation:
    return explain_whole(policies, host, about, compile_policy(policies, host), overlay)


def having(policies: PolicySet, **changes: object) -> PolicySet:
    assert policies.assigned is not None
    made = replace(policies.assigned, **changes)  # type: ignore[arg-type]
    return replace(policies, policies=(made,), assigned=made)


def answering(*rules: Rule) -> PolicySet:
    response = DefaultResponse((PskAuth(Secret(b"secret")),), (ESP_AES,), Span("policy.yaml", 9, 1))
    return having(policy(*rules), default_response=response)


SOFT = rule("negotiate", one("me", "10.2.0.0/16"), soft=True, name="soft one")
NAMED = rule("negotiate", one("me", "gone.example", "tcp", dport=445, line=4), line=4, name="named")


def test_a_soft_filter_is_told_to_fall_back() -> None:
    found = asked(policy(SOFT))
    assert (found.verdict, len(found.notes)) == (Verdict.NEGOTIATE, 1)
    assert found.notes[0].endswith("it passes in the clear, for 300 s at a time")
    assert "soft" not in str(asked(policy(SOFT), packet("out", "10.1.0.5", "10.1.255.255")).notes)


def test_an_open_soft_sa_is_told_as_what_happens_now() -> None:
    policies = policy(SOFT)
    plan = compile_policy(policies, HOST)
    hosts = Selector(Prefix.parse("10.1.0.5"), Prefix.parse("10.2.0.9"))
    overlay = soft_part(plan, [each for each in plan.filters if each.reqid], hosts)
    found = asked(policies, overlay=overlay)
    assert (found.verdict, found.rule) == (Verdict.PERMIT, "soft one")
    assert "a soft SA is open now" in found.notes[-1]
    assert found.kernel is not None
    assert (found.kernel.element, found.kernel.map[:8]) == ("accept", "soft_out")
    assert asked(policies, packet("out", "10.1.0.5", "10.2.0.10"), overlay=overlay).verdict is Verdict.NEGOTIATE


def test_what_no_filter_matches_may_be_protected_by_the_default_response_rule() -> None:
    policies = answering(rule("block", one("me", "10.9.0.0/16")))
    found = asked(policies)
    assert found.verdict is Verdict.PASS
    assert "default response rule" in found.notes[0]
    assert asked(policies, packet("in", "10.2.0.9", "10.7.7.7")).notes == ()  # forwarded
    assert asked(policies, packet("out", "10.1.0.5", "10.9.0.1")).notes == ()


def test_a_filter_of_the_default_response_rule_is_told_as_what_happens_now() -> None:
    policies = answering()
    plan = compile_policy(policies, HOST)
    reqid = next(each.reqid for each in plan.protect if each.responds)
    overlay = dynamic_part(plan, reqid, Selector(Prefix.parse("10.1.0.5"), Prefix.parse("10.2.0.9")))
    found = asked(policies, overlay=overlay)
    assert (found.verdict, found.rule, found.winner) == (Verdict.NEGOTIATE, "default response", None)
    assert "the other host has asked for protection" in found.notes[0]


def test_what_the_default_response_rule_protects_by_ah_asks_the_kernel_for_ah() -> None:
    ah = Proposal(ProtocolId.AH, (Transform(3, 12),), Lifetime(3600))
    response = DefaultResponse((PskAuth(Secret(b"secret")),), (ah,), Span("policy.yaml", 9, 1))
    plan = compile_policy(having(policy(), default_response=response), HOST)
    reqid = next(each.reqid for each in plan.protect if each.responds)
    hosts = Selector(Prefix.parse("10.1.0.5"), Prefix.parse("10.2.0.9"))
    assert {entry.protocol for entry in dynamic_part(plan, reqid, hosts).spd} == {ProtocolId.AH}


@pytest.mark.parametrize(
    ("unresolved", "verdict"), [(Unresolved.KEEP, Verdict.PASS), (Unresolved.BLOCK, Verdict.BLOCK)]
)
def test_names_without_an_address_are_told(unresolved: Unresolved, verdict: Verdict) -> None:
    found = asked(having(policy(NAMED), unresolved=unresolved))
    assert found.verdict is verdict
    assert len(found.notes) == 1
    assert "gone.example" in found.notes[0]
    assert "has no address now" in found.notes[0]


def test_names_that_cannot_matter_are_not_told() -> None:
    assert asked(policy(NAMED), packet("out", "10.1.0.5", "10.2.0.9", dport=80)).notes == ()
    known = replace(HOST, names={"gone.example": (Address.parse("10.3.0.1"),)})
    assert asked(policy(NAMED), host=known).notes == ()


def test_a_permit_of_a_name_without_an_address_is_told_where_it_would_count() -> None:
    permits = rule("permit", one("me", "gone.example", line=5), line=5, name="friends")
    found = asked(having(policy(SOFT, permits), unresolved=Unresolved.BLOCK))
    assert found.rule == "soft one"
    assert found.notes[-1] == "gone.example, of rule 'friends' at policy.yaml:5:9, has no address now"


def test_the_tunnel_of_a_packet_is_told_and_so_is_that_there_is_none() -> None:
    halves = tunnel("10.1.0.0/16", "10.2.0.0/16", "192.0.2.1", "198.51.100.2")
    about = packet("out", "10.1.0.7", "10.2.0.9")
    assert asked(policy(*halves), about, GATEWAY).notes == ("in the tunnel from 192.0.2.1 to 198.51.100.2",)
    back = packet("in", "10.2.0.9", "10.1.0.7")
    assert asked(policy(*halves), back, GATEWAY).notes == ("in the tunnel from 198.51.100.2 to 192.0.2.1",)
    found = asked(policy(*halves), about)
    assert (found.verdict, len(found.notes)) == (Verdict.BLOCK, 1)
    assert "neither end is an address of this host" in found.notes[0]


def test_without_a_plan_all_is_told_but_the_kernels_part() -> None:
    policies = policy(SOFT)
    found = explain_whole(policies, HOST, OUT)
    assert found.kernel is None
    assert replace(asked(policies), kernel=None) == found


@pytest.mark.parametrize(
    ("about", "rule_name", "note"),
    [
        (packet("out", "fd00:1::5", "fd00:1::9", "icmpv6", 135, 0), "exempt-nd", ", where its hop limit is 255"),
        (packet("in", "192.0.2.9", "10.1.0.5", "icmp", 3, 4), "exempt-pmtu", ", where it quotes an ESP or AH packet"),
        (packet("in", "192.0.2.9", "10.1.0.5", "esp", 0, 0), "exempt-esp", "decided before all filters"),
    ],
)
def test_what_an_exemption_asks_of_a_packet_besides_is_told(about: Packet, rule_name: str, note: str) -> None:
    found = asked(policy(rule("block", one("any", "any"))), about)
    assert (found.verdict, found.rule) == (Verdict.PERMIT, rule_name)
    assert found.notes[0].endswith(note)


def test_a_packet_without_ports_is_told_without() -> None:
    assert str(packet("in", "192.0.2.9", "10.1.0.5", "esp", 0, 0)) == "192.0.2.9 -> 10.1.0.5 esp"
    assert str(packet("out", "10.1.0.5", "10.1.0.9", "udp", 5, 6)) == "10.1.0.5:5 -> 10.1.0.9:6 udp"
