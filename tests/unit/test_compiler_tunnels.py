# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnel rules, from two halves to one SA pair: which way each goes, between which ends, and what has no tunnel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.compiler_cases import facts, one, packet, policy, rule, tunnel
from xfrmd.compiler import Compilation, check, compile_policy
from xfrmd.compiler.explain import explain
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.source import Severity
from xfrmd.model.spd import Direction, Mode, SpdAction
from xfrmd.policy.words import PolicySet, Unresolved

SITE = policy(*tunnel("10.2.0.0/16", "10.3.0.0/16", "192.0.2.1", "198.51.100.2"))
GATEWAY = facts("192.0.2.1/24", "10.2.0.1/16")
NEAR, FAR = Address.parse("192.0.2.1"), Address.parse("198.51.100.2")
FORTH, BACK = ("10.2.0.7", "10.3.0.7"), ("10.3.0.7", "10.2.0.7")


def spd(plan: Plan) -> set[tuple[str, str, str, tuple[Address, Address] | None]]:
    return {(one.direction.name, str(one.selector), one.action.value, one.tunnel) for one in plan.spd}


def verdict(plan: Plan, direction: str, src: str, dst: str) -> Verdict:
    return explain(plan, packet(direction, src, dst)).verdict


def test_each_half_stands_in_the_direction_of_its_tunnel() -> None:
    plan = compile_policy(SITE, GATEWAY)
    there, here = "10.2.0.0/16 -> 10.3.0.0/16 any", "10.3.0.0/16 -> 10.2.0.0/16 any"
    assert {found for found in spd(plan) if found[2] == "protect"} == {
        ("OUT", there, "protect", (NEAR, FAR)),
        ("IN", here, "protect", (FAR, NEAR)),
        ("FWD", here, "protect", (FAR, NEAR)),
    }
    assert verdict(plan, "out", *FORTH) is verdict(plan, "in", *BACK) is Verdict.NEGOTIATE
    assert verdict(plan, "in", *FORTH) is verdict(plan, "out", *BACK) is Verdict.PASS


def test_both_halves_are_one_sa_pair_between_the_gateways() -> None:
    plan = compile_policy(SITE, GATEWAY)
    (protect,) = plan.protect
    assert (protect.mode, protect.tunnel, protect.origin.rule) == (Mode.TUNNEL, (NEAR, FAR), "rule 1")
    assert [str(selector) for selector in protect.selectors] == ["10.2.0.0/16 -> 10.3.0.0/16 any"]
    assert {entry.reqid for entry in plan.spd if entry.action is SpdAction.PROTECT} == {protect.reqid}
    (entry,) = plan.pad
    assert (entry.local, entry.remote, entry.rule) == (Prefix.host(NEAR), Prefix.host(FAR), "rule 1")


def test_the_other_gateway_reads_the_same_rules_the_other_way() -> None:
    plan = compile_policy(SITE, facts("198.51.100.2/24"))
    (protect,) = plan.protect
    assert (protect.tunnel, protect.origin.rule) == ((FAR, NEAR), "rule 2")
    assert verdict(plan, "out", *BACK) is verdict(plan, "in", *FORTH) is Verdict.NEGOTIATE


def test_a_host_may_be_an_end_and_behind_it_at_once() -> None:
    plan = compile_policy(policy(*tunnel("me", "10.3.0.0/16", "192.0.2.1", "198.51.100.2")), facts("192.0.2.1/24"))
    assert [str(selector) for selector in plan.protect[0].selectors] == ["192.0.2.1 -> 10.3.0.0/16 any"]
    assert verdict(plan, "out", "192.0.2.1", "10.3.0.1") is Verdict.NEGOTIATE


def test_ipv6_goes_in_an_ipv6_tunnel() -> None:
    plan = compile_policy(policy(*tunnel("fd02::/64", "fd03::/64", "fd01::1", "fd01::2")), facts("fd01::1/64"))
    (protect,) = plan.protect
    assert protect.tunnel == (Address.parse("fd01::1"), Address.parse("fd01::2"))


