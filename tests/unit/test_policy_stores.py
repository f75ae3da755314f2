# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of several stores together: whose filters, settings and credentials hold."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.compiler_cases import ESP_AES, HOST, one, packet, policy, rule, tunnel
from tests.unit.policy_text import GOOD, changed, read
from xfrmd.compiler import compile_and_check, compile_policy
from xfrmd.compiler.explain import explain_whole
from xfrmd.compiler.names import is_strict
from xfrmd.model.pad import PskAuth
from xfrmd.model.plan import Verdict
from xfrmd.model.secret import Secret
from xfrmd.model.source import Severity, Span
from xfrmd.model.store import Store
from xfrmd.policy.stores import merge
from xfrmd.policy.tables import CONFIG
from xfrmd.policy.words import Config, DefaultResponse, PolicySet, Unresolved

PERSISTENT, LOCAL, DIRECTORY = Store.PERSISTENT, Store.LOCAL, Store.DIRECTORY
SMB = one("me", "any", "tcp", dport=445)
OUT = packet("out", "10.1.0.5", "10.1.2.3")


def named(policies: PolicySet, name: str, **changes: object) -> PolicySet:
    assert policies.assigned is not None
    made = replace(policies.assigned, name=name, **changes)  # type: ignore[arg-type]
    return replace(policies, policies=(made,), assigned=made)


def test_the_directory_takes_the_place_of_the_local_store_as_long_as_it_assigns_a_policy() -> None:
    local, directory = named(policy(), "here"), named(policy(), "from the directory")
    both = merge({LOCAL: local, DIRECTORY: directory})
    assert [one.name for one in both.in_force] == ["from the directory"]
    assert [one.store for one in both.in_force] == [DIRECTORY]
    nothing = replace(directory, assigned=None)
    assert [one.name for one in merge({LOCAL: local, DIRECTORY: nothing}).in_force] == ["here"]
    assert merge({}).in_force == ()


def test_the_persistent_policy_stands_beside_each_and_alone() -> None:
    base, local, directory = named(policy(), "base"), named(policy(), "here"), named(policy(), "there")
    assert [one.name for one in merge({PERSISTENT: base, LOCAL: local}).in_force] == ["base", "here"]
    assert [one.name for one in merge({PERSISTENT: base, DIRECTORY: directory}).in_force] == ["base", "there"]
    assert [one.name for one in merge({PERSISTENT: base}).in_force] == ["base"]
    assert compile_policy(merge({PERSISTENT: base, LOCAL: local}), HOST).policy == "base + here"


def test_of_equal_filters_the_persistent_one_wins_though_it_stands_further_down() -> None:
    both = merge({PERSISTENT: policy(rule("block", SMB, line=9)), LOCAL: policy(rule("permit", SMB, line=1))})
    found = explain_whole(both, HOST, OUT).to_json()
    assert (found["verdict"], found["store"], found["rule"]) == ("block", "persistent", "rule 9")
    (loser,) = json.loads(json.dumps(found))["runners_up"]
    assert (loser["store"], loser["lost"]) == ("local", "store")
    assert "persistent store" in loser["why"]
    problem = next(one for one in compile_and_check(both, HOST).problems if one.at.line == 1)
    assert "is of the persistent policy and wins" in problem.message


def test_a_narrower_filter_of_the_other_store_wins_over_a_persistent_one() -> None:
    closed = policy(rule("block", one("me", "any")))
    both = merge({PERSISTENT: closed, LOCAL: policy(rule("permit", one("me", "10.1.2.3", "tcp", dport=445)))})
    assert explain_whole(both, HOST, OUT).verdict is Verdict.PERMIT
    assert explain_whole(merge({PERSISTENT: closed}), HOST, OUT).verdict is Verdict.BLOCK


def test_main_mode_settings_credentials_and_soft_lifetimes_are_those_of_each_filters_own_policy() -> None:
    other = one("me", "10.2.0.0/16")
    base = named(policy(rule("negotiate", SMB, psk=b"base", soft=True)), "base", qmpermm=7, soft_seconds=60)
    both = merge({PERSISTENT: base, LOCAL: policy(rule("negotiate", other, psk=b"local", soft=True), qmpermm=3)})
    plan = compile_policy(both, HOST)
    quick_modes = {entry.auth: entry.main_mode.quick_modes for entry in plan.pad}
    assert quick_modes == {(PskAuth(Secret(b"base")),): 7, (PskAuth(Secret(b"local")),): 3}
    assert {one.origin.store: one.soft_seconds for one in plan.protect} == {PERSISTENT: 60, LOCAL: 300}


def test_rules_of_one_name_in_policies_of_one_name_keep_apart() -> None:
    other = one("me", "10.2.0.0/16", "tcp", dport=445)
    both = merge({PERSISTENT: policy(rule("negotiate", SMB)), LOCAL: policy(rule("negotiate", other))})
    plan = compile_policy(both, HOST)
    assert len({one.reqid for one in plan.protect}) == len(plan.protect)
    same = merge({PERSISTENT: policy(rule("negotiate", SMB)), LOCAL: policy(rule("negotiate", SMB))})
    assert {one.origin.store for one in compile_policy(same, HOST).protect} == {PERSISTENT}


