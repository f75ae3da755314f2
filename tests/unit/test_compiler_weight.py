# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from tests.unit.compiler_cases import HOST, one, packet, policy, rule
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain
from xfrmd.model.plan import Verdict
from xfrmd.policy.words import Filter

NARROWER_FIRST: list[tuple[str, Filter, Filter]] = [
    ("a host beats a subnet", one("me", "10.1.2.3"), one("me", "10.1.2.0/24", "tcp", dport=445)),
    ("a subnet beats any", one("me", "10.1.2.0/24"), one("me", "any", "tcp", dport=445)),
    ("the longer of both ends", one("10.1.0.5", "10.0.0.0/8"), one("10.1.0.0/16", "10.1.2.0/24")),
    ("the source's length", one("10.1.0.0/24", "10.1.0.0/16", mirrored=False), one("10.1.0.0/16", "10.1.2.0/24")),
    ("a protocol beats none", one("me", "any", "tcp"), one("me", "any")),
    ("a port beats none", one("me", "any", "tcp", dport=445), one("me", "any", "tcp")),
    ("two ports beat one", one("me", "any", "tcp", 40000, 445), one("me", "any", "tcp", dport=445)),
    ("the destination's port first", one("me", "any", "tcp", dport="1-600"), one("me", "any", "tcp", 40000)),
    ("a port beats a range", one("me", "any", "tcp", dport=445), one("me", "any", "tcp", dport="445-446")),
    ("a narrow range beats a wide", one("me", "any", "tcp", dport="400-500"), one("me", "any", "tcp", dport="1-500")),
    (
        "a range of addresses weighs as its whole width",
        one("me", "10.1.2.0/29"),
        one("me", "10.1.2.3,10.1.2.4/30,10.1.2.8/29"),  # 13 addresses: as a /28, though 10.1.2.3 is cut to a /32
    ),
]  # fmt: skip


@pytest.mark.parametrize(("narrow", "wide"), [case[1:] for case in NARROWER_FIRST], ids=[c[0] for c in NARROWER_FIRST])
@pytest.mark.parametrize("narrow_first", [True, False])
def test_the_more_specific_filter_wins_wherever_it_stands(narrow: Filter, wide: Filter, narrow_first: bool) -> None:
    places = (1, 2) if narrow_first else (2, 1)
    plan = compile_policy(policy(rule("permit", narrow, line=places[0]), rule("block", wide, line=places[1])), HOST)
    asked = packet("out", "10.1.0.5", "10.1.2.3", "tcp", 40000, 445)
    assert explain(plan, asked).verdict is Verdict.PERMIT


def test_the_weight_is_shown_as_its_parts() -> None:
    plan = compile_policy(policy(rule("permit", one("me", "10.1.0.0/16", "tcp", dport="1024-2047"))), HOST)
    explained = explain(plan, packet("out", "10.1.0.5", "10.1.2.3", dport=2000))
    assert str(explained.weight) == f"48.32.32.1.1.1.{65536 - 1024}"


def test_of_equal_filters_the_first_in_the_file_wins() -> None:
    block, permit = one("me", "any", "udp", line=7), one("me", "any", "udp", line=3)
    plan = compile_policy(policy(rule("block", block, line=6), rule("permit", permit, line=2)), HOST)
    assert explain(plan, packet("out", "10.1.0.5", "10.1.2.3", "udp")).verdict is Verdict.PERMIT


def test_ranges_of_one_class_are_cut_apart() -> None:
    left, right = one("me", "any", "tcp", dport="1000-1999", line=2), one("me", "any", "tcp", dport="1500-2499", line=4)
    plan = compile_policy(policy(rule("permit", left, line=1), rule("block", right, line=3)), HOST)
    verdicts = [explain(plan, packet("out", "10.1.0.5", "10.9.9.9", dport=port)).verdict for port in (1999, 2000, 2500)]
    assert verdicts == [Verdict.PERMIT, Verdict.BLOCK, Verdict.PASS]