NAMED = policy(*tunnel("10.2.0.0/16", "10.3.0.0/16", "near.example", "far.example"))


def named(**answers: str) -> HostFacts:
    return replace(GATEWAY, names={f"{name}.example": (Address.parse(text),) for name, text in answers.items()})


NO_TUNNEL = {
    "neither end is of this host": (SITE, facts("10.2.0.1/16")),
    "both are": (SITE, facts("192.0.2.1/24", "198.51.100.2/24")),
    "other families": (policy(*tunnel("10.2.0.0/16", "10.3.0.0/16", "192.0.2.1", "fd00::2")), GATEWAY),
    "no answer for the far end": (NAMED, named(near="192.0.2.1")),
    "no answer for this end": (NAMED, named(far="198.51.100.2")),
    "a lone half": (policy(SITE.policies[0].rules[0]), GATEWAY),
    "no end on such an interface": (
        policy(*tunnel("10.2.0.0/16", "10.3.0.0/16", "192.0.2.1", "198.51.100.2", conntype="dialup")),
        GATEWAY,
    ),
}


@pytest.mark.parametrize("case", NO_TUNNEL)
def test_without_a_tunnel_its_traffic_is_blocked_both_ways(case: str) -> None:
    policies, host = NO_TUNNEL[case]
    plan = compile_policy(policies, host)
    ways = (FORTH,) if case == "a lone half" else (FORTH, BACK)
    assert {verdict(plan, direction, *way) for way in ways for direction in ("in", "out")} == {Verdict.BLOCK}
    assert len(plan.protect) == len(plan.pad) == 0


def test_ends_that_contradict_me_make_no_tunnel() -> None:
    """What leaves this host cannot be what comes out of a tunnel to it."""
    plan = compile_policy(policy(*tunnel("me", "10.3.0.0/16", "198.51.100.2", "192.0.2.1")), facts("192.0.2.1/24"))
    assert verdict(plan, "out", "192.0.2.1", "10.3.0.1") is Verdict.BLOCK
    assert verdict(plan, "in", "10.3.0.1", "192.0.2.1") is Verdict.BLOCK


@pytest.mark.parametrize(("action", "wanted"), [("permit", Verdict.PERMIT), ("block", Verdict.BLOCK)])
def test_a_narrower_filter_wins_over_a_wide_tunnel(action: str, wanted: Verdict) -> None:
    plan = compile_policy(
        policy(*SITE.policies[0].rules, rule(action, one("10.2.0.7", "10.3.0.0/16"), line=3)), GATEWAY
    )
    assert verdict(plan, "out", *FORTH) is verdict(plan, "in", *BACK) is wanted
    assert verdict(plan, "out", "10.2.0.8", "10.3.0.7") is Verdict.NEGOTIATE
    actions = {"permit": SpdAction.BYPASS, "block": SpdAction.DISCARD}
    ahead = [entry for entry in plan.spd if entry.action is actions[action] and "10.2.0.7" in str(entry.selector)]
    assert {entry.direction for entry in ahead} == set(Direction)
    protects = [entry.priority for entry in plan.spd if entry.action is SpdAction.PROTECT]
    assert max(entry.priority for entry in ahead) < min(protects)


def test_a_gateways_own_esp_and_ike_pass_where_its_ends_lie_in_the_networks() -> None:
    plan = compile_policy(policy(*tunnel("192.0.2.0/24", "any", "192.0.2.1", "198.51.100.2")), GATEWAY)
    table = Interpreter(plan.nft)
    for protocol, ports in (("esp", (0, 0)), ("udp", (500, 500)), ("udp", (4500, 4500))):
        out = packet("out", "192.0.2.1", "198.51.100.2", protocol, *ports)
        back = packet("in", "198.51.100.2", "192.0.2.1", protocol, *ports)
        for chain, seen in (("postrouting", out), ("hold_output", out), ("prerouting", back)):
            assert table.run(chain, Seen(seen, plan.local, protected=False)) == "accept"


