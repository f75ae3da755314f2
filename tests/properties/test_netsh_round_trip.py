# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies survive the way through a script of netsh: equal where netsh has the same words, and else deciding alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.netsh_cases import placeless, there_and_back
from tests.worlds.traffic import Traffic
from tests.worlds.world import World, world
from xfrmd.compiler.oracle import decide
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import PskAuth
from xfrmd.model.proposals import Lifetime, Proposal
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, UDP, Ports
from xfrmd.model.source import Span
from xfrmd.netsh.exporting import export_script
from xfrmd.policy import PolicyErrors
from xfrmd.policy.methods import DEFAULT_MAIN_METHODS, DEFAULT_QUICK_METHODS, MAIN_METHODS, QUICK_METHODS
from xfrmd.policy.nodes import ScalarNode
from xfrmd.policy.problems import Problems
from xfrmd.policy.words import (
    Action,
    AddressSpec,
    AddressWord,
    Config,
    ConnectionType,
    DefaultResponse,
    Filter,
    FilterAction,
    FilterList,
    Policy,
    PolicySet,
    Rule,
    Unresolved,
)

EXAMPLES = int(os.environ.get("XFRMD_EXAMPLES", "100"))
WORLDS = max(50, int(os.environ.get("XFRMD_WORLDS", "500")) // 20)
PACKETS = 40


def _quick(text: str) -> tuple[Proposal, ...]:
    found: tuple[Proposal, ...] = QUICK_METHODS.read(ScalarNode(1, 1, text, plain=True), Problems("")).proposals
    return found


def _main(text: str) -> tuple[Proposal, ...]:
    found: tuple[Proposal, ...] = MAIN_METHODS.read(ScalarNode(1, 1, text, plain=True), Problems("")).proposals
    return found


QUICK = [
    DEFAULT_QUICK_METHODS.proposals,
    _quick("ESP[3DES,SHA1]:100000k/900s"),
    _quick("ESP[3DES,SHA1]:20480k/300s ESP[3DES,SHA1]"),
]
MAIN = [DEFAULT_MAIN_METHODS.proposals, _main("3DES-SHA1-3"), _main("3DES-SHA1-2 3DES-SHA1-3")]

TURNS = "".join(map(chr, (*range(0x2028, 0x202F), *range(0x2066, 0x206A))))
"""What makes a line read in another order than it is written in: no policy takes it."""
SAYABLE = st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters=f'"{TURNS}')
TEXT = st.text(SAYABLE, max_size=20).filter(lambda text: not text.endswith("\\") and (not text or text.strip()))
NAMES = st.lists(TEXT.filter(bool), min_size=3, max_size=3, unique_by=str.casefold)
PSK = st.builds(lambda text: PskAuth(Secret(text.encode())), TEXT.filter(bool))
LITERALS = [
    (Prefix.parse(text),)
    for text in ("10.1.0.5", "10.1.0.0/16", "0.0.0.0/1", "255.255.255.255", "fd00::5", "fc00::/7", "::/0")
]
ENDS: list[AddressSpec] = [AddressWord.ANY, *LITERALS, "files.example", "a-b.c_d.example"]
SERVERS = [word for word in AddressWord if word not in (AddressWord.ME, AddressWord.ANY)]


@st.composite
def filters(draw: st.DrawFn, *, mirrored: bool) -> Filter:
    """A filter that netsh has words for, with `me` at one end."""
    src, dst = draw(st.permutations([AddressWord.ME, draw(st.sampled_from([*ENDS, *SERVERS]))]))
    protocol = draw(st.sampled_from([0, ICMP, TCP, UDP, 47, 255]))
    port = st.one_of(st.just(ANY_PORT), st.integers(1, 65535).map(lambda number: Ports(number, number)))
    sport, dport = (draw(port), draw(port)) if protocol in (TCP, UDP) else (ANY_PORT, ANY_PORT)
    at = Span("policy.yaml", 1, 1)
    return Filter(src, dst, at, protocol, (sport,), (dport,), mirrored or draw(st.booleans()), draw(TEXT))


