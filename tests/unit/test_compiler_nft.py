# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from tests.unit.compiler_cases import HOST, facts, one, packet, policy, rule
from tests.unit.nft_cases import key
from xfrmd import limits
from xfrmd.compiler import compile_policy
from xfrmd.compiler.delta import element_changes
from xfrmd.compiler.exempt import LOOPBACK, Exemption, exemptions, exempts, groups
from xfrmd.compiler.explain import explain
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.compiler.nft_text import exchanged, fresh_maps, prepared, render, unprepared
from xfrmd.compiler.oracle import decide
from xfrmd.errors import LocalProtocolError
from xfrmd.model.addresses import Address
from xfrmd.model.nft import NftChain, NftTable, TableChange
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Packet, Ports
from xfrmd.policy.words import Config

ALL = policy(rule("negotiate", one("any", "any")))
OWN = HOST.own_addresses()


def chain(plan: Plan, name: str) -> NftChain:
    return next(chain for chain in plan.nft.chains if chain.name == name)


GROUPS = groups(HOST)


def around(ranges: tuple[Ports, ...]) -> set[int]:
    """Ports at and beside the ends of ranges."""
    named = [ports for ports in ranges if not ports.is_any]
    return {5} | {end + step for ports in named for end in ports for step in (-1, 0, 1)}


@pytest.mark.parametrize(
    "row", exemptions(0, GROUPS), ids=lambda row: f"{row.name} {'in' if row.inbound else 'out'} {row.families}"
)
def test_an_exemption_says_the_same_in_both_languages(row: Exemption) -> None:
    interpreter = Interpreter(NftTable((), (NftChain("one", "", (f"{row.rule} drop",)),)))
    addresses = {
        4: ("10.1.0.5", "10.1.0.9", "10.1.255.255", "255.255.255.255", "239.1.1.1", "223.255.255.255"),
        6: ("fd00:1::5", "fd00:1::9", "fe80::1", "::", "ff02::1"),
    }
    met = 0
    for family, protocol in itertools.product((4, 6), ("esp", "ah", "udp", "tcp", "icmpv6", "icmp", "rsvp")):
        for src, dst in itertools.permutations(addresses[family], 2):
            for sport, dport in itertools.product(around(row.sports), around(row.dports)):
                asked = packet("in" if row.inbound else "out", src, dst, protocol, sport, dport)
                dropped = interpreter.run("one", Seen(asked, OWN, protected=False)) == "drop"
                assert dropped == row.matches(asked, OWN), asked
                met += dropped
    assert met


LEVELS: tuple[tuple[str, Packet, set[int]], ...] = (
    ("exempt-kerberos", packet("in", "10.1.0.9", "10.1.0.5", "tcp", 88, 40000), {0, 2}),
    ("exempt-kerberos", packet("in", "10.1.0.9", "10.1.0.5", "udp", 40000, 88), {0, 2}),
    ("exempt-kerberos", packet("out", "fd00:1::5", "fd00:1::9", "udp", 40000, 88), {0, 2}),
    ("exempt-kerberos", packet("out", "10.1.0.5", "10.1.0.9", "tcp", 88, 40000), {0, 2}),
    ("exempt-kerberos", packet("out", "10.1.0.8", "10.1.0.9", "tcp", 88, 40000), set()),
    ("exempt-rsvp", packet("out", "10.1.0.5", "10.1.0.9", "rsvp", 0, 0), {0, 2}),
    ("exempt-rsvp", packet("in", "fd00:1::9", "fd00:1::5", "rsvp", 0, 0), {0, 2}),
    ("exempt-multicast", packet("out", "10.1.0.5", "239.255.255.255", "udp", 5, 5), {0, 1}),
    ("exempt-multicast", packet("in", "fd00:1::9", "ff05::2", "udp", 5, 5), {0, 1}),
    ("exempt-broadcast", packet("in", "10.1.0.9", "10.1.255.255", "udp", 138, 138), {0, 1}),
    ("exempt-broadcast", packet("out", "10.1.0.5", "255.255.255.255", "udp", 9, 9), {0, 1}),
    ("exempt-ike", packet("in", "10.1.0.9", "10.1.0.5", "udp", 500, 500), {0, 1, 2, 3}),
    ("exempt-mld", packet("out", "fe80::1", "ff02::16", "icmpv6", 143, 0), {0, 1, 2, 3}),
    ("exempt-mld", packet("in", "fe80::1", "ff02::1", "icmpv6", 130, 0), {0, 1, 2, 3}),
)


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize(("name", "asked", "at"), LEVELS)
@pytest.mark.parametrize("action", ["block", "negotiate"])
def test_what_each_ipsecexempt_lets_pass(name: str, asked: Packet, at: set[int], level: int, action: str) -> None:
    policies = replace(policy(rule(action, one("any", "any"))), config=Config(level))
    plan = compile_policy(policies, HOST)
    explained, seen = explain(plan, asked), Seen(asked, plan.local, protected=False)
    assert (explained.rule == name) is (level in at)
    assert explained.verdict is decide(policies, HOST, asked).verdict
    chain = "prerouting" if asked.inbound else "postrouting"
    assert (Interpreter(plan.nft).run(chain, seen) == "accept") is (level in at)


