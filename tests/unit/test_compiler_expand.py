# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from tests.unit.compiler_cases import HOST, facts, one, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.model.facts import HostFacts
from xfrmd.policy.words import Filter


def expanded(*filters: Filter, host: HostFacts = HOST, conntype: str = "all", active: bool = True) -> set[str]:
    plan = compile_policy(policy(rule("permit", *filters, conntype=conntype, active=active)), host)
    return {f"{'in' if f.inbound else 'out'} {f.selector}" for f in plan.filters}


def test_me_is_each_own_address_and_fixes_the_direction() -> None:
    assert expanded(one("me", "any", "tcp", dport=80)) == {
        "out 10.1.0.5 -> any:80 tcp",
        "in any:80 -> 10.1.0.5 tcp",
        "out fd00:1::5 -> [any]:80 tcp",
        "in [any]:80 -> fd00:1::5 tcp",
    }


def test_me_as_destination_is_inbound() -> None:
    assert expanded(one("10.2.0.0/16", "me", mirrored=False)) == {"in 10.2.0.0/16 -> 10.1.0.5 any"}


def test_a_literal_own_address_stays_as_written_in_both_directions() -> None:
    both = {f"{way} {ends}" for way in ("in", "out") for ends in ("10.1.0.5 -> any any", "any -> 10.1.0.5 any")}
    assert expanded(one("10.1.0.5", "any")) == both
    assert expanded(one("10.1.0.5", "any", mirrored=False)) == {"in 10.1.0.5 -> any any", "out 10.1.0.5 -> any any"}


def test_any_is_of_both_families_unless_the_other_side_says() -> None:
    filters = compile_policy(policy(rule("permit", one("any", "any"))), HOST).filters
    assert sorted((f.selector.family, f.inbound) for f in filters) == [(4, False), (4, True), (6, False), (6, True)]
    assert all("10.2.0.1" in text for text in expanded(one("any", "10.2.0.1")))


def test_me_to_me_means_nothing() -> None:
    assert expanded(one("me", "me")) == set()


def test_an_inactive_rule_means_nothing() -> None:
    assert expanded(one("me", "any"), active=False) == set()


@pytest.mark.parametrize(("conntype", "mine"), [("lan", "10.1.0.5"), ("dialup", "192.0.2.1")])
def test_the_connection_type_chooses_among_own_addresses(conntype: str, mine: str) -> None:
    host = facts("10.1.0.5/16", dialup=("192.0.2.1/32",))
    assert expanded(one("me", "any"), host=host, conntype=conntype) == {
        f"out {mine} -> any any",
        f"in any -> {mine} any",
    }
    assert len(expanded(one("me", "any"), host=host)) == 4


def test_server_words_are_filled_in_from_facts() -> None:
    host = facts("10.1.0.5/16", dns=("10.1.0.53", "10.1.0.54"))
    assert expanded(one("me", "dns-servers", "udp", dport=53, mirrored=False), host=host) == {
        "out 10.1.0.5 -> 10.1.0.53:53 udp",
        "out 10.1.0.5 -> 10.1.0.54:53 udp",
    }
    assert expanded(one("me", "dns-servers"), host=HOST) == set()


def test_icmp_is_icmpv6_in_ipv6_unless_it_names_a_type() -> None:
    assert expanded(one("me", "any", "icmp", mirrored=False)) == {
        "out 10.1.0.5 -> any icmp",
        "out fd00:1::5 -> any icmpv6",
    }
    assert expanded(one("me", "any", "icmp", 8, mirrored=False)) == {"out 10.1.0.5 -> any icmp type 8"}
    assert expanded(one("me", "any", "icmpv6", 128, mirrored=False)) == {"out fd00:1::5 -> any icmpv6 type 128"}


def test_a_mirrored_icmp_type_stays_a_type() -> None:
    assert "in any -> 10.1.0.5 icmp type 8" in expanded(one("me", "any", "icmp", 8))


def test_ports_are_swapped_by_a_mirror() -> None:
    found = expanded(one("me", "10.2.0.1", "tcp", "1000-1999", "80,443"))
    assert found == {
        f"{text}" for port in (80, 443) for text in (
            f"out 10.1.0.5:1000-1999 -> 10.2.0.1:{port} tcp", f"in 10.2.0.1:{port} -> 10.1.0.5:1000-1999 tcp",
        )
    }  # fmt: skip


def test_an_address_range_is_its_prefixes() -> None:
    assert expanded(one("10.2.0.1,10.2.0.2/31", "me", mirrored=False)) == {
        "in 10.2.0.1 -> 10.1.0.5 any",
        "in 10.2.0.2/31 -> 10.1.0.5 any",
    }


def test_filters_that_repeat_each_other_count_once() -> None:
    assert len(expanded(one("me", "any", line=1), one("any", "me", line=2))) == 4
