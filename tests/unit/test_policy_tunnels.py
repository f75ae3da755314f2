# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnel rules: two halves that mirror each other, and what is said about any other."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import problems_of, read
from xfrmd.model.addresses import Address
from xfrmd.model.source import Problem

TUNNEL = """\
version: 1
filterlists:
  - name: there
    filters: [{srcaddr: 10.1.0.0/16, dstaddr: 10.2.0.0/16, mirrored: no}]
  - name: back
    filters: [{srcaddr: 10.2.0.0/16, dstaddr: 10.1.0.0/16, mirrored: no}]
filteractions:
  - name: require
policies:
  - name: Site
    assign: yes
    rules:
      - {name: out, filterlist: there, filteraction: require, tunnel: 198.51.100.2, psk: a shared secret of ours}
      - {name: in, filterlist: back, filteraction: require, tunnel: gw.example, psk: a shared secret of ours}
"""


def problems(*changes: tuple[str, str]) -> list[Problem]:
    text = TUNNEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return list(problems_of(text))


def test_two_rules_that_mirror_each_other_are_a_tunnel() -> None:
    assert problems() == []
    out, back = read(TUNNEL.replace("assign: yes", "assign: no")).policies[0].rules
    assert (out.tunnel, back.tunnel) == (Address.parse("198.51.100.2"), "gw.example")


MISTAKES = [
    ("gw.example, psk", "gw.example, redirects: [gw2.example], psk", 14, "'gw2.example' is a name", "not looked up"),
    ("gw.example, psk", "gw.example, redirects: [0.0.0.0], psk", 14, "names no host", "name a gateway"),
    ("gw.example, psk", "gw.example, redirects: 198.51.100.3, psk", 14, "expected is a list of gateways", "begin"),
    ("gw.example, psk", "gw.example, redirects: [], psk", 14, "the list of gateways is empty", "add gateways"),
    ("gw.example, psk", "gw.example, redirects: [198.51.100.3], psk", 13, "but differs from it", "redirects"),
    ("198.51.100.2, psk", "198.51.100.2, redirect_to: 198.51.100.2, psk", 13, "ends there already", "another gateway"),
    (
        "gw.example, psk",
        f"gw.example, redirects: [{', '.join(f'198.51.100.{number}' for number in range(3, 20))}], psk",
        14,
        "17 gateways; 16 at most are taken",
        "in use",
    ),
    ("tunnel: gw.example", "tunnel: 10.1.0", 14, "neither an address nor a DNS name", "write an address"),
    ("tunnel: gw.example", "tunnel: 0.0.0.0", 14, "0.0.0.0 names no host", "remove tunnel for transport"),
    ("tunnel: gw.example", "tunnel: 224.0.0.1", 14, "is not one host's address", "name a gateway"),
    ("tunnel: gw.example", "tunnel: '::1'", 14, "loopback", "name a gateway"),
    ("tunnel: gw.example", "tunnel: [a.b]", 14, "a list stands here", "write an address"),
    (
        "tunnel: gw.example",
        "tunnel: 198.51.100.2",
        13,
        "'in' is the way back of this tunnel, but names the same",
        "far",
    ),
    ("10.1.0.0/16, mirrored: no", "10.1.0.0/16", 6, "rule 'in' is a tunnel, but this filter is mirrored", "no"),
    ("10.2.0.0/16, mirrored: no", "10.2.0.0/16, mirrored: no, protocol: gre", 4, "carries all protocols", "remove"),
    ("- name: require", "- {name: require, soft: yes}", 13, "a tunnel cannot fall back to clear", "without soft"),
    ("- name: require", "- {name: require, inpass: yes}", 13, "a tunnel cannot let clear packets in", "inpass"),
    (
        "- name: require",
        "- {name: require, action: block}",
        13,
        "a tunnel needs action: negotiate, not block",
        "remove",
    ),
    ("name: in,", "name: in, activate: no,", 13, "one half of a tunnel (10.1.0.0/16 to 10.2.0.0/16)", "{srcaddr: 10.2"),
    ("psk: a shared secret of ours}\n      -", "psk: another secret of ours}\n      -", 13, "but differs", "authentic"),
    ("name: out,", "name: out, conntype: lan,", 4, "is for lan only", "conntype: all"),
]


