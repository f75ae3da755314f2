# SPDX-License-Identifier: GPL-2.0-or-later
"""What two policies' difference means for traffic: kinds, words, bounds. tests/properties asks the oracle about it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit import pki
from tests.unit.compiler_cases import ESP_AES, HOST, facts, one, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.boxes import ALL_PROTOCOLS
from xfrmd.compiler.regions import Region, region_text, regions
from xfrmd.compiler.traffic import Kind, Traffic, traffic
from xfrmd.compiler.traffic_json import traffic_json
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.pad import CRL_ALWAYS, CRL_IF_KNOWN, Ppk, PskAuth
from xfrmd.model.plan import Plan
from xfrmd.model.secret import Secret
from xfrmd.model.source import Span
from xfrmd.policy.words import Config, DefaultResponse, PolicySet, Rule

PEER = facts("10.1.0.5/32")
ALL_PORTS = ((0, 65535),)
ALL_V4 = ((0, (1 << 32) - 1),)
FILTER = one("me", "10.2.0.0/16", "tcp", dport=445)
PERMIT, BLOCK, PROTECT, INPASS, NOTHING = (
    rule("permit", FILTER),
    rule("block", FILTER),
    rule("negotiate", FILTER),
    rule("negotiate", FILTER, inpass=True),
    None,
)
FALLS_BACK = replace(PROTECT, filter_action=replace(PROTECT.filter_action, soft=True))


def compared(old: Rule | None, new: Rule | None, host: HostFacts = PEER) -> Traffic:
    before, after = (compile_policy(policy(*([each] if each else [])), host) for each in (old, new))
    return traffic(before, after)


def told(found: Traffic) -> dict[str, set[str]]:
    """Kinds by direction and traffic."""
    return {
        f"{'in' if each.inbound else 'out'} {region_text(each.family, each.region)}": {k.value for k in each.kinds}
        for each in found.changes
    }


@pytest.mark.parametrize(
    ("old", "new", "out", "inbound"),
    [
        (PERMIT, NOTHING, "", ""),
        (PERMIT, BLOCK, "lost", "lost"),
        (BLOCK, NOTHING, "new-clear gained", "new-clear gained"),
        (PROTECT, PERMIT, "new-clear unprotected", "new-clear unprotected"),
        (PROTECT, BLOCK, "lost", "lost"),
        (BLOCK, PROTECT, "gained", "gained"),
        (NOTHING, PROTECT, "new-protected", "new-protected"),
        (PROTECT, INPASS, "", "new-clear changed"),
        (INPASS, PROTECT, "", "changed"),
        (INPASS, PERMIT, "new-clear unprotected", "unprotected"),
        (BLOCK, INPASS, "gained", "new-clear gained"),
        (PROTECT, FALLS_BACK, "new-clear changed", "new-clear changed"),
        (FALLS_BACK, PERMIT, "unprotected", "unprotected"),
    ],
)
def test_what_a_change_of_action_is(old: Rule | None, new: Rule | None, out: str, inbound: str) -> None:
    wanted = {
        "out 10.1.0.5 -> 10.2.0.0/16:445 tcp": set(out.split()),
        "in 10.2.0.0/16:445 -> 10.1.0.5 tcp": set(inbound.split()),
    }
    found = compared(old, new)
    assert told(found) == {text: kinds for text, kinds in wanted.items() if kinds}
    assert found.equal == (not (out or inbound))


def test_a_subnet_that_becomes_two_halves_is_no_change() -> None:
    halves = rule("block", one("me", "10.2.0.0/17"), one("me", "10.2.128.0/17"), line=8)
    assert compared(rule("block", one("me", "10.2.0.0/16")), halves).equal


def test_what_a_narrower_filter_keeps_is_cut_out() -> None:
    kept = rule("permit", one("me", "10.2.0.0/16", "tcp", dport="80,443"), line=7)
    old, new = policy(kept), policy(kept, rule("block", one("me", "10.2.0.0/16", mirrored=False)))
    found = traffic(compile_policy(old, PEER), compile_policy(new, PEER))
    assert told(found) == {
        "out 10.1.0.5 -> 10.2.0.0/16 any but tcp": {"lost"},
        "out 10.1.0.5 -> 10.2.0.0/16:{any but 80,443} tcp": {"lost"},
    }


def test_multicast_and_broadcast_of_a_negotiate_filter_are_lost_and_not_protected() -> None:
    found = told(compared(None, rule("negotiate", one("me", "any", mirrored=False)), host=facts("10.1.0.5/16")))
    assert found == {
        "out 10.1.0.5 -> {10.1.255.255, 224.0.0.0/4, 255.255.255.255} any": {"lost"},
        "out 10.1.0.5 -> {any but 10.1.255.255, 224.0.0.0/4, 255.255.255.255} any": {"new-protected"},
    }


def test_an_exemption_that_only_one_policy_has_is_traffic() -> None:
    block = policy(rule("block", one("me", "any", "tcp")))
    level = replace(block, config=Config(ipsecexempt=0))
    found = traffic(compile_policy(level, PEER), compile_policy(block, PEER))
    assert told(found)["in any:88 -> 10.1.0.5 tcp"] == {"lost"}
    assert told(found)["out 10.1.0.5:{any but 88} -> 224.0.0.0/4:{any but 88} tcp"] == {"lost"}
    assert {each.old.exemption for each in found.changes} == {"exempt-kerberos", "exempt-multicast", "exempt-broadcast"}


def test_who_decided_and_who_decides_is_told_with_places() -> None:
    answer = json.loads(json.dumps(traffic_json(compared(PROTECT, rule("block", FILTER, line=9)))))
    first = answer["changes"][0]
    assert (first["old"]["rule"], first["old"]["at"]) == ("rule 1", "policy.yaml:1:9")
    assert (first["new"]["rule"], first["new"]["verdict"]) == ("rule 9", "block")
    assert first["selector"]["dst"] == [["10.2.0.0", "10.2.255.255"]]
    assert (first["selector"]["protocols"], first["selector"]["dports"]) == ([6], [[445, 445]])
    assert answer["kinds"] == {"lost": 2}


def test_other_settings_of_the_main_mode_are_told_by_peer_and_secrets_are_not_compared() -> None:
    old = policy(PROTECT)
    assert compared(PROTECT, rule("negotiate", FILTER, psk=b"another secret")).equal
    found = traffic(compile_policy(old, PEER), compile_policy(policy(PROTECT, qmpermm=3), PEER))
    assert (found.equal, found.changes) == (False, ())
    assert [*map(str, found.peers[0])] == ["10.1.0.5", "10.2.0.0/16"]


def test_authorities_are_compared_and_our_own_certificates_are_not() -> None:
    def by(authority: pki.Holder, host: str = "a", check: int = CRL_IF_KNOWN) -> Rule:
        return replace(PROTECT, auth=(pki.method(authority, [pki.issue(host, by=authority)], check=check),))

    ca, other = pki.root(), pki.root("Other")
    assert compared(by(ca), by(ca, "renewed")).equal
    for changed in (by(other), by(ca, check=CRL_ALWAYS), PROTECT, replace(by(ca), ppk=Ppk(b"x", Secret(b"x")))):
        assert [*map(str, compared(by(ca), changed).peers[0])] == ["10.1.0.5", "10.2.0.0/16"]


def answering(*secrets: bytes, pfs: bool = False, qmpermm: int = 0) -> Plan:
    """A policy that negotiates with everybody, and answers whom it does not name."""
    methods = tuple(PskAuth(Secret(secret)) for secret in secrets)
    response = DefaultResponse(methods, (ESP_AES,), Span("policy.yaml", 9, 9), pfs)
    everybody = rule("negotiate", one("any", "any", "tcp"))
    assigned = policy(everybody, qmpermm=qmpermm).policies[0]
    assigned = replace(assigned, default_response=response)
    return compile_policy(PolicySet((assigned,), assigned), PEER)


@pytest.mark.parametrize(
    ("new", "differs"),
    [
        (answering(b"another"), False),
        (answering(b"one", b"and one more"), True),
        (answering(b"one", pfs=True), True),
        (answering(b"one", qmpermm=3), True),
        (compile_policy(policy(rule("negotiate", one("any", "any", "tcp"))), PEER), True),
    ],
    ids=["secret", "methods", "pfs", "main mode", "none"],
)
def test_default_response_rules_are_compared_even_beside_a_rule_for_everybody(new: Plan, differs: bool) -> None:
    found = traffic(answering(b"one"), new)
    assert (found.default_response, found.equal) == (differs, not differs)
    assert not found.changes


def test_bounds_are_told() -> None:
    rules = policy(rule("block", *(one("me", f"10.2.{index}.0/24") for index in range(0, 40, 2))))
    plans = compile_policy(policy(), PEER), compile_policy(rules, PEER)
    whole = traffic(*plans)
    assert (len(whole.changes), whole.more, whole.complete) == (2, 0, True)
    assert (len((few := traffic(*plans, listed=1)).changes), few.more) == (1, 1)
    cut_short = traffic(*plans, work=30)
    assert not cut_short.complete
    assert not cut_short.equal


def test_the_order_is_that_of_gravity_and_does_not_change() -> None:
    old = policy(rule("negotiate", one("me", "10.2.0.0/16", line=2)), rule("block", one("me", "10.3.0.0/16", line=4)))
    new = policy(rule("permit", one("me", "10.2.0.0/16", line=2)), rule("block", one("me", "10.4.0.0/16", line=4)))
    found = traffic(compile_policy(old, HOST), compile_policy(new, HOST))
    kinds = [each.kinds for each in found.changes]
    assert kinds == sorted(kinds, key=lambda some: [[*Kind].index(kind) for kind in some])
    assert found == traffic(compile_policy(old, HOST), compile_policy(new, HOST))


def test_regions_are_written_as_policies_write_them() -> None:
    ten, twenty = (Address.parse(text).value for text in ("10.0.0.0", "10.0.0.20"))
    top = (1 << 128) - 1
    cases = {
        "any -> any any": (4, Region(ALL_V4, ALL_V4, ALL_PORTS, ALL_PORTS, ALL_PROTOCOLS)),
        "10.0.0.0-10.0.0.20 -> 10.0.0.0/31:1-9,80 tcp or udp": (
            4,
            Region(((ten, twenty),), ((ten, ten + 1),), ALL_PORTS, ((1, 9), (80, 80)), 1 << 6 | 1 << 17),
        ),
        "any -> [::1]:443 any but tcp": (
            6,
            Region(((0, top),), ((1, 1),), ALL_PORTS, ((443, 443),), ALL_PROTOCOLS & ~(1 << 6)),
        ),
        "any -> {::1, ::3} icmpv6 type 128 code 0": (
            6,
            Region(((0, top),), ((1, 1), (3, 3)), ((128, 128),), ((0, 0),), 1 << 58),
        ),
    }
    assert {region_text(family, region): text for text, (family, region) in cases.items()} == {
        text: text for text in cases
    }
    assert regions([box for _, region in cases.values() if region.protocols == 1 << 58 for box in region.boxes()]) == (
        cases["any -> {::1, ::3} icmpv6 type 128 code 0"][1],
    )
