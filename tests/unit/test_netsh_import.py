# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts of netsh ipsec static become policies that say the same, and what cannot be done yet fails closed."""

from __future__ import annotations

import pytest

from tests.unit.netsh_cases import BASE, PSK, errors_of, imported, policy_of, rule_of, warnings_of
from xfrmd.model.addresses import Prefix
from xfrmd.model.pad import PskAuth
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret
from xfrmd.model.selector import TCP, Ports
from xfrmd.policy.words import Action, AddressWord


def test_a_script_becomes_the_policy_that_it_says() -> None:
    policies = imported(BASE)
    assert policies.assigned is policies.policies[0]
    rule = rule_of(BASE)
    assert (policies.assigned.name, rule.name) == ("Servers", "protect smb")
    assert (rule.filter_list.name, rule.filter_list.description) == ("smb", "file service")
    (one,) = rule.filter_list.filters
    assert (one.src, one.dst) == (AddressWord.ME, (Prefix.parse("10.1.0.0/16"),))
    assert (one.protocol, one.dports, one.mirrored) == (TCP, (Ports(445, 445),), True)
    assert rule.filter_action.action is Action.NEGOTIATE
    assert rule.filter_action.qmsecmethods[0].lifetime == (900, 100_000)
    assert rule.auth == (PskAuth(Secret(PSK.encode())),)
    assert warnings_of(BASE) == []


def _as_batch_file(script: str) -> str:
    return "@echo off\n" + "\n".join(f"netsh ipsec static {line}" for line in script.splitlines()[1:])


@pytest.mark.parametrize(
    "script",
    [
        _as_batch_file(BASE),
        BASE.replace("\n", "\r\n"),
        BASE.replace("pushd ipsec static", "ipsec\nstatic"),
        BASE.replace("pushd", "rem first\n# second\n: third\npushd").replace("add", "ADD", 3),
        BASE.replace("filterlist=", "filterl=").replace("srcaddr=", "srca=").replace("assign=yes", "ass=y"),
        BASE.replace("add filterlist name=smb description=", "add filterlist smb "),
        BASE.encode("utf-16"),
        BASE.encode("utf-8-sig"),
    ],
    ids=["batch", "crlf", "contexts", "comments", "short tags", "by place", "utf-16", "utf-8 mark"],
)
def test_all_forms_of_a_script_say_the_same(script: str | bytes) -> None:
    assert _placeless(rule_of(script)) == _placeless(rule_of(BASE))


def _placeless(rule: object) -> str:
    return repr(rule).replace("Span", "").translate(str.maketrans("", "", "0123456789"))


def test_a_script_in_windows_1252_is_read_and_that_is_told() -> None:
    script = BASE.replace("name=Servers", 'name="Büro"').replace("policy=Servers", 'policy="Büro"').encode("cp1252")
    assert policy_of(script).name == "Büro"
    assert warnings_of(script) == ["6:19: this is not UTF-8: the script is read as Windows-1252"]
    assert errors_of(b"add policy \x81\n") == ["1:12: octet 0x81 is neither UTF-8 nor Windows-1252"]


BY_NAME = "authentication by certificate under an authority's name alone is not built yet"


@pytest.mark.parametrize(
    ("auth", "why"),
    [
        ("kerberos=yes", "Kerberos is not built yet"),
        ("", "Kerberos is not built yet"),
        ('rootca="C=US, O=Example, CN=Root certmap:yes"', BY_NAME),
    ],
)
def test_a_rule_that_cannot_authenticate_blocks(auth: str, why: str) -> None:
    script = BASE.replace(f'psk="{PSK}"', auth)
    rule = rule_of(script)
    assert rule.filter_action.action is Action.BLOCK
    assert rule.description.startswith("[blocks: stands for require with ")
    assert rule.filter_list.filters
    assert warnings_of(script) == [f"7:1: rule 'protect smb' of policy 'Servers' blocks: {why}"]


@pytest.mark.parametrize(
    ("methods", "why"),
    [
        ("AH[MD5]", "AH[MD5] is never negotiated"),
        ("AH[MD5]+ESP[3DES,None]", "AH around ESP is not built"),
        ("ESP[DES,MD5]", "ESP[DES,MD5] is never negotiated"),
    ],
)
def test_an_action_without_a_method_that_is_built_blocks(methods: str, why: str) -> None:
    script = BASE.replace("ESP[AES256,SHA256]:100000k/900s", methods)
    rule = rule_of(script)
    assert (rule.filter_action.name, rule.filter_action.action) == ("require", Action.BLOCK)
    assert rule.filter_action.description == f"[blocks: stands for {methods}]"
    message = f"filter action 'require' has no method that can be negotiated here ({why}): it blocks"
    assert warnings_of(script) == [f"4:1: {message}"]


def test_a_policy_without_a_main_mode_method_blocks_where_it_would_negotiate() -> None:
    script = BASE.replace("AES256-SHA256-3", "DES-MD5-1")
    assert rule_of(script).filter_action.action is Action.BLOCK
    assert len(warnings_of(script)) == 2


def test_other_methods_remain_beside_those_that_are_not_built() -> None:
    script = BASE.replace(f'psk="{PSK}"', f'kerberos=yes psk="{PSK}"').replace(
        'qmsecmethods="', 'qmsecmethods="AH[SHA1] '
    )
    rule = rule_of(script)
    assert rule.filter_action.action is Action.NEGOTIATE
    assert len(rule.filter_action.qmsecmethods) == len(rule.auth) == 1
    first, second = warnings_of(script)
    assert first.startswith("4:1: filter action 'require': 'AH[SHA1]' is left out")
    assert second.startswith("7:1: Kerberos authentication is not built yet: this method is left out")


def test_ah_alone_is_negotiated() -> None:
    rule = rule_of(BASE.replace("ESP[AES256,SHA256]", "AH[SHA256]"))
    assert [one.protocol for one in rule.filter_action.qmsecmethods] == [ProtocolId.AH]


def test_weak_algorithms_are_allowed_as_the_script_has_them_and_that_is_told() -> None:
    script = BASE.replace("AES256,SHA256", "3DES,SHA1").replace("AES256-SHA256-3", "3DES-SHA1-2")
    (proposal,) = rule_of(script).filter_action.qmsecmethods
    assert [one.id for one in proposal.transforms] == [3, 2]
    assert "protect little" in warnings_of(script)[0]


def test_integrity_alone_stays_what_it_is() -> None:
    (proposal,) = rule_of(BASE.replace("ESP[AES256,SHA256]", "ESP[None,SHA1]")).filter_action.qmsecmethods
    assert [one.id for one in proposal.transforms] == [11, 2]


def test_mistakes_that_the_language_finds_are_told_where_the_script_has_them() -> None:
    script = BASE + "add filter filterlist=smb srcaddr=me dstaddr=10.2.0.0 dstmask=16 protocol=TCP mirrored=no\n"
    assert errors_of(script) == ["8:1: rule 'protect smb' negotiates, but this filter knows one direction only"]
    script = BASE.replace(PSK, "short")
    assert warnings_of(script) == ["7:1: a shared secret of 5 octets can be guessed offline"]
