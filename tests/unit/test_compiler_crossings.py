# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters of which one decides what leaves and the other what comes back are told at check time."""

from __future__ import annotations

import pytest

from tests.unit.compiler_cases import facts, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.check import check
from xfrmd.compiler.explain import winner
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Rule

V4 = facts("10.1.0.5/16")


def told(*rules: Rule) -> list[Problem]:
    found = check(policy(*rules), V4)
    return [problem for problem in found if "on their way back" in problem.message]


NARROW_HERE = ("10.1.5.0/24", "10.2.0.0/16")
NARROW_THERE = ("10.1.0.0/16", "10.2.3.0/24")


def test_two_negotiate_filters_that_are_narrow_at_different_ends_are_told_with_both_places() -> None:
    (found,) = told(
        rule("negotiate", one(*NARROW_HERE, line=2), name="here", line=1),
        rule("negotiate", one(*NARROW_THERE, line=4), name="there", line=3),
    )
    # Each of the two is the outbound one for one direction of the traffic; told is one of them.
    first, second = ("here", "policy.yaml:4:9 of rule 'there'"), ("there", "policy.yaml:2:9 of rule 'here'")
    ours, theirs = first if found.at.line == 2 else second
    assert found.severity is Severity.WARNING
    assert f"of rule '{ours}'" in found.message
    assert f"{theirs} (negotiate)" in found.message
    assert "as narrow as both at both ends" in found.remedy


def test_the_remedy_helps() -> None:
    rules = (
        rule("negotiate", one(*NARROW_HERE, line=2), name="here", line=1),
        rule("negotiate", one(*NARROW_THERE, line=4), name="there", line=3),
        rule("negotiate", one("10.1.5.0/24", "10.2.3.0/24", line=6), name="both", line=5),
    )
    assert told(*rules) == []


def test_what_is_told_is_so() -> None:
    rules = (
        rule("negotiate", one("me", "any", line=2), name="all", line=1),
        rule("permit", one("any", "10.9.0.1", "udp", dport="53", line=4), name="dns", line=3),
    )
    (found,) = told(*rules)
    assert (found.at.line, "(negotiate)" in found.message, "(permit)" in found.message) == (2, True, True)
    plan = compile_policy(policy(*rules), V4)
    out = winner(plan, packet("out", "10.1.0.5", "10.9.0.1", "udp", 40000, 53))
    back = winner(plan, packet("in", "10.9.0.1", "10.1.0.5", "udp", 53, 40000))
    assert out is not None
    assert back is not None
    assert (out.origin.rule, back.origin.rule) == ("all", "dns")


@pytest.mark.parametrize(
    "rules",
    [
        (rule("permit", one(*NARROW_HERE)), rule("block", one(*NARROW_THERE), name="other")),
        (rule("negotiate", one(*NARROW_HERE)), rule("negotiate", one("10.1.0.0/16", "10.7.3.0/24"), name="other")),
        (rule("negotiate", one(*NARROW_HERE)), rule("negotiate", one("10.1.0.0/16", "10.2.0.0/16"), name="other")),
        (rule("negotiate", one("me", "10.2.0.1")), rule("negotiate", one("me", "10.2.0.0/16", "tcp"), name="other")),
    ],
    ids=["nobody negotiates", "they do not meet", "one is wider at both ends", "one is narrower"],
)
def test_others_are_not(rules: tuple[Rule, ...]) -> None:
    assert told(*rules) == []


def test_ports_at_different_ends_cross_too() -> None:
    (found,) = told(
        rule("negotiate", one("me", "any", "tcp", dport="80", line=2), name="client", line=1),
        rule("negotiate", one("me", "any", "tcp", sport="5000", line=4), name="server", line=3),
    )
    assert "'client'" in found.message


def test_many_are_told_in_part() -> None:
    filters = [one(f"10.1.{n}.0/24", "10.2.0.0/16", line=n + 1) for n in range(40)]
    assert (
        len(told(rule("negotiate", *filters), rule("negotiate", one(*NARROW_THERE, line=90), name="b", line=80))) == 20
    )