def test_names_of_ends_are_followed_and_the_rest_stays() -> None:
    smb = rule("negotiate", one("me", "10.9.0.1", "tcp", dport=445), line=3)
    policies = policy(*NAMED.policies[0].rules, smb)
    made = Compilation(policies, named(near="192.0.2.1", far="198.51.100.2"))
    before = {one.reqid: one for one in made.plan.protect}
    delta = made.refresh(named(near="192.0.2.1", far="198.51.100.3"))
    assert delta is not None
    assert {entry.reqid for entry in delta.spd_new} == {one.reqid for one in before.values() if one.tunnel}
    assert delta.negotiates
    after = {one.reqid: one for one in made.plan.protect}
    assert before.keys() == after.keys()
    changed = [after[reqid] for reqid in before if after[reqid] != before[reqid]]
    assert [one.tunnel for one in changed] == [(NEAR, Address.parse("198.51.100.3"))]


def redirected(*gateways: str) -> PolicySet:
    """The policy, whose tunnel may be redirected to these gateways."""
    (found,) = SITE.policies
    rules = tuple(replace(one, redirects=tuple(map(Address.parse, gateways))) for one in found.rules)
    return policy(*rules)


def test_a_tunnel_ends_where_its_gateway_has_sent_us_and_comes_back() -> None:
    other = Address.parse("198.51.100.3")
    policies = redirected("198.51.100.3")
    sent = replace(GATEWAY, redirects={FAR: other})
    made = Compilation(policies, GATEWAY)
    reqids = {one.reqid for one in made.plan.protect}
    assert made.refresh(sent) is not None
    (protect,), (entry,) = made.plan.protect, made.plan.pad
    assert (protect.tunnel, protect.reqid in reqids) == ((NEAR, other), True)
    assert (entry.local, entry.remote, entry.redirects) == (Prefix.host(NEAR), Prefix.host(other), (other,))
    assert made.plan.protect == compile_policy(policies, sent).protect
    assert {found.tunnel for found in made.plan.spd if found.tunnel} == {(NEAR, other), (other, NEAR)}
    assert made.refresh(GATEWAY) is not None
    assert made.plan.protect[0].tunnel == (NEAR, FAR)


@pytest.mark.parametrize("gateway", ["198.51.100.9", "192.0.2.1", "fd00::9"])
def test_a_gateway_that_the_rule_does_not_name_or_that_cannot_be_is_no_end(gateway: str) -> None:
    sent = replace(GATEWAY, redirects={FAR: Address.parse(gateway)})
    named = redirected("198.51.100.3", *(["192.0.2.1", "fd00::9"] if gateway != "198.51.100.9" else []))
    assert compile_policy(named, sent).protect[0].tunnel == (NEAR, FAR)


def test_of_many_answers_the_same_one_is_taken_whatever_their_order() -> None:
    answers = tuple(map(Address.parse, ("198.51.100.9", "fd00::9", "198.51.100.2", "192.0.2.1")))
    found = {
        compile_policy(NAMED, replace(GATEWAY, names={"near.example": (NEAR,), "far.example": order})).protect[0].tunnel
        for order in (answers[:3], answers[2::-1])
    }
    assert found == {(NEAR, FAR)}


def test_all_traffic_may_go_into_one_tunnel() -> None:
    """Between all and all both filters read alike: the ends tell which is which."""
    plan = compile_policy(policy(*tunnel("any", "any", "192.0.2.1", "198.51.100.2")), GATEWAY)
    assert verdict(plan, "out", *FORTH) is verdict(plan, "in", *BACK) is Verdict.NEGOTIATE
    assert len(plan.protect) == 2