@st.composite
def filter_lists(draw: st.DrawFn) -> list[FilterList]:
    made = []
    for line, name in enumerate(draw(NAMES), 1):
        found = draw(st.lists(filters(mirrored=True), min_size=1, max_size=4, unique_by=_key))
        here = tuple(replace(one, at=Span("policy.yaml", 100 * line + place, 1)) for place, one in enumerate(found))
        made.append(FilterList(name, here, Span("policy.yaml", 100 * line, 1), draw(TEXT)))
    return made


def _key(one: Filter) -> object:
    return (one.src, one.dst, one.protocol, one.sports, one.dports, one.mirrored)


@st.composite
def filter_actions(draw: st.DrawFn) -> list[FilterAction]:
    made = []
    for line, name in enumerate(draw(NAMES), 1):
        action = draw(st.sampled_from(Action))
        qmpfs, inpass, soft = (action is Action.NEGOTIATE and draw(st.booleans()) for _ in range(3))
        methods = draw(st.sampled_from(QUICK)) if action is Action.NEGOTIATE else ()
        at = Span("policy.yaml", 1000 + line, 1)
        made.append(FilterAction(name, action, at, methods, qmpfs, inpass, soft, draw(TEXT)))
    return made


def tunnel_rules(line: int, auth: PskAuth) -> list[Rule]:
    """The two halves of a tunnel. Their lists and their action are of their own."""
    here, there = LITERALS[1], (Prefix.parse("10.2.0.0/16"),)
    action = FilterAction(f"tunnel {line}", Action.NEGOTIATE, Span("policy.yaml", 1000 + line, 1), QUICK[1])
    made = []
    ends = ((here, there, "198.51.100.2"), (there, here, "192.0.2.1"))
    for number, (src, dst, end) in enumerate(ends, line + 50):
        at = Span("policy.yaml", number, 1)
        found = FilterList(f"half {number} of a tunnel", (Filter(src, dst, at, mirrored=False),), at)
        made.append(Rule(f"half {number}", found, action, (auth,), at, tunnel=Address.parse(end)))
    return made


@st.composite
def policies(draw: st.DrawFn, lists: list[FilterList], actions: list[FilterAction], name: str, line: int) -> Policy:
    rules = []
    for place, rule_name in enumerate(draw(NAMES), 1):
        action = draw(st.sampled_from(actions))
        secrets = draw(st.lists(PSK, min_size=1, max_size=2, unique=True)) if action.action is Action.NEGOTIATE else []
        at = Span("policy.yaml", line + place, 1)
        kind, active = draw(st.sampled_from(ConnectionType)), draw(st.booleans())
        found = draw(st.sampled_from(lists))
        rules.append(Rule(rule_name, found, action, tuple(secrets), at, kind, active, None, None, draw(TEXT)))
    if draw(st.booleans()):
        rules += tunnel_rules(line, PskAuth(Secret(b"the secret of both gateways")))
    mmpfs = draw(st.booleans())
    response = None
    if draw(st.booleans()):
        auth, methods = (draw(PSK),), draw(st.sampled_from(QUICK))
        response = DefaultResponse(auth, methods, Span("policy.yaml", line, 9), draw(st.booleans()))
    lifetime = Lifetime(60 * draw(st.sampled_from([1, 480, 2879])))
    main = tuple(replace(one, lifetime=lifetime) for one in draw(st.sampled_from(MAIN)))
    quick_modes = 1 if mmpfs else draw(st.sampled_from([0, 1, 65535]))
    at = Span("policy.yaml", line, 1)
    return Policy(name, tuple(rules), main, at, quick_modes, mmpfs, draw(TEXT), default_response=response)


@st.composite
def policy_sets(draw: st.DrawFn) -> PolicySet:
    """Policies all of which netsh has words for."""
    lists, actions = draw(filter_lists()), draw(filter_actions())
    names = draw(NAMES)[: draw(st.integers(1, 2))]
    made = tuple(draw(policies(lists, actions, name, 10_000 * line)) for line, name in enumerate(names, 1))
    assigned = draw(st.sampled_from([None, *made]))
    return PolicySet(made, assigned, config=Config(draw(st.integers(0, 3))))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy_sets())
