# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from tests.unit.compiler_cases import HOST, facts, one, packet, policy, rule
from xfrmd import limits
from xfrmd.compiler import Compilation, compile_policy, mirroring
from xfrmd.compiler.interpreter import first_entry
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Packet
from xfrmd.model.spd import Direction, SpdAction, SpdEntry
from xfrmd.policy.words import PolicySet

V4 = facts("10.1.0.5/16")


def lines(plan: Plan, direction: Direction) -> list[str]:
    return [f"{entry.action.value} {entry.selector}" for entry in plan.spd if entry.direction is direction]


def entry_for(plan: Plan, asked: Packet) -> SpdEntry | None:
    return first_entry(plan.spd, Direction.IN if asked.inbound else Direction.OUT, asked)


def test_without_negotiation_there_are_no_entries() -> None:
    rules = rule("block", one("any", "any")), rule("permit", one("me", "any", "tcp", dport=80), line=2)
    assert compile_policy(policy(*rules, mirrors=False), HOST).spd == ()


def test_blocks_are_mirrored_with_what_is_permitted_ahead_of_them() -> None:
    rules = (
        rule("block", one("me", "10.0.0.0/8")),
        rule("permit", one("me", "10.1.1.1", "tcp", dport=80), one("me", "192.0.2.1"), line=2),
    )
    plan = compile_policy(policy(*rules), V4)
    assert lines(plan, Direction.OUT) == [
        "bypass any:68 -> any:67 udp",
        "bypass 10.1.0.5 -> 10.1.1.1:80 tcp",
        "discard 10.1.0.5 -> 10.0.0.0/8 any",
    ]
    assert lines(plan, Direction.FWD) == lines(plan, Direction.IN)[-2:], "exemptions apart"


def test_blocks_are_not_mirrored_where_each_packet_would_pay_for_it() -> None:
    for count, mirrored in ((30, True), (100, False)):
        ports = [one("any", "me", "tcp", dport=2 * port + 1) for port in range(count)]
        assert bool(compile_policy(policy(rule("block", *ports)), V4).spd) == mirrored
    hosts = [one("me", f"10.2.{n >> 8}.{n & 255}") for n in range(mirroring.FILTERS // 2 + 1)]
    assert compile_policy(policy(rule("block", *hosts[:-1])), V4).spd
    assert not compile_policy(policy(rule("block", *hosts)), V4).spd


def test_a_block_that_a_change_brings_is_mirrored() -> None:
    made = Compilation(policy(rule("permit", one("me", "any")), rule("block", one("me", "dns-servers"), line=2)), HOST)
    assert made.plan.spd == ()
    with_dns = facts("10.1.0.5/16", "fd00:1::5/64", dns=("192.0.2.53",))
    made.refresh(with_dns)
    assert tuple(made.plan.spd) == tuple(compile_policy(PolicySet(made.policies, made.policies[0]), with_dns).spd)
    assert any("discard" in line for line in lines(made.plan, Direction.OUT))


def test_a_narrow_negotiate_filter_needs_nothing_beside_it() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "10.2.0.1", "tcp", dport=445))), V4)
    assert lines(plan, Direction.OUT) == ["protect 10.1.0.5 -> 10.2.0.1:445 tcp"]
    assert lines(plan, Direction.IN) == ["protect 10.2.0.1:445 -> 10.1.0.5 tcp"]
    assert lines(plan, Direction.FWD) == lines(plan, Direction.IN)


def test_only_what_overlaps_a_wider_negotiate_filter_becomes_an_entry() -> None:
    plan = compile_policy(
        policy(
            rule("negotiate", one("me", "10.2.0.0/16", "tcp")),
            rule("block", one("me", "10.2.3.0/24", "tcp", dport=23), one("me", "10.9.0.0/16"), line=2),
            rule("permit", one("me", "10.2.4.0/24"), one("me", "10.8.0.0/16"), line=3),
            mirrors=False,
        ),
        V4,
    )
    assert lines(plan, Direction.OUT) == [
        "discard 10.1.0.5 -> 10.2.3.0/24:23 tcp",
        "bypass 10.1.0.5 -> 10.2.4.0/24 any",
        "protect 10.1.0.5 -> 10.2.0.0/16 tcp",
    ]


def test_a_wider_block_below_negotiate_is_no_entry() -> None:
    plan = compile_policy(
        policy(
            rule("block", one("any", "any")), rule("negotiate", one("me", "10.2.0.1", "tcp"), line=2), mirrors=False
        ),
        V4,
    )
    assert lines(plan, Direction.OUT) == ["protect 10.1.0.5 -> 10.2.0.1 tcp"]