SWAPPED = policy(*tunnel("me", "10.3.0.0/16", "198.51.100.2", "192.0.2.1"))
BACKWARDS = policy(*tunnel("10.2.0.0/16", "10.3.0.0/16", "198.51.100.2", "192.0.2.1"))
TOLD = {
    "neither end is an address of this host": (*NO_TUNNEL["neither end is of this host"], Severity.WARNING, 1),
    "both ends are addresses of this host": (*NO_TUNNEL["both are"], Severity.ERROR, 1),
    "its ends are of different IP versions": (*NO_TUNNEL["other families"], Severity.ERROR, 1),
    "a DNS name that it ends at has no answer": (*NO_TUNNEL["no answer for the far end"], Severity.WARNING, 1),
    "the rule of the way back is missing": (*NO_TUNNEL["a lone half"], Severity.ERROR, 1),
    "`me` says the contrary": (SWAPPED, facts("192.0.2.1/24"), Severity.ERROR, 1),
    "from a network that this host is part of": (BACKWARDS, GATEWAY, Severity.WARNING, 1),
}


@pytest.mark.parametrize("story", TOLD)
def test_what_is_wrong_with_the_ends_is_told_with_place_and_remedy(story: str) -> None:
    policies, host, severity, line = TOLD[story]
    found = [one for one in check(policies, host) if one.message.startswith("tunnel of rule")]
    assert story in found[0].message
    assert (found[0].severity, found[0].at.line) == (severity, line)
    assert found[0].remedy
    assert len({one.message.partition(": ")[2] for one in found}) == len(found)


@pytest.mark.parametrize(("unresolved", "blocks"), [(Unresolved.KEEP, False), (Unresolved.BLOCK, True)])
def test_what_is_told_of_a_filter_without_addresses_is_what_is_done(unresolved: Unresolved, blocks: bool) -> None:
    made = policy(*tunnel("10.2.0.0/16", "gw.example", "192.0.2.1", "gw.example")).policies[0]
    made = replace(made, unresolved=unresolved)
    policies = PolicySet((made,), made)
    (told,) = [one.message for one in check(policies, GATEWAY) if one.message.startswith("tunnel of rule")]
    assert ("what should be in it is blocked" in told, "speaks of no traffic now" in told) == (blocks, not blocks)
    wanted = Verdict.BLOCK if blocks else Verdict.PASS
    assert verdict(compile_policy(policies, GATEWAY), "out", "10.2.0.1", "203.0.113.9") is wanted


def test_nothing_is_said_of_a_good_tunnel() -> None:
    assert check(SITE, GATEWAY) == ()


def test_tunnels_that_overlap_and_weigh_the_same_are_a_conflict() -> None:
    """The first in the file wins, in both directions. A range weighs as its width."""
    first = tunnel("10.2.0.0/16", "10.3.0.0/31,10.3.0.2", "192.0.2.1", "198.51.100.2")
    other = tunnel("10.2.0.0/16", "10.3.0.1,10.3.0.2/31", "192.0.2.1", "198.51.100.3", line=3)
    overlapping = policy(*first, *other)
    assert [(one.at.line, "as specific, comes first" in one.message) for one in check(overlapping, GATEWAY)] == [
        (3, True),
        (4, True),
    ]
    plan = compile_policy(overlapping, GATEWAY)
    for dst, far in (("10.3.0.2", "198.51.100.2"), ("10.3.0.3", "198.51.100.3")):
        for direction, ends in (("out", ("10.2.0.7", dst)), ("in", (dst, "10.2.0.7"))):
            won = explain(plan, packet(direction, *ends)).winner
            assert won is not None
            assert won.tunnel is not None
            assert Address.parse(far) in won.tunnel


def test_of_overlapping_tunnels_the_narrower_one_wins() -> None:
    narrow = tunnel("10.2.0.0/16", "10.3.7.0/24", "192.0.2.1", "198.51.100.3", line=3)
    plan = compile_policy(policy(*SITE.policies[0].rules, *narrow), GATEWAY)
    for dst, far in (("10.3.7.1", "198.51.100.3"), ("10.3.8.1", "198.51.100.2")):
        won = explain(plan, packet("out", "10.2.0.7", dst)).winner
        assert won is not None
        assert won.tunnel == (NEAR, Address.parse(far))
