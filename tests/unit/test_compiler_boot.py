# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter by its interpreter: what passes in each mode, and what a policy means for a host not known yet."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.unit.compiler_cases import HOST, facts, one, packet, policy, rule, tunnel
from xfrmd.compiler.boot import block_file, boot_file, boot_mode, table
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import Packet
from xfrmd.policy.words import BootExemption, BootMode, Config, PolicySet, Unresolved

NONE = PolicySet((), None)
SSH = BootExemption(6, inbound=True, dport=22)
DNS = BootExemption(17, inbound=False, dport=53)
PING = BootExemption(1, inbound=True)


def passes(
    policies: PolicySet, mode: BootMode, seen: Packet, *, answers: bool = False, known: HostFacts = HOST
) -> bool:
    made = table(policies, known, mode)
    if made is None:
        return True
    chain = "prerouting" if seen.inbound else "postrouting"
    return Interpreter(made).run(chain, Seen(seen, frozenset(), protected=False, answers=answers)) == "accept"


def stateful(policies: PolicySet, seen: Packet, *, answers: bool = False, known: HostFacts = HOST) -> bool:
    return passes(policies, BootMode.STATEFUL, seen, answers=answers, known=known)


OUT = packet("out", "10.1.0.5", "10.2.0.9", dport=443)
IN = packet("in", "10.2.0.9", "10.1.0.5", sport=443, dport=40000)


def test_permit_makes_no_table_and_removes_one() -> None:
    assert table(NONE, HOST, BootMode.PERMIT) is None
    lines = boot_file(NONE, HOST, BootMode.PERMIT).splitlines()
    assert lines[-2:] == ["add table inet xfrmd_boot", "delete table inet xfrmd_boot"]


def test_block_lets_nothing_pass_and_stateful_what_the_host_begins_with_its_answers() -> None:
    assert not any(passes(NONE, BootMode.BLOCK, one, answers=answers) for one in (OUT, IN) for answers in (True, False))
    assert stateful(NONE, OUT)
    assert stateful(NONE, IN, answers=True)
    assert not stateful(NONE, IN)


@pytest.mark.parametrize("mode", [BootMode.BLOCK, BootMode.STATEFUL])
@pytest.mark.parametrize(
    "seen",
    [
        packet("out", "0.0.0.0", "255.255.255.255", "udp", 68, 67),
        packet("in", "10.1.0.1", "10.1.0.5", "udp", 67, 68),
        packet("out", "fe80::5", "ff02::1:2", "udp", 546, 547),
        packet("in", "fe80::1", "fe80::5", "udp", 547, 546),
        packet("out", "fe80::5", "ff02::1:ff00:1", "icmpv6", 135, 0),
        packet("in", "fe80::1", "fe80::5", "icmpv6", 136, 0),
        packet("in", "fe80::1", "ff02::1", "icmpv6", 134, 0),
        packet("out", "::", "ff02::16", "icmpv6", 143, 0),
    ],
    ids=str,
)
def test_dhcp_and_neighbour_discovery_always_pass(mode: BootMode, seen: Packet) -> None:
    everything = policy(rule("block", one("any", "any")))
    assert passes(everything, mode, seen)


EXEMPT = [
    (SSH, packet("in", "10.2.0.9", "10.1.0.5", dport=22), packet("out", "10.1.0.5", "10.2.0.9", sport=22)),
    (DNS, packet("out", "10.1.0.5", "10.2.0.9", "udp", 5, 53), packet("in", "10.2.0.9", "10.1.0.5", "udp", 53, 5)),
    (PING, packet("in", "10.2.0.9", "10.1.0.5", "icmp", 8, 0), packet("out", "10.1.0.5", "10.2.0.9", "icmp", 0, 0)),
    (PING, packet("in", "fd00::9", "fd00::5", "icmpv6", 128, 0), packet("out", "fd00::5", "fd00::9", "icmpv6", 129, 0)),
]


@pytest.mark.parametrize("mode", [BootMode.BLOCK, BootMode.STATEFUL])
@pytest.mark.parametrize(("exemption", "first", "answer"), EXEMPT)
def test_an_exemption_passes_with_its_answers_also_against_the_policy(
    mode: BootMode, exemption: BootExemption, first: Packet, answer: Packet
) -> None:
    blocking = policy(rule("block", one("any", "any")))
    exempting = replace(blocking, config=Config(bootexemptions=(exemption,)))
    assert passes(exempting, mode, first)
    assert passes(exempting, mode, answer, answers=True)
    assert not passes(exempting, mode, answer), "it answers nothing"
    assert not passes(blocking, mode, first)
    assert not passes(blocking, mode, answer, answers=True)


def test_an_exemption_is_no_wider_than_it_is_written() -> None:
    both = BootExemption(6, inbound=True, sport=1000, dport=22)
    exempting = PolicySet((), None, config=Config(bootexemptions=(both,)))
    assert passes(exempting, BootMode.BLOCK, packet("in", "10.2.0.9", "10.1.0.5", sport=1000, dport=22))
    for near in (
        packet("in", "10.2.0.9", "10.1.0.5", sport=1001, dport=22),
        packet("in", "10.2.0.9", "10.1.0.5", sport=1000, dport=23),
        packet("in", "10.2.0.9", "10.1.0.5", "udp", sport=1000, dport=22),
        packet("out", "10.1.0.5", "10.2.0.9", sport=1000, dport=22),
    ):
        assert not passes(exempting, BootMode.BLOCK, near, answers=near.inbound)


def test_what_the_policy_blocks_or_protects_does_not_pass_either() -> None:
    for action in ("block", "negotiate"):
        policies = policy(rule(action, one("me", "10.2.0.0/16", "tcp", dport=443)))
        assert not stateful(policies, OUT)
        assert not stateful(policies, IN, answers=True)
        assert stateful(policies, packet("out", "10.1.0.5", "10.2.0.9", dport=80))