def test_ike_is_exempt_for_own_addresses_only() -> None:
    forwarded = packet("in", "10.1.0.9", "10.1.0.8", "udp", 500, 500)
    assert exempts(packet("in", "10.1.0.9", "10.1.0.5", "udp", 500, 500), OWN) == "exempt-ike"
    assert exempts(packet("out", "10.1.0.5", "10.1.0.9", "udp", 4500, 9), OWN) == "exempt-ike"
    assert exempts(packet("out", "10.1.0.5", "10.1.0.9", "udp", 40000, 500), OWN) == ""
    assert exempts(forwarded, OWN) == ""
    assert exempts(packet("out", "127.0.0.1", "10.1.0.5"), OWN) == LOOPBACK


def test_the_text_replaces_the_table_in_one_transaction() -> None:
    text = re.sub("^#.*\n", "", render(compile_policy(ALL, HOST).nft), flags=re.MULTILINE)
    assert text.startswith("add table inet xfrmd\ndelete table inet xfrmd\ntable inet xfrmd {\n")
    assert text.endswith("}\n")


def test_without_a_policy_nothing_is_filtered() -> None:
    assert compile_policy(policy(), HOST).nft.chains == ()


def test_holding_and_fences_only_where_a_policy_negotiates() -> None:
    blocks = compile_policy(policy(rule("block", one("any", "any"))), HOST)
    assert {chain.name for chain in blocks.nft.chains if chain.hook} == {"prerouting", "postrouting"}
    assert not any("missing" in rule for chain in blocks.nft.chains for rule in chain.rules)
    hooks = {chain.name for chain in compile_policy(ALL, HOST).nft.chains if chain.hook}
    assert hooks == {"prerouting", "postrouting", "bound", "hold_output", "hold_forward"}


def test_held_packets_are_never_let_pass_without_a_listener() -> None:
    for name in ("hold_output", "hold_forward"):
        last = chain(compile_policy(ALL, HOST), name).rules[-1]
        assert last == f"counter name held queue num {limits.HOLD_QUEUE}"


def test_the_fence_is_the_last_word_of_both_hooks() -> None:
    plan = compile_policy(ALL, HOST)
    assert chain(plan, "prerouting").rules[-1] == "meta secpath missing counter name fence_in drop"
    assert chain(plan, "postrouting").rules[-1] == "rt ipsec missing counter name fence_out drop"


def test_inpass_has_no_fence_inbound() -> None:
    plan = compile_policy(policy(rule("negotiate", one("any", "any"), inpass=True)), HOST)
    assert not any("secpath" in rule for rule in chain(plan, "prerouting").rules)
    assert any("rt ipsec missing" in rule for rule in chain(plan, "postrouting").rules)


def test_one_map_holds_all_filters_of_a_class_and_shape() -> None:
    hosts = [one("me", f"10.2.{n // 256}.{n % 256}", "tcp", dport=445, line=n) for n in range(1, 300)]
    plan = compile_policy(policy(rule("permit", *hosts)), facts("10.1.0.5/16"))
    assert [len(one.elements) for one in plan.nft.maps] == [299, 299]


def test_an_icmp_type_and_code_share_sixteen_bits() -> None:
    plan = compile_policy(policy(rule("permit", one("any", "any", "icmp", 3, 4, mirrored=False))), HOST)
    expression = "meta nfproto . meta l4proto . th sport"
    assert [one.expression for one in plan.nft.maps] == [expression] * 2
    assert plan.nft.maps[0].elements == {key(expression, f"ipv4 . 1 . {3 << 8 | 4}"): "accept"}


def test_keys_are_masked_where_filters_are() -> None:
    plan = compile_policy(
        policy(rule("block", one("10.2.0.0/16", "me", "tcp", dport="1024-2047", mirrored=False))), HOST
    )
    (only,) = (one for one in plan.nft.maps if not one.name.startswith("own"))
    assert only.expression == "ip saddr & 255.255.0.0 . ip daddr . meta l4proto . th dport & 64512"
    assert only.elements == {key(only.expression, "10.2.0.0 . 10.1.0.5 . 6 . 1024"): "drop"}


def test_map_names_are_unique_and_fit_the_kernel() -> None:
    rules = [
        rule("permit", one("me", "192.0.2.1"), one("me", "10.1.2.3,10.1.2.4/30")),
        rule("block", one("me", "any", "tcp", "1000-1999", "80,443"), line=2),
    ]
    names = [one.name for one in compile_policy(policy(*rules), HOST).nft.maps]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{1,120}", name) for name in names)