@pytest.mark.parametrize(("old", "new", "line", "message", "remedy"), MISTAKES, ids=[row[1] for row in MISTAKES])
def test_mistakes(old: str, new: str, line: int, message: str, remedy: str) -> None:
    problem = problems((old, new))[0]
    assert problem.at.line == line
    assert message in problem.message
    assert remedy in problem.remedy


def test_other_gateways_are_for_tunnels_alone() -> None:
    text = TUNNEL.replace("tunnel: 198.51.100.2", "redirects: [198.51.100.3]").replace("tunnel: gw.example, ", "")
    (problem,) = [one for one in problems_of(text) if "redirects" in one.message]
    assert (problem.message, problem.remedy) == (
        "redirects without a tunnel: only tunnels are redirected",
        "remove redirects, or add tunnel",
    )


def test_the_remedy_of_a_lone_half_is_the_rule_that_is_missing() -> None:
    lone = TUNNEL.splitlines(keepends=True)[-1]
    (problem,) = problems((lone, ""))
    listed, rule = problem.remedy.split(" and a rule ")
    listed = listed.removeprefix("add a filter list NEW with ")
    rule = rule.partition(" with the same authentication")[0]
    mended = (
        ("- name: back", f"- {{name: NEW, filters: [{listed}]}}\n  - name: back"),
        (lone, f"      - {rule[:-1]}, psk: a shared secret of ours}}\n".replace("END", "198.51.100.1")),
    )
    assert problems(*mended) == []


def test_each_contradiction_is_told_once() -> None:
    assert len(problems(("tunnel: gw.example", "tunnel: 198.51.100.2"))) == 1
    out = TUNNEL.splitlines(keepends=True)[-2]
    (problem,) = problems((out, out + out.replace("name: out", "name: again")))
    assert problem.at.line == 14
    assert "rule 'out' has a tunnel with the same filter" in problem.message


def test_all_to_all_is_its_own_mirror() -> None:
    everything = (("10.1.0.0/16", "any"), ("10.2.0.0/16", "any"))
    assert problems(*everything) == []
    assert len(problems(*everything, ("tunnel: gw.example", "tunnel: 198.51.100.2"))) == 1
    (lone,) = problems(*everything, ("name: in,", "name: in, activate: no,"))
    assert "one half of a tunnel (any to any)" in lone.message


ALL = (
    ("filterlist: back", "filterlist: there"),
    ("srcaddr: 10.1.0.0/16, dstaddr: 10.2.0.0/16", "srcaddr: any, dstaddr: any"),
)
"""Both halves between all and all, of one filter list."""


def test_halves_that_share_a_filter_list_must_fit_as_well() -> None:
    assert problems(*ALL) == []
    (differing,) = problems(*ALL, ("gw.example, psk", "gw.example, remote_id: gw.example, psk"))
    (same_end,) = problems(*ALL, ("tunnel: gw.example", "tunnel: 198.51.100.2"))
    assert "'in' is the way back of this tunnel, but differs from it" in differing.message
    assert "'in' is the way back of this tunnel, but names the same end" in same_end.message


def test_the_missing_half_of_a_range_is_told_as_a_range() -> None:
    (alone, _) = problems(("{srcaddr: 10.1.0.0/16", "{srcaddr: 10.1.0.3-10.1.0.9"))
    assert "(10.1.0.3-10.1.0.9 to 10.2.0.0/16)" in alone.message
    assert "{srcaddr: 10.2.0.0/16, dstaddr: 10.1.0.3-10.1.0.9, mirrored: no}" in alone.remedy
