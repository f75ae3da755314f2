# SPDX-License-Identifier: GPL-2.0-or-later
"""Ordered authentication of rules and of the default response rule: built, only read, refused."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import SECRET, changed, problems_of, read
from xfrmd import limits
from xfrmd.errors import CredentialError
from xfrmd.model.pad import PskAuth
from xfrmd.model.secret import Secret, SecretRef
from xfrmd.model.source import Severity
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.words import DefaultResponse, Unresolved

PSK = "psk: a shared secret of some length"


def with_auth(text: str) -> str:
    return changed(PSK, text)


def secrets(text: str) -> list[bytes]:
    (rule,) = read(with_auth(text)).policies[0].rules
    return [one.secret.reveal() for one in rule.auth if isinstance(one, PskAuth)]


ORDERED = """\
auth:
          - psk: the first secret, quite long
          - kerberos: yes
          - psk: {file: /etc/xfrmd/psk}
          - rootca: "C=DE, CN=Some CA certmap:no"
"""


def test_methods_keep_their_order_and_those_not_built_are_left_out_and_told() -> None:
    assert secrets(ORDERED) == [b"the first secret, quite long", SECRET]
    kerberos, certificate = problems_of(with_auth(ORDERED))
    assert (kerberos.severity, kerberos.at.line, kerberos.at.column) == (Severity.WARNING, 18, 23)
    assert "Kerberos authentication is not built yet: this method is left out" in kerberos.message
    assert "under an authority's name alone is not built yet: this method is left out" in certificate.message


# rfc 7296: psk-input
@pytest.mark.parametrize("size", [16, 64, 200])
def test_a_secret_may_be_given_in_hexadecimal_octets_that_are_no_text_among_them(size: int) -> None:
    octets = bytes(range(256))[-size:]
    assert secrets(f"psk: {{hex: {octets.hex()}}}") == [octets]
    assert secrets("psk: {hex: '0011 2233 4455 6677 8899 aabb ccdd eeff'}") == [
        bytes.fromhex("00112233445566778899aabbccddeeff")
    ]


@pytest.mark.parametrize("text", ["0123z567", "012", "0x0123"])
def test_what_is_no_hexadecimal_is_refused_and_not_shown(text: str) -> None:
    (problem,) = problems_of(with_auth(f"psk: {{hex: '{text}'}}"))
    assert "no octets in hexadecimal" in problem.message
    assert text not in problem.message + problem.remedy
    (both,) = problems_of(with_auth("psk: {hex: 00112233445566778899aabbccddeeff, file: /etc/xfrmd/psk}"))
    assert "one place" in both.message


def test_netsh_s_keys_stand_in_their_order_too() -> None:
    assert secrets("kerberos: yes\n        psk: a shared secret of some length") == [b"a shared secret of some length"]
    assert problems_of(with_auth("kerberos: no\n        psk: a shared secret of some length")) == ()


MISTAKES = [
    ("kerberos: yes", (16, 9), "Kerberos authentication is not built yet, and there is no other", "action be block"),
    ("auth: [{kerberos: yes}, {rootca: CN=x}]", (16, 27), "Kerberos authentication is not built yet", "add a psk"),
    ("rootca: CN=x", (16, 17), "under an authority's name alone is not built yet", "rootca: {ca: {file:"),
    ("kerberos: no", (13, 9), "a rule that negotiates needs a psk or a rootca", "psk: {file: /etc/xfrmd/psk}"),
    ("auth: []", (16, 15), "list of authentication methods is empty", "add"),
    ("auth: [{}]", (16, 16), "expected is one method", "psk: {file:"),
    ("auth: [{kerberos: no}]", (16, 16), "expected is one method", "psk: {file:"),
    ("auth: [{psk: x y z, kerberos: yes}]", (16, 16), "expected is one method", "psk: {file:"),
    ("auth: [{certificate: x}]", (16, 17), "certificate: choosing a certificate is not built", "rootca"),
    ("auth: [{pks: x}]", (16, 17), "knows no key 'pks'", "'psk'"),
    ("auth: x", (16, 15), "expected is a list of authentication methods", "- "),
    ("auth: [{psk: x y z}]\n        kerberos: yes", (17, 19), "kerberos stands beside auth", "as an entry of auth"),
]


@pytest.mark.parametrize(("text", "place", "message", "remedy"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistakes(text: str, place: tuple[int, int], message: str, remedy: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        read(with_auth(text))
    problem = next(one for one in caught.value.problems if one.severity is Severity.ERROR)
    if text == "kerberos: yes":
        place = (16, 19)
    assert (problem.at.line, problem.at.column) == place
    assert message in problem.message
    assert remedy in problem.remedy


def test_the_list_is_bounded_and_repeats_are_told() -> None:
    (problem,) = problems_of(with_auth("auth: [{psk: the same secret twice}, {psk: the same secret twice}]"))
    assert "this method stands twice" in problem.message
    many = ", ".join(f"{{psk: secret number {n} of many}}" for n in range(limits.AUTH_METHODS + 1))
    (problem,) = problems_of(with_auth(f"auth: [{many}]"))
    assert "17 authentication methods" in problem.message
    assert "secret number" not in str(problem)


@pytest.mark.parametrize("action", ["block", "permit"])
def test_methods_have_no_meaning_without_negotiation(action: str) -> None:
    text = with_auth("auth: [{psk: the secret of the rule}]").replace("action: negotiate", f"action: {action}")
    (problem,) = problems_of(text)
    assert problem.severity is Severity.WARNING
    assert "auth has no meaning" in problem.message
    assert read(text).policies[0].rules[0].auth == ()


DEFAULT = """\
assign: yes
    activatedefaultrule: yes
    softsaexpirationtime: 600
    unresolved: block
    defaultrule:
      auth: [{psk: {file: /etc/xfrmd/psk}}]
      qmsecmethods: ["ESP[AES256-GCM]"]
      qmpfs: yes