def test_reqids_of_the_local_policy_stay_when_a_persistent_one_comes_and_goes() -> None:
    local = policy(rule("negotiate", one("me", "10.2.0.0/16")))
    alone = compile_policy(local, HOST)
    both = compile_policy(merge({PERSISTENT: policy(rule("block", SMB)), LOCAL: local}), HOST)
    assert {one.reqid for one in both.protect} == {one.reqid for one in alone.protect}


def test_two_tunnels_of_one_name_in_two_stores_find_their_own_ways_back() -> None:
    ours = tunnel("10.1.0.0/16", "10.2.0.0/16", "10.1.0.5", "198.51.100.2")
    theirs = tunnel("10.1.0.0/16", "10.3.0.0/16", "10.1.0.5", "198.51.100.3")
    plan = compile_policy(merge({PERSISTENT: policy(*ours), LOCAL: policy(*theirs)}), HOST)
    assert {str(one.tunnel[1]) for one in plan.protect if one.tunnel} == {"198.51.100.2", "198.51.100.3"}
    halves = merge({PERSISTENT: policy(ours[0]), LOCAL: policy(ours[1])})
    assert {one.verdict for one in compile_policy(halves, HOST).filters} == {Verdict.BLOCK}


def test_between_the_same_hosts_the_persistent_rules_credentials_hold_and_that_is_told() -> None:
    udp = one("me", "any", "udp", dport=53)
    sets = {PERSISTENT: policy(rule("negotiate", SMB, psk=b"base")), LOCAL: policy(rule("negotiate", udp, psk=b"x"))}
    checked = compile_and_check(merge(sets), HOST)
    assert {entry.auth for entry in checked.plan.pad} == {(PskAuth(Secret(b"base")),)}
    told = [
        problem for problem in checked.problems if "is authenticated as the persistent policy's rule" in str(problem)
    ]
    assert [problem.severity for problem in told] == [Severity.WARNING]
    within = policy(rule("negotiate", SMB, psk=b"base"), rule("negotiate", udp, psk=b"x", line=2))
    assert any(problem.severity is Severity.ERROR for problem in compile_and_check(within, HOST).problems)


def test_the_persistent_default_response_rule_holds_where_both_have_one() -> None:
    def responds(psk: bytes) -> DefaultResponse:
        return DefaultResponse((PskAuth(Secret(psk)),), (ESP_AES,), Span("policy.yaml", 1, 1))

    base = named(policy(), "base", default_response=responds(b"base"))
    local = named(policy(), "here", default_response=responds(b"local"))
    for sets, secret in (({PERSISTENT: base, LOCAL: local}, b"base"), ({PERSISTENT: policy(), LOCAL: local}, b"local")):
        plan = compile_policy(merge(sets), HOST)
        assert {entry.auth for entry in plan.pad} == {(PskAuth(Secret(secret)),)}
        assert len(plan.protect) == 2


@pytest.mark.parametrize("strict", [PERSISTENT, LOCAL])
def test_names_without_an_answer_block_in_both_policies_when_one_wants_it(strict: Store) -> None:
    sets = {store: policy(rule("block", one("me", "a.example"))) for store in (PERSISTENT, LOCAL)}
    assert compile_policy(merge(sets), HOST).filters == ()
    both = merge({**sets, strict: named(sets[strict], "strict", unresolved=Unresolved.BLOCK)})
    assert is_strict(both)
    stores = {one.origin.store for one in compile_policy(both, HOST).filters}
    assert stores == {PERSISTENT}  # equal ones: the local filter is cut away


def test_settings_of_the_persistent_policys_file_win_one_by_one_and_that_is_told() -> None:
    def configured(settings: str, text: str = GOOD) -> PolicySet:
        return read(text.replace("version: 1\n", f"version: 1\nconfig: {{{settings}}}\n"))

    base, local = configured("ipsecexempt: 0"), configured("ipsecexempt: 1, management: [23]")
    both = merge({PERSISTENT: base, LOCAL: local})
    assert (both.config.ipsecexempt, both.config.management) == (0, (23,))
    (told,) = both.warnings
    assert "ipsecexempt of this file counts for nothing" in told.message
    assert merge({PERSISTENT: configured("ipsecexempt: 1"), LOCAL: local}).warnings == ()
    assert merge({PERSISTENT: read(GOOD), LOCAL: local}).config.ipsecexempt == 1
    unassigned = configured("ipsecexempt: 0", changed("assign: yes", "assign: no"))
    assert merge({PERSISTENT: unassigned, LOCAL: local}).config.ipsecexempt == 1


def test_each_setting_of_a_file_is_one_of_the_computers_settings() -> None:
    names = {field.name for field in CONFIG.fields}
    assert names <= {*Config.__dataclass_fields__}
    assert read(changed("version: 1", "version: 1\nconfig: {ipsecexempt: 3}")).config.given == {"ipsecexempt"}
