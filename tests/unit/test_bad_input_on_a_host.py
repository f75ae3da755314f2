# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host makes of a policy that is good by itself: words without addresses, multicast, tunnels that cross."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import GOOD, SECOND_TUNNEL, TUNNEL, read, with_filter
from xfrmd.compiler.check import check
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.facts import load_facts

FACTS = """\
interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/16, "fd00:1::5/64"]}]
names: {known.example: [10.2.0.1]}
"""


def told(text: str, facts: str = FACTS) -> list[Problem]:
    """What is said of a good policy on a host."""
    policies = read(text)
    return [*policies.warnings, *check(policies, load_facts(facts, "facts.yaml"))]


ON_A_HOST = [
    ("dstaddr: nowhere.example", "keep", "nowhere.example has no address", "check the host's addresses and names"),
    ("dstaddr: nowhere.example", "block", "has no address now, so the filter blocks any address", "unresolved: keep"),
    ("dstaddr: 224.0.0.0/4", "keep", "multicast and broadcast are never negotiated", "permit or block"),
    ("dstaddr: wins-servers", "keep", "its network settings name no wins-servers", "addresses and names"),
    ("dstaddr: 'fd99::1', dstport: 80, protocol: tcp", "keep", "", ""),
]


@pytest.mark.parametrize(
    ("filter_", "unresolved", "message", "remedy"), ON_A_HOST, ids=[" ".join(r[:2]) for r in ON_A_HOST]
)
def test_what_a_host_makes_of_it_is_told_at_its_place(filter_: str, unresolved: str, message: str, remedy: str) -> None:
    text = with_filter(f"{{srcaddr: me, {filter_}}}").replace(
        "assign: yes", f"assign: yes\n    unresolved: {unresolved}"
    )
    found = told(text.replace("version: 1\n", "version: 1\nconfig: {management: [], allow_lockout: yes}\n"))
    if not message:
        assert found == []
        return
    (problem,) = found
    assert (problem.severity, problem.at.line, problem.at.column) == (Severity.WARNING, 6, 9)
    assert message in problem.message
    assert remedy in problem.remedy


def test_me_without_an_address_of_its_connection_type_is_told() -> None:
    (problem,) = told(GOOD + "        conntype: dialup\n")
    assert (problem.at.line, problem.at.column) == (5, 9)
    assert "it has no address on an interface of connection type dialup" in problem.message


def test_sides_that_only_the_host_gives_two_ip_versions_are_told() -> None:
    (problem,) = told(with_filter("{srcaddr: me, dstaddr: 'fd99::1'}"), FACTS.replace(', "fd00:1::5/64"', ""))
    assert "its two sides are of different IP versions there" in problem.message


def test_a_name_that_is_not_resolved_permits_nothing_where_it_fails_closed() -> None:
    text = with_filter("{srcaddr: me, dstaddr: nowhere.example}").replace("action: negotiate", "action: permit")
    text = text.replace("assign: yes", "assign: yes\n    unresolved: block")
    found = [one for one in told(text) if "nowhere" in one.message]
    assert [one.message for one in found] == [
        "nowhere.example has no address now, so the filter permits nothing until it has one"
    ]


def test_tunnels_that_cross_are_told_and_one_inside_another_is_not() -> None:
    def with_second(src: str, dst: str) -> str:
        more = f"""\
  - {{name: there2, filters: [{{srcaddr: {src}, dstaddr: {dst}, mirrored: no}}]}}
  - {{name: back2, filters: [{{srcaddr: {dst}, dstaddr: {src}, mirrored: no}}]}}
"""
        rules = SECOND_TUNNEL.replace("again", "out2").replace("list: there", "list: there2")
        rules += rules.replace("out2", "in2").replace("there2", "back2").replace("198.51.100.3", "10.1.0.5")
        return TUNNEL.replace("filteractions", f"{more}filteractions") + rules

    inside = with_second("10.1.0.0/16", "10.2.3.0/24")
    crossing = inside.replace(
        "srcaddr: 10.1.0.0/16, dstaddr: 10.2.0.0/16", "srcaddr: 10.1.5.0/24, dstaddr: 10.2.0.0/16"
    )
    crossing = crossing.replace(
        "srcaddr: 10.2.0.0/16, dstaddr: 10.1.0.0/16", "srcaddr: 10.2.0.0/16, dstaddr: 10.1.5.0/24"
    )
    assert [one.message for one in told(inside)] == []
    (problem,) = told(crossing)
    assert "on their way back" in problem.message
    assert "as narrow as both at both ends" in problem.remedy