def test_a_narrower_permit_is_honoured_but_makes_nobody_begin() -> None:
    permit = rule("permit", one("me", "10.2.0.9", "tcp", dport=443), line=2)
    policies = policy(rule("block", one("me", "10.2.0.0/16")), permit)
    assert stateful(policies, OUT)
    assert stateful(policies, IN, answers=True)
    assert not stateful(policies, IN)
    assert not stateful(policies, packet("out", "10.1.0.5", "10.2.0.8", dport=443))


def test_inpass_lets_answers_in() -> None:
    policies = policy(rule("negotiate", one("me", "10.2.0.0/16"), inpass=True))
    assert stateful(policies, IN, answers=True)
    assert not stateful(policies, OUT)


def test_me_is_whatever_address_the_host_has_at_that_start() -> None:
    policies = policy(rule("block", one("me", "10.2.0.0/16")), rule("permit", one("me", "10.2.0.9"), line=2))
    for own in ("10.1.0.5", "192.168.7.7"):
        assert not stateful(policies, packet("out", own, "10.2.0.8"))
        assert stateful(policies, packet("out", own, "10.2.0.9"))
    narrow = policy(rule("block", one("10.1.0.5", "10.2.0.0/16")))
    assert not stateful(narrow, OUT)
    assert stateful(narrow, packet("out", "10.1.0.6", "10.2.0.8"))


def test_the_file_does_not_depend_on_the_addresses_of_the_host() -> None:
    policies = policy(rule("block", one("me", "10.2.0.0/16")), rule("negotiate", one("me", "dns-servers"), line=2))
    here, there = HOST, facts("192.168.7.7/24", dns=("192.168.7.1",))
    assert boot_file(policies, here, BootMode.STATEFUL) == boot_file(policies, there, BootMode.STATEFUL)


def test_an_unknown_server_may_have_any_address_when_it_is_protected_and_none_when_it_is_permitted() -> None:
    asks = packet("out", "10.1.0.5", "10.9.9.9", "udp", 4000, 53)
    assert not stateful(policy(rule("negotiate", one("me", "dns-servers", "udp", dport=53))), asks)
    both = policy(rule("block", one("me", "any")), rule("permit", one("me", "dns-servers", "udp", dport=53), line=2))
    assert not stateful(both, asks, known=replace(HOST, dns_servers=(Address.parse("10.9.9.9"),)))


def test_a_permit_for_some_interfaces_is_none_while_interfaces_are_not_known() -> None:
    block = rule("block", one("me", "10.2.0.0/16"))
    assert not stateful(policy(block, rule("permit", one("me", "10.2.0.9"), line=2, conntype="lan")), OUT)
    assert not stateful(policy(rule("block", one("me", "10.2.0.0/16"), conntype="dialup")), OUT)


def test_inpass_of_a_filter_that_may_mean_others_lets_nobody_in() -> None:
    block = rule("block", one("any", "me", "udp"))
    inpass = rule("negotiate", one("dns-servers", "me", "udp"), line=2, inpass=True)
    answer = packet("in", "10.1.0.53", "10.1.0.5", "udp", 53, 4000)
    assert not stateful(policy(block, inpass), answer, answers=True)
    on_lan = rule("negotiate", one("10.1.0.53", "me", "udp"), line=2, inpass=True, conntype="lan")
    assert not stateful(policy(block, on_lan), answer, answers=True)
    named = rule("negotiate", one("10.1.0.53", "me", "udp"), line=2, inpass=True)
    assert stateful(policy(block, named), answer, answers=True)


def test_a_name_stands_for_the_addresses_that_it_had_or_blocks_where_the_policy_says_so() -> None:
    named = policy(rule("negotiate", one("me", "files.example.com")))
    known = replace(HOST, names={"files.example.com": (Address.parse("10.2.0.9"),)})
    assert not stateful(named, OUT, known=known)
    assert stateful(named, packet("out", "10.1.0.5", "10.2.0.8"), known=known)
    assert stateful(named, OUT)
    (made,) = named.policies
    strict = replace(made, unresolved=Unresolved.BLOCK)
    assert not stateful(PolicySet((strict,), strict), packet("out", "10.1.0.5", "10.2.0.8"), known=known)


def test_a_tunnel_blocks_whatever_its_end() -> None:
    policies = policy(*tunnel("10.1.0.0/16", "10.2.0.0/16", "10.1.0.5", "192.0.2.1"))
    for known in (HOST, facts("172.16.0.1/16")):
        assert not stateful(policies, OUT, known=known)
        assert not stateful(policies, IN, answers=True, known=known)


def test_what_is_forwarded_is_dropped() -> None:
    for mode in (BootMode.BLOCK, BootMode.STATEFUL):
        made = table(NONE, HOST, mode)
        assert made is not None
        assert Interpreter(made).run("forward", Seen(OUT, frozenset(), protected=False)) == "drop"


def test_the_first_line_has_the_checksum_of_the_rest() -> None:
    head, _, rest = block_file(Config()).partition("\n")
    assert head == f"# xfrmd-boot 1 block {hashlib.sha256(rest.encode()).hexdigest()}"


def test_the_mode_depends_on_the_history_until_it_is_written() -> None:
    assert boot_mode(Config(), ever_assigned=True) is BootMode.STATEFUL
    assert boot_mode(Config(), ever_assigned=False) is BootMode.PERMIT
    for mode in BootMode:
        for ever in (True, False):
            assert boot_mode(Config(bootmode=mode), ever_assigned=ever) is mode