def test_a_permit_above_a_block_that_became_an_entry_becomes_one_too() -> None:
    """The block's entry would catch it, though it meets no negotiate filter itself."""
    plan = compile_policy(
        policy(
            rule("negotiate", one("any", "any", "tcp", dport=443)),
            rule("block", one("me", "10.2.0.0/16"), line=2),
            rule("permit", one("me", "10.2.3.4", "udp", dport=53), line=3),
        ),
        V4,
    )
    found = entry_for(plan, packet("out", "10.1.0.5", "10.2.3.4", "udp", 40000, 53))
    assert found is not None
    assert found.action is SpdAction.BYPASS


def test_multicast_and_broadcast_are_discarded_just_ahead_of_negotiate() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "any", "udp", dport=5000))), V4)
    out = [entry for entry in plan.spd if entry.direction is Direction.OUT]
    groups = {str(entry.selector.dst) for entry in out if entry.action is SpdAction.DISCARD}
    assert groups == {"224.0.0.0/4", "255.255.255.255", "10.1.255.255"}
    protect = next(entry for entry in out if entry.action is SpdAction.PROTECT)
    assert all(entry.priority == protect.priority - 1 for entry in out if entry.action is SpdAction.DISCARD)


def test_a_permit_of_one_group_is_asked_before_the_discard() -> None:
    plan = compile_policy(
        policy(
            rule("negotiate", one("me", "any")), rule("permit", one("me", "224.0.0.251", "udp", dport=5353), line=2)
        ),
        V4,
    )
    found = entry_for(plan, packet("out", "10.1.0.5", "224.0.0.251", "udp", 5353, 5353))
    assert found is not None
    assert found.action is SpdAction.BYPASS


def test_exemptions_are_entries_where_negotiate_would_catch_them() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "any"))), HOST)
    for asked in (
        packet("out", "10.1.0.5", "10.1.0.1", "udp", 68, 67),
        packet("in", "10.1.0.1", "10.1.0.5", "udp", 67, 68),
        packet("out", "fd00:1::5", "fd00:1::9", "icmpv6", 135, 0),
        packet("in", "fe80::9", "ff02::1", "icmpv6", 136, 0),
        packet("out", "fe80::5", "ff02::1:2", "udp", 546, 547),
        packet("out", "fd00:1::5", "fd00:1::5", "tcp"),  # IPv6 loopback does come to XFRM
        packet("in", "::1", "::1", "tcp"),
    ):
        found = entry_for(plan, asked)
        assert found is not None
        assert (found.action, found.priority) == (SpdAction.BYPASS, limits.PRIORITY_FIRST), asked
    echo = entry_for(plan, packet("out", "fd00:1::5", "fd00:1::9", "icmpv6", 128, 0))
    assert echo is not None
    assert echo.action is SpdAction.PROTECT


def test_inpass_is_optional_inbound_only() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "10.2.0.1", "tcp"), inpass=True)), V4)
    assert {(entry.direction, entry.optional) for entry in plan.spd} == {
        (Direction.OUT, False),
        (Direction.IN, True),
        (Direction.FWD, True),
    }


def test_a_port_range_is_several_entries_of_one_priority() -> None:
    plan = compile_policy(
        policy(
            rule(
                "negotiate",
                one("me", "10.2.0.1", "tcp", dport="1000-1007"),
            )
        ),
        V4,
    )
    assert len([entry for entry in plan.spd if entry.direction is Direction.OUT]) == 1
    plan = compile_policy(policy(rule("negotiate", one("me", "10.2.0.1", "tcp", dport="1000-1010"))), V4)
    out = [entry for entry in plan.spd if entry.direction is Direction.OUT]
    assert [str(entry.selector.dport) for entry in out] == ["1000-1007", "1008-1009", "1010"]
    assert len({(entry.priority, entry.reqid) for entry in out}) == 1


def test_an_icmp_type_is_the_source_port_of_a_selector() -> None:
    plan = compile_policy(policy(rule("negotiate", one("me", "10.2.0.1", "icmp", 8))), V4)
    assert plan.spd[0].selector.sport == (8, 8)
    assert all(entry.selector.sport == (8, 8) for entry in plan.spd)


def test_the_heavier_of_two_filters_with_one_block_keeps_it() -> None:
    plan = compile_policy(
        policy(
            rule("negotiate", one("me", "10.2.0.1", "tcp", dport="79-80")),
            rule("block", one("me", "10.2.0.1", "tcp", dport=80), line=2),
        ),
        V4,
    )
    assert lines(plan, Direction.OUT) == [
        "discard 10.1.0.5 -> 10.2.0.1:80 tcp",
        "protect 10.1.0.5 -> 10.2.0.1:79 tcp",
    ]
