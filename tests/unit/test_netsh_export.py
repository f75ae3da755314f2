# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies become scripts of netsh ipsec static; what netsh cannot say is an error, never something wider."""

from __future__ import annotations

import pytest

from tests.unit.netsh_cases import placeless, there_and_back
from tests.unit.policy_text import read
from xfrmd.errors import CredentialError
from xfrmd.model.secret import SecretRef
from xfrmd.model.source import Severity
from xfrmd.netsh.exporting import export_script
from xfrmd.policy import PolicyErrors, load

POLICY = """\
version: 1
allow_weak: yes
filterlists:
  - name: smb
    filters:
      - {srcaddr: me, dstaddr: 10.1.0.0/16, protocol: tcp, dstport: 445}
filteractions:
  - name: require it
    qmsecmethods: "ESP[3DES,SHA1]:100000k/900s"
  - {name: block, action: block}
policies:
  - name: Servers
    assign: yes
    mmsecmethods: [3DES-SHA1-3]
    rules:
      - {name: protect smb, filterlist: smb, filteraction: require it, psk: a shared secret of some length}
"""
FILTER = "{srcaddr: me, dstaddr: 10.1.0.0/16, protocol: tcp, dstport: 445}"
SCRIPT = """\
# For netsh -f. It adds to a store in which these names are free.
pushd ipsec static
add filterlist name=smb
add filter filterlist=smb srcaddr=me dstaddr=10.1.0.0 dstmask=255.255.0.0 protocol=TCP dstport=445
add filteraction name="require it" action=negotiate qmsecmethods="ESP[3DES,SHA1]:100000k/900s"
add policy name=Servers activatedefaultrule=no mmsecmethods=3DES-SHA1-3
add rule name="protect smb" policy=Servers filterlist=smb filteraction="require it" psk="a shared secret of some length"
set policy name=Servers assign=yes
popd
"""


def changed(old: str, new: str) -> str:
    """The policy with one piece in place of another."""
    assert POLICY.count(old) == 1
    return POLICY.replace(old, new)


def test_ah_goes_there_and_back() -> None:
    policies = read(changed("ESP[3DES,SHA1]:100000k/900s", "AH[SHA1]:100000k/300s"))
    assert 'qmsecmethods="AH[SHA1]:100000k/300s"' in export_script(policies).text
    assert placeless(there_and_back(policies)) == placeless(policies)


def written(text: str) -> list[str]:
    """The lines of its script that add filters, without what all have."""
    lines = export_script(read(text)).text.splitlines()
    return [line.removeprefix("add filter filterlist=smb ") for line in lines if line.startswith("add filter ")]


def errors_of(text: str) -> list[str]:
    """Why it cannot be said, with lines."""
    with pytest.raises(PolicyErrors) as caught:
        export_script(read(text))
    return [f"{one.at.line}: {one.message}" for one in caught.value.problems if one.severity.value == "error"]


def test_a_policy_becomes_the_script_that_says_it() -> None:
    made = export_script(read(POLICY))
    assert made.text == SCRIPT
    assert made.problems == ()
    assert placeless(there_and_back(read(POLICY))) == placeless(read(POLICY))


@pytest.mark.parametrize(
    ("entry", "lines"),
    [
        ("{srcaddr: any, dstaddr: me}", ["srcaddr=any dstaddr=me"]),
        ("{srcaddr: me, dstaddr: 10.1.0.5, protocol: icmp}", ["srcaddr=me dstaddr=10.1.0.5 protocol=ICMP"]),
        ('{srcaddr: me, dstaddr: "fd00::/16", protocol: 255}', ["srcaddr=me dstaddr=fd00:: dstmask=16 protocol=RAW"]),
        ("{srcaddr: me, dstaddr: default-gateway, protocol: 47}", ["srcaddr=me dstaddr=GATEWAY protocol=47"]),
        ("{srcaddr: Files.Example, dstaddr: me}", ["srcaddr=files.example dstaddr=me"]),
        ('{srcaddr: me, dstaddr: any, description: "a, b"}', ['srcaddr=me dstaddr=any description="a, b"']),
        (
            "{srcaddr: me, dstaddr: any, protocol: udp, srcport: 53, dstport: [1, 9-10]}",
            [f"srcaddr=me dstaddr=any protocol=UDP srcport=53 dstport={port}" for port in (1, 9, 10)],
        ),
        (
            "{srcaddr: me, dstaddr: 10.1.0.5-10.1.0.8}",
            [
                "srcaddr=me dstaddr=10.1.0.5",
                "srcaddr=me dstaddr=10.1.0.6 dstmask=255.255.255.254",
                "srcaddr=me dstaddr=10.1.0.8",
            ],
        ),
        (
            "{srcaddr: me, dstaddr: [any, 10.1.0.0/16]}",
            ["srcaddr=me dstaddr=any", "srcaddr=me dstaddr=10.1.0.0 dstmask=255.255.0.0"],
        ),
    ],
)
def test_filters_in_netsh_words(entry: str, lines: list[str]) -> None:
    assert written(changed(FILTER, entry)) == lines


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (FILTER, "{srcaddr: me, dstaddr: any, protocol: icmp, icmptype: 8}", "6: netsh knows no types of ICMP"),
        (
            FILTER,
            "{srcaddr: me, dstaddr: any, protocol: sctp, dstport: 9}",
            "6: netsh knows ports of TCP and UDP alone",
        ),
        (
            FILTER,
            "{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 0-9}",
            "6: netsh has no port 0, which means any port there",
        ),
        (
            FILTER,
            "{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 1-300}",
            "6: netsh has no ranges, and 300 filters would stand for this one",
        ),
        (FILTER, "{srcaddr: me, dstaddr: 0.0.0.0/0}", "6: netsh has no word for all addresses of IPv4 alone"),
        ("ESP[3DES,SHA1]:100000k/900s", "ESP[AES128,SHA256]", "8: netsh has no quick mode method ESP[AES128,SHA256]"),
        ("ESP[3DES,SHA1]:100000k/900s", "AH[SHA256]", "8: netsh has no quick mode method AH[SHA256]"),
        ("[3DES-SHA1-3]", "[AES128-SHA256-DHGroup14]", "12: netsh has no main mode method AES128-SHA256-MODP2048"),
        ("[3DES-SHA1-3]", "[3DES-SHA1-5]", "12: netsh has no main mode method 3DES-SHA1-MODP1536"),
        ("assign: yes", "softsaexpirationtime: 60", "12: netsh ipsec static has no softsaexpirationtime"),
        ("assign: yes", "mmauthlifetime: 60", "12: netsh has no mmauthlifetime"),
        ("assign: yes", "forceencapsulation: yes", "12: netsh has no forceencapsulation"),
        ("assign: yes", "resumption: yes", "12: netsh has no resumption"),
        ("assign: yes", "unresolved: block", "12: netsh has no unresolved: block"),
        ("psk: a shared", "remote_id: a.example, psk: a shared", "16: netsh has no remote_id"),
        (
            "name: Servers",
            r'name: "Our \"Servers\""',
            "12: the name of this policy has a quotation mark, line break or control character",
        ),
        (
            "psk: a shared secret of some length",
            r'psk: "a \"shared\" secret of some length"',
            "16: the shared secret has a quotation mark, line break or control character",
        ),
        (
            "name: Servers",
            r'name: Servers, description: "to C:\\"',
            "12: the description of this policy ends with a backslash",
        ),
        ("name: Servers", 'name: " "', "12: the name of this policy is blank"),
    ],
)
def test_what_netsh_cannot_say_is_an_error(old: str, new: str, message: str) -> None:
    assert errors_of(changed(old, new.replace(", description", "\n    description"))) == [message]