def test_what_netsh_has_words_for_comes_back_equal(made: PolicySet) -> None:
    assert placeless(there_and_back(made)) == placeless(made)


def _fit(rule: Rule, one: Filter) -> Filter | None:
    """A filter of a world as the policy language has it, None for one that it has not."""
    ends = (one.src, one.dst)
    if any(end in SERVERS for end in ends) and AddressWord.ME not in ends:
        return None
    if rule.conntype is not ConnectionType.ALL and AddressWord.ME not in ends:
        return None
    families = {end[0].family for end in ends if isinstance(end, tuple)}
    if len(families) == 2 or (one.protocol == ICMPV6 and families == {4}):
        return None
    if rule.tunnel is not None:
        return one
    if one.protocol not in (TCP, UDP):
        one = replace(one, sports=(ANY_PORT,), dports=(ANY_PORT,))
    one = replace(one, sports=_narrow(one.sports), dports=_narrow(one.dports))
    return replace(one, mirrored=one.mirrored or rule.filter_action.action is Action.NEGOTIATE)


def _narrow(ranges: tuple[Ports, ...]) -> tuple[Ports, ...]:
    """The same ranges of ports, the wide ones cut short and none from port 0: they overlap much as before."""
    found = (one if one.is_any else Ports(max(1, one.first), min(one.last, max(1, one.first) + 5)) for one in ranges)
    return tuple(sorted(set(found)))


def _fitting(rules: tuple[Rule, ...], lines: set[int]) -> Iterator[Rule]:
    """Rules of a world with what the language has, filters in these lines left out. No half of a tunnel stays alone."""
    halves = [(rule, one) for rule in rules if rule.tunnel is not None for one in rule.filter_list.filters]
    alone = any(one.at.line in lines or _fit(rule, one) is None for rule, one in halves)
    actions: dict[str, FilterAction] = {}
    for number, rule in enumerate(rules):
        if alone and rule.tunnel is not None:
            continue
        found = [_fit(rule, one) for one in rule.filter_list.filters if one.at.line not in lines]
        here = tuple(one for one in found if one is not None)
        methods = QUICK[1] if rule.filter_action.action is Action.NEGOTIATE else ()
        # The two halves of a tunnel share their action; other rules of a world only share its name.
        name = rule.filter_action.name if rule.tunnel is not None else f"action {number}"
        action = actions.setdefault(name, replace(rule.filter_action, name=name, qmsecmethods=methods))
        if here:
            yield replace(rule, filter_list=replace(rule.filter_list, filters=here), filter_action=action)


def sayable_world(seed: int) -> World:
    """A world whose policy netsh can say; filters that it cannot are left out."""
    found = world(seed)
    main = tuple(replace(one, lifetime=Lifetime(28_800)) for one in DEFAULT_MAIN_METHODS.proposals)
    plain = replace(found.policy, mmsecmethods=main, unresolved=Unresolved.KEEP, default_response=None)
    found = found.with_policy(plain)
    lines: set[int] = set()
    for _ in range(10):
        rules = tuple(_fitting(found.rules, lines))
        if not rules:
            break
        made = found.with_rules(rules)
        try:
            export_script(made.policies)
        except PolicyErrors as errors:
            lines |= {one.at.line for one in errors.problems if one.severity.value == "error"}
        else:
            return made
    return found.with_rules(())


@pytest.mark.timeout(60 + WORLDS)
def test_what_must_be_split_decides_every_packet_as_before() -> None:
    split = tunnels = 0
    for seed in range(WORLDS):
        made = sayable_world(seed)
        if not made.rules:
            continue
        back = there_and_back(made.policies)
        split += sum(map(_number, back.policies[0].rules)) > sum(map(_number, made.rules))
        tunnels += any(rule.tunnel is not None for rule in made.rules)
        for packet in islice(Traffic(made, seed), PACKETS):
            before, after = decide(made.policies, made.host, packet), decide(back, made.host, packet)
            assert (before.verdict, before.rule, before.inpass) == (after.verdict, after.rule, after.inpass), seed
    assert split > WORLDS // 10
    assert tunnels > WORLDS // 25


def _number(rule: Rule) -> int:
    return len(rule.filter_list.filters)