def test_every_counter_is_declared() -> None:
    plan = compile_policy(ALL, HOST)
    used = {
        name for chain in plan.nft.chains for rule in chain.rules for name in re.findall(r"counter name (\S+)", rule)
    }
    assert used <= set(plan.nft.counters)


def test_the_interpreter_refuses_words_it_does_not_know() -> None:
    with pytest.raises(LocalProtocolError, match="ip ttl"):
        Interpreter(NftTable((), (NftChain("one", "", ("ip ttl 1 drop",)),)))


NEW = Address.parse("10.1.0.77")


def through_hooks(plan: Plan, near: Address, protocol: str = "tcp", port: int = 445) -> set[str]:
    """What becomes of a clear packet of this host in each direction, when `near` is one of its addresses."""
    interpreter, own = Interpreter(plan.nft), (*plan.local, near)
    out = packet("out", str(near), "10.1.0.9", protocol, port, port)
    into = packet("in", "10.1.0.9", str(near), protocol, port, port)
    return {
        interpreter.run("postrouting", Seen(out, own, protected=False)),
        interpreter.run("prerouting", Seen(into, own, protected=False)),
    }


@pytest.mark.parametrize("action", ["negotiate", "block"])
def test_an_address_that_the_policy_was_not_compiled_for_lets_nothing_pass(action: str) -> None:
    plan = compile_policy(policy(rule(action, one("me", "any", "tcp", dport="445"))), HOST)
    assert through_hooks(plan, NEW) == {"drop"}
    assert through_hooks(plan, NEW, "udp", 500) == {"accept"}
    assert through_hooks(plan, Address.parse("10.1.0.5"), "udp") == {"accept"}


def test_ipv6_packets_of_ours_from_an_address_that_has_gone_are_dropped() -> None:
    interpreter = Interpreter(compile_policy(policy(rule("block", one("me", "any", "tcp"))), HOST).nft)
    for source, wanted in (("fd00:1::77", "drop"), ("fd00:1::5", "accept"), ("::", "accept")):
        sent = Seen(packet("out", source, "fd00:1::9", "udp"), OWN, protected=False)
        assert interpreter.run("guard_source", sent) == wanted
    old = Seen(packet("out", "10.1.0.77", "10.1.0.9", "udp"), OWN, protected=False)
    assert interpreter.run("guard_source", old) == "accept"


def test_before_the_host_has_any_address_me_is_guarded() -> None:
    assert through_hooks(compile_policy(policy(rule("block", one("me", "any"))), facts()), NEW) == {"drop"}


def test_addresses_are_guarded_only_where_me_is_protected_or_blocked() -> None:
    for wanted in (policy(rule("permit", one("me", "any"))), policy(rule("block", one("10.2.0.0/16", "any")))):
        assert through_hooks(compile_policy(wanted, HOST), NEW) == {"accept"}


def exchange(old: NftTable | None, new: NftTable) -> str:
    return exchanged(TableChange(old, new, {} if old is None else element_changes(old, new)))


def test_a_known_old_table_keeps_the_chains_that_the_new_one_has() -> None:
    old, new = compile_policy(ALL, HOST).nft, compile_policy(policy(rule("block", one("any", "any"))), HOST).nft
    assert "delete chain" not in exchange(old, old)
    gone = [line.split()[-1] for line in exchange(old, new).splitlines() if line.startswith("delete chain")]
    assert gone == ["unbind_mark", "unbind_priority", "bound", "hold_output", "hold_forward"]
    assert "\ndelete table inet xfrmd\n" not in exchange(old, new)


def test_maps_that_stay_keep_their_elements_and_new_ones_are_filled_beforehand() -> None:
    old = compile_policy(policy(rule("block", one("10.1.0.0/16", "me"), one("10.2.0.0/16", "me"))), HOST).nft
    new = compile_policy(policy(rule("block", one("10.1.0.0/16", "me"), one("10.3.0.0/24", "me"))), HOST).nft
    change = TableChange(old, new, element_changes(old, new))
    kept = [one.name for one in new.maps if one.name in {other.name for other in old.maps} and one.counted]
    fresh = [one.name for one in fresh_maps(change)]
    assert kept
    assert fresh
    assert all(f"map {name} {{" in prepared(change) for name in fresh)
    assert "elements" not in prepared(change)
    text = exchanged(change)
    assert not [name for name in (*kept, *fresh) if f"map {name} {{" in text or f"delete map inet xfrmd {name}" in text]
    assert "delete element" in text
    assert unprepared(change).splitlines() == [f"delete map inet xfrmd {name}" for name in fresh]


def test_a_table_with_something_of_others_in_it_is_replaced_as_a_whole() -> None:
    table = compile_policy(ALL, HOST).nft
    odd = replace(table, chains=(*table.chains, NftChain("set theirs", "", ())))
    change = TableChange(odd, table, {})
    assert exchanged(change) == render(table)
    assert prepared(change) == ""