RIVAL = (
    "  - name: other\n    filters: [{srcaddr: me, dstaddr: 10.1.0.0/16, protocol: tcp, dstport: 446}]\nfilteractions:"
)


@pytest.mark.parametrize(("ports", "alone"), [("440-449", False), ("446", True), ("440-445", True), ("445,446", True)])
def test_a_range_is_split_only_where_no_other_rule_can_feel_it(ports: str, alone: bool) -> None:
    """The single port 446 of another rule wins over a range that holds it, and would not over its pieces."""
    text = changed("filteractions:", RIVAL).replace("dstport: 445", f'dstport: "{ports}"')
    text += "      - {name: other, filterlist: other, filteraction: block}\n"
    if alone:
        assert len(export_script(read(text)).text) > len(SCRIPT)
    else:
        message = "netsh has no ranges, and split up this filter could win over the one in line 8"
        assert errors_of(text) == [f"6: {message}"]


def test_names_that_differ_in_capital_letters_alone_are_one_name_for_netsh() -> None:
    text = changed("name: block, action", "name: Require It, action")
    text += "      - {name: other, filterlist: smb, filteraction: Require It}\n"
    assert errors_of(text) == ["10: filter actions 'require it' and 'Require It' have the same name for netsh"]


def test_a_secret_that_could_not_be_read_is_no_secret_to_write() -> None:
    def hidden(ref: SecretRef) -> bytes:
        raise CredentialError(f"{ref}: Permission denied")

    text = changed("psk: a shared secret of some length", "psk: {file: /etc/xfrmd/psk}")
    policies = load(text, "p.yaml", hidden, Severity.WARNING)
    with pytest.raises(PolicyErrors, match="the shared secret could not be read"):
        export_script(policies)
    assert "psk=" in export_script(read(text)).text


def test_defaults_are_not_said_as_they_are_others_there_and_that_is_told() -> None:
    text = changed('    qmsecmethods: "ESP[3DES,SHA1]:100000k/900s"\n', "").replace(
        "    mmsecmethods: [3DES-SHA1-3]\n", ""
    )
    made = export_script(read(text))
    assert "methods=" not in made.text
    assert [one.message for one in made.problems] == [
        "no methods are named, so Windows takes its own, 3DES and SHA1, which this host does not accept"
    ]
    assert placeless(there_and_back(read(text))) == placeless(read(text))
    assert (
        export_script(
            read(text.replace("filteraction: require it, psk: a shared secret of some length", "filteraction: block"))
        ).problems
        == ()
    )


def test_other_gateways_of_a_tunnel_are_an_error() -> None:
    text = """\
version: 1
filterlists:
  - name: there
    filters: [{srcaddr: 10.1.0.0/16, dstaddr: 10.2.0.0/16, mirrored: no}]
  - name: back
    filters: [{srcaddr: 10.2.0.0/16, dstaddr: 10.1.0.0/16, mirrored: no}]
filteractions:
  - {name: require, qmsecmethods: "ESP[3DES,SHA1]"}
allow_weak: yes
policies:
  - name: Site
    mmsecmethods: [3DES-SHA1-3]
    rules:
      - {name: out, filterlist: there, filteraction: require, tunnel: 198.51.100.2, redirects: [198.51.100.3], psk: x12}
      - {name: in, filterlist: back, filteraction: require, tunnel: 192.0.2.1, redirects: [198.51.100.3], psk: x12}
"""
    assert errors_of(text) == [f"{line}: netsh has no redirects" for line in (14, 15)]