"""


def test_the_default_response_rule() -> None:
    policy = read(changed("assign: yes\n", DEFAULT)).policies[0]
    rule = policy.default_response
    assert isinstance(rule, DefaultResponse)
    assert rule.auth == (PskAuth(Secret(SECRET)),)
    assert (len(rule.qmsecmethods), rule.qmpfs, rule.at.line) == (1, True, 16)
    assert (policy.soft_seconds, policy.unresolved) == (600, Unresolved.BLOCK)
    plain = read(changed("assign: yes\n", "assign: yes\n")).policies[0]
    assert (plain.default_response, plain.soft_seconds, plain.unresolved) == (None, 300, Unresolved.KEEP)


def test_a_default_response_rule_that_is_not_active_is_told_and_not_used() -> None:
    text = changed("assign: yes\n", DEFAULT.replace("activatedefaultrule: yes", "activatedefaultrule: no"))
    (problem,) = problems_of(text)
    assert "is not active" in problem.message
    assert read(text).policies[0].default_response is None


def test_the_secret_of_the_default_response_rule_must_be_readable_when_it_is_in_force() -> None:
    def gone(ref: SecretRef) -> bytes:
        raise CredentialError("gone")

    text = changed("assign: yes\n", DEFAULT)
    with pytest.raises(PolicyErrors, match="gone"):
        load(text, "p.yaml", gone)
    assert load(text.replace("assign: yes", "assign: no"), "p.yaml", gone).assigned is None


def test_settings_of_the_computer() -> None:
    assert read(changed("version: 1", "version: 1\nconfig: {ipsecexempt: 1}")).config.ipsecexempt == 1
    assert read(changed("version: 1", "version: 1\nconfig: {}")).config.ipsecexempt == 3
    assert read(changed("version: 1", "version: 1")).config.ipsecexempt == 3


def test_soft_is_the_action_s() -> None:
    action = read(changed("action: negotiate", "soft: yes")).policies[0].rules[0].filter_action
    assert action.soft
    (problem,) = problems_of(
        changed("action: negotiate", "action: permit\n    soft: yes").replace(f"        {PSK}\n", "")
    )
    assert "soft has no meaning with action: permit" in problem.message


def test_a_policy_of_the_default_response_rule_alone_needs_nothing_else() -> None:
    text = """version: 1
policies:
  - name: Client (Respond Only)
    assign: yes
    activatedefaultrule: yes
    defaultrule: {psk: {file: /etc/xfrmd/psk}}
    rules: []
"""
    made = load(text, "policy.yaml", lambda _: b"a long shared secret of both")
    assert made.assigned is not None
    assert made.assigned.rules == ()
    assert made.assigned.default_response is not None
    with pytest.raises(PolicyErrors, match="the list of rules is empty"):
        load(text.replace("rule: yes", "rule: no"), "policy.yaml", lambda _: b"a long shared secret of both")
