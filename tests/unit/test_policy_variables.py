# SPDX-License-Identifier: GPL-2.0-or-later
"""Variables: where they stand, what they become, and what goes wrong, with place and without end of memory."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from tests.unit.policy_text import GOOD, SECRET, changed, problems_of, read
from xfrmd import limits
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import Ports
from xfrmd.model.source import Problem
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.schema import json_schema
from xfrmd.policy.sources import Sources, Value
from xfrmd.policy.words import Filter, PolicySet

FILTER = "{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 445}"


def using(variables: str, filter_: str = FILTER) -> str:
    return changed(FILTER, filter_).replace("version: 1", f"version: 1\nvariables: {variables}")


def given(text: str, **variables: Value) -> PolicySet:
    return load(text, "p.yaml", lambda _: SECRET, sources=Sources(variables=variables))


def problems_given(text: str, **variables: Value) -> tuple[Problem, ...]:
    with pytest.raises(PolicyErrors) as caught:
        given(text, **variables)
    return caught.value.problems


def filters(policies: PolicySet) -> tuple[Filter, ...]:
    return policies.policies[0].rules[0].filter_list.filters


def test_a_value_or_a_part_of_one_may_be_a_variable() -> None:
    filter_ = "{srcaddr: me, dstaddr: '10.${net}.0.0/16', protocol: tcp, dstport: '${port}'}"
    text = using("{net: 7, port: 80}", filter_)
    (one,) = filters(read(text))
    assert one.dst == (Prefix.parse("10.7.0.0/16"),)
    assert one.dports == (Ports(80, 80),)


def test_lists_stand_by_themselves_or_are_spliced_into_others() -> None:
    nets = "nets: [10.1.0.0/16, 10.2.0.0/16], all: ['${nets}', 10.3.0.0/16]"
    variables = f"{{{nets}, ports: [80, '443,${{more}}'], more: 8080}}"
    text = using(variables, "{srcaddr: me, dstaddr: ['${all}', me], protocol: tcp, dstport: '${ports}'}")
    found = filters(read(text))
    assert len(found) == 4
    assert found[0].dports == (Ports(80, 80), Ports(443, 443), Ports(8080, 8080))


def test_any_kind_of_value_may_be_one_and_flags_stay_flags() -> None:
    text = using(
        "{flag: no, name: smb, key: a secret that is long enough}", "{srcaddr: me, dstaddr: any, mirrored: yes}"
    )
    text = text.replace("filterlist: smb", "filterlist: ${name}").replace("action: negotiate", "qmpfs: ${flag}")
    rule = read(text.replace("psk: a shared secret of some length", "psk: ${key}")).policies[0].rules[0]
    assert rule.filter_list.name == "smb"
    assert not rule.filter_action.qmpfs


def test_dollars_of_other_kinds_are_text() -> None:
    text = GOOD.replace("name: Servers", "name: Costs $5 and $${x} {y} $")
    assert read(text).policies[0].name == "Costs $5 and ${x} {y} $"


def test_values_from_outside_replace_and_complete() -> None:
    text = using("{net: 10.1.0.0/16}", "{srcaddr: me, dstaddr: ['${net}', '${more}']}")
    found = filters(given(text, net="10.9.0.0/16", more=("10.8.0.0/16", "a.example")))
    assert [one.dst for one in found] == [(Prefix.parse("10.9.0.0/16"),), (Prefix.parse("10.8.0.0/16"),), "a.example"]
    (problem,) = problems_given(using("{net: any}", "{srcaddr: me, dstaddr: '${net}'}"), nte="any")
    assert (problem.at.line, problem.at.column) == (1, 1)
    assert "'nte', which the policy does not use" in problem.message
    assert problem.remedy == "did you mean 'net'?"
    (problem,) = problems_given(GOOD, x="any")
    assert "does not use" in problem.message


ADDRESS = "{srcaddr: me, dstaddr: '${a}'}"
MISTAKES = [
    ("{b: any}", ADDRESS, (6, 32), "there is no variable a", "--var a="),
    ("{net: any}", "{srcaddr: me, dstaddr: '${nte}'}", (6, 32), "there is no variable nte", "did you mean 'net'?"),
    ("{a: '${b}', b: '${c}', c: '${a}'}", ADDRESS, (2, 38), "a stands for itself: a -> b -> c -> a", "write its value"),
    ("{a: '${b}'}", ADDRESS, (2, 16), "there is no variable b", "add it under variables"),
    ("{a: [any, me]}", "{srcaddr: me, dstaddr: 'x${a}'}", (6, 32), "a is a list", "by itself"),
    ("{a: any}", "{srcaddr: me, dstaddr: '${a'}", (6, 32), "'${' is not closed", "${name}"),
    ("{a: any}", "{srcaddr: me, dstaddr: '${1a}'}", (6, 32), "'1a' is no name of a variable", "${name}"),
    ("{a: any}", "{srcaddr: me, dstaddr: '${}'}", (6, 32), "'' is no name of a variable", "${name}"),
    ("{a: mee}", ADDRESS, (6, 32), "'mee' is no address (from variable a)", "'me'"),
    ("{a: ''}", "{srcaddr: me, dstaddr: '${a}'}", (6, 32), "'' is no address (from variable a)", "write me"),
    ("{a: any, a: me}", ADDRESS, (2, 21), "variable a stands twice, first at p.yaml:2:16", "remove one"),
    ("{1: any}", FILTER, (2, 13), "'1' is no name of a variable", "letters"),
    ("{a: []}", FILTER, (2, 16), "the list is empty", "add values"),
    ("{a: {b: c}}", FILTER, (2, 16), "a mapping stands here", "a list of texts"),
    ("{a: [[b]]}", FILTER, (2, 17), "a list stands here", "a text"),
    ("{a: }", FILTER, (2, 16), "there is no value here", "a list of texts"),
    ("[a]", FILTER, (2, 12), "expected is a mapping of names to values", "variables: {"),
    ("{a: b}\nvariables: {c: d}", FILTER, (3, 1), "variables stands twice here, first in line 2", "remove one"),
]


@pytest.mark.parametrize(
    ("variables", "text", "place", "message", "remedy"), MISTAKES, ids=[row[3] for row in MISTAKES]
)
def test_mistakes(variables: str, text: str, place: tuple[int, int], message: str, remedy: str) -> None:
    problem = problems_of(using(variables, text))[0]
    assert (problem.at.line, problem.at.column) == place
    assert message in problem.message
    assert remedy in problem.remedy


def test_an_undefined_variable_is_told_once_for_each_use_and_nothing_of_what_follows() -> None:
    found = problems_of(using("{b: any}", "{srcaddr: '${x}', dstaddr: '${x}'}"))
    assert [one.message for one in found] == ["there is no variable x"] * 2


def use(number: int) -> str:
    return f"${{a{number}}}"


def quoted_use(number: int) -> str:
    return f"'{use(number)}'"


def test_lists_of_lists_cannot_eat_the_memory() -> None:
    rows = ["a0: [any, any, any, any, any, any, any, any, any, any]"]
    rows += [f"a{n}: [{', '.join([quoted_use(n - 1)] * 10)}]" for n in range(1, 12)]
    found = problems_of(using("{" + ", ".join(rows) + "}", "{srcaddr: '${a11}', dstaddr: me}"))
    assert f"more than {limits.VARIABLE_ITEMS} values" in found[0].message


def test_texts_of_texts_neither() -> None:
    rows = ["a0: xxxxxxxxxx", *(f"a{n}: '{use(n - 1) * 10}'" for n in range(1, 12))]
    found = problems_of(using("{" + ", ".join(rows) + "}", "{srcaddr: '${a11}', dstaddr: me}"))
    assert "variables make a text of 10000 characters" in found[0].message


def test_chains_are_bounded() -> None:
    rows = [f"a{n}: '${{a{n + 1}}}'" for n in range(30)] + ["a30: any"]
    found = problems_of(using("{" + ", ".join(rows) + "}", "{srcaddr: '${a0}', dstaddr: me}"))
    assert "16 deep" in found[0].message


def test_a_secret_from_a_variable_is_never_shown() -> None:
    text = changed("psk: a shared secret of some length", "psk: ${key}").replace("assign: yes", "assign: maybe")
    found = problems_given(text, key="top-secret")
    assert "top-secret" not in str(found)
    good = given(changed("psk: a shared secret of some length", "psk: ${key}"), key="top-secret")
    assert "top-secret" not in repr(good)


@pytest.mark.parametrize("text", ["dstport: ${p}", "dstport: [80, '${p}']", "mirrored: ${p}", "dstaddr: ['${p}']"])
def test_the_schema_knows_them(text: str) -> None:
    key = text.partition(":")[0]
    fields = {"srcaddr": "me", "dstaddr": "any", "protocol": "tcp"} | yaml.safe_load(text)
    policy = yaml.safe_load(GOOD)
    policy["filterlists"][0]["filters"] = [fields]
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(policy)) == []
    policy["filterlists"][0]["filters"] = [fields | {key: "${"}]
    assert (list(validator.iter_errors(policy)) == []) == (key == "dstaddr")
