# SPDX-License-Identifier: GPL-2.0-or-later
"""What good policies mean: each word, its forms and its default."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import GOOD, SECRET, changed, filter_of, problems_of, read
from xfrmd.errors import CredentialError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import Identity, IdType, PskAuth
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.secret import Secret, SecretRef, SecretSource
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, TCP, UDP, Ports
from xfrmd.model.source import Severity, Span
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.words import Action, AddressWord, ConnectionType
from xfrmd.transforms import catalog


def names(proposals: object) -> list[list[str]]:
    assert isinstance(proposals, tuple)
    return [[catalog.name_of(transform) for transform in one.transforms] for one in proposals]


def test_the_smallest_policy_has_every_default() -> None:
    policies = read(GOOD)
    policy = policies.assigned
    assert policy is not None
    assert policy.name == "Servers"
    assert (policy.qmpermm, policy.mmpfs, policy.description) == (0, False, "")
    assert names(policy.mmsecmethods) == [
        ["AES128-GCM", "SHA256", "X25519"],
        ["AES256-GCM", "SHA384", "ECP384"],
        ["AES256", "SHA256", "SHA256", "ECP256"],
        ["AES256", "SHA256", "SHA256", "MODP2048"],
    ]
    assert {one.lifetime for one in policy.mmsecmethods} == {Lifetime(480 * 60)}
    (rule,) = policy.rules
    assert (rule.name, rule.conntype, rule.active) == ("protect smb", ConnectionType.ALL, True)
    assert (rule.local_id, rule.remote_id) == (None, None)
    assert rule.auth == (PskAuth(Secret(SECRET)),)
    action = rule.filter_action
    assert (action.action, action.qmpfs, action.inpass, action.soft) == (Action.NEGOTIATE, False, False, False)
    assert names(action.qmsecmethods) == [
        ["AES128-GCM"],
        ["AES256-GCM"],
        ["AES256", "SHA256"],
        ["AES128", "SHA256"],
    ]
    assert {one.lifetime for one in action.qmsecmethods} == {Lifetime(3600, 100_000)}
    (found,) = rule.filter_list.filters
    assert (found.src, found.dst, found.protocol) == (AddressWord.ME, AddressWord.ANY, TCP)
    assert (found.sports, found.dports, found.mirrored) == ((ANY_PORT,), (Ports(445, 445),), True)
    assert found.at == Span("p.yaml", 5, 9)
    assert policies.warnings == ()


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("10.1.0.5", "10.1.0.5/32"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("255.255.255.255", "255.255.255.255/32"),
        ('"fd00::/64"', "fd00::/64"),
        ("2001:db8::1", "2001:db8::1/128"),
        ('"::/0"', "::/0"),
        ("10.1.0.0, dstmask: 255.255.0.0", "10.1.0.0/16"),
        ("10.1.0.0, dstmask: 16", "10.1.0.0/16"),
        ("10.1.0.7, dstmask: 255.255.255.255", "10.1.0.7/32"),
        ("'fd00::', dstmask: 8", "fd00::/8"),
    ],
)
def test_addresses(text: str, prefix: str) -> None:
    assert filter_of(f"{{srcaddr: me, dstaddr: {text}}}").dst == (Prefix.parse(prefix),)


def test_an_address_range_is_the_prefixes_that_cover_it() -> None:
    found = filter_of("{srcaddr: me, dstaddr: 10.0.0.1-10.0.0.4}").dst
    assert found == tuple(Prefix.parse(text) for text in ("10.0.0.1", "10.0.0.2/31", "10.0.0.4"))


@pytest.mark.parametrize(("text", "word"), [("me", AddressWord.ME), ("ME", AddressWord.ME), ("Any", AddressWord.ANY)])
def test_address_words_have_no_case(text: str, word: AddressWord) -> None:
    assert filter_of(f"{{srcaddr: {text}, dstaddr: 10.0.0.1}}").src is word


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("tcp", TCP),
        ("UDP", UDP),
        ("6", 6),
        ('"17"', 17),
        ("any", 0),
        ("0", 0),
        ("icmp", ICMP),
        ("rdp", 27),
        ("RAW", 255),
    ],
)
def test_protocols(text: str, number: int) -> None:
    assert filter_of(f"{{srcaddr: me, dstaddr: any, protocol: {text}}}").protocol == number


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("445", Ports(445, 445)),
        ('"445"', Ports(445, 445)),
        ("1000-2000", Ports(1000, 2000)),
        ('"1000 - 2000"', Ports(1000, 2000)),
        ("0", ANY_PORT),
        ("any", ANY_PORT),
        ("0-65535", ANY_PORT),
        ("65535", Ports(65535, 65535)),
    ],
)
def test_ports(text: str, ports: Ports) -> None:
    found = filter_of(f"{{srcaddr: me, dstaddr: any, protocol: tcp, srcport: {text}}}")
    assert (found.sports, found.dports) == ((ports,), (ANY_PORT,))


def test_icmp_types_stand_where_ports_stand() -> None:
    found = filter_of("{srcaddr: me, dstaddr: any, protocol: icmp, icmptype: echo-request}")
    assert (found.protocol, found.sports, found.dports) == (ICMP, (Ports(8, 8),), (ANY_PORT,))
    found = filter_of("{srcaddr: me, dstaddr: any, protocol: icmpv6, icmptype: 1, icmpcode: 4}")
    assert (found.protocol, found.sports, found.dports) == (ICMPV6, (Ports(1, 1),), (Ports(4, 4),))


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("no", False), ("true", True), ("False", False), ('"yes"', True), ("NO", False)]
)
def test_flags(text: str, value: bool) -> None:
    permit = changed("action: negotiate", "action: permit").replace("        psk: a shared secret of some length\n", "")
    text = permit.replace("dstport: 445", f"dstport: 445, mirrored: {text}")
    assert read(text).policies[0].rules[0].filter_list.filters[0].mirrored is value


@pytest.mark.parametrize(
    ("method", "transforms", "lifetime"),
    [
        ("ESP[AES128-GCM]", ["AES128-GCM"], Lifetime(3600, 100_000)),
        ("esp[aes256gcm,none]:50000k/600s", ["AES256-GCM"], Lifetime(600, 50_000)),
        ("ESP[AES256,SHA384]:200000k", ["AES256", "SHA384"], Lifetime(3600, 200_000)),
        ("ESP[AES192-CTR,SHA512]", ["AES192-CTR", "SHA512"], Lifetime(3600, 100_000)),
        ("ESP[AES256-CCM]", ["AES256-CCM"], Lifetime(3600, 100_000)),
        ("ESP[None,SHA256]", ["NULL", "SHA256"], Lifetime(3600, 100_000)),
        ("esp[null,sha512]:600s", ["NULL", "SHA512"], Lifetime(600, 100_000)),
        ("ESP[CHACHA20-POLY1305]:900s", ["CHACHA20-POLY1305"], Lifetime(900, 100_000)),
    ],
)
def test_quick_mode_methods(method: str, transforms: list[str], lifetime: Lifetime) -> None:
    text = changed("action: negotiate", f'action: negotiate\n    qmsecmethods: ["{method}"]\n    qmpfs: yes')
    action = read(text).policies[0].rules[0].filter_action
    (proposal,) = action.qmsecmethods
    assert proposal.protocol is ProtocolId.ESP
    assert [catalog.name_of(t) for t in proposal.transforms] == transforms
    assert proposal.lifetime == lifetime
    assert action.qmpfs
    assert not action.inpass


def test_inpass() -> None:
    action = read(changed("action: negotiate", "inpass: yes")).policies[0].rules[0].filter_action
    assert (action.action, action.inpass, action.qmpfs) == (Action.NEGOTIATE, True, False)


def test_one_string_of_methods_as_netsh_has_it_keeps_its_order() -> None:
    text = changed(
        "assign: yes", "assign: yes\n    mmlifetime: 10\n    mmsecmethods: AES256-SHA384-3 AES128GCM-SHA384-ECP384"
    )
    policy = read(text).policies[0]
    assert names(policy.mmsecmethods) == [
        ["AES256", "SHA384", "SHA384", "MODP2048"],
        ["AES128-GCM", "SHA384", "ECP384"],
    ]
    assert [one.lifetime for one in policy.mmsecmethods] == [Lifetime(600), Lifetime(600)]
    assert {one.protocol for one in policy.mmsecmethods} == {ProtocolId.IKE}


def test_additional_key_exchanges_stand_in_the_order_in_which_they_are_made() -> None:
    methods = 'mmsecmethods: ["AES256GCM-SHA384-X25519+MLKEM1024+DHGroup20", "AES256GCM-SHA384-X25519"]'
    hybrid, plain = read(changed("assign: yes", f"assign: yes\n    {methods}")).policies[0].mmsecmethods
    assert [tuple(one) for one in hybrid.transforms[2:]] == [(4, 31, 0), (6, 37, 0), (7, 20, 0)]
    assert names((hybrid,)) == [["AES256-GCM", "SHA384", "X25519", "MLKEM1024", "ECP384"]]
    assert hybrid.additional == hybrid.transforms[3:]
    assert plain.additional == ()


def test_master_pfs_means_one_quick_mode_per_main_mode() -> None:
    policy = read(changed("assign: yes", "assign: yes\n    mmpfs: yes")).policies[0]
    assert (policy.mmpfs, policy.qmpermm) == (True, 1)
    assert read(changed("assign: yes", "assign: yes\n    qmpermm: 7")).policies[0].qmpermm == 7


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("keyid:office-7", Identity(IdType.KEY_ID, b"office-7")),
        ("keyid:0x00A7ff", Identity(IdType.KEY_ID, b"\x00\xa7\xff")),
        ("keyid:a=b, @c", Identity(IdType.KEY_ID, b"a=b, @c")),
        ("host.example", Identity(IdType.FQDN, b"host.example")),
        ('"@host.example"', Identity(IdType.FQDN, b"host.example")),
        ("someone@host.example", Identity(IdType.RFC822_ADDR, b"someone@host.example")),
        ("10.1.0.5", Identity(IdType.IPV4_ADDR, Address.parse("10.1.0.5").packed)),
        ("fd00::5", Identity(IdType.IPV6_ADDR, Address.parse("fd00::5").packed)),
    ],
)
def test_identities(text: str, identity: Identity) -> None:
    rule = read(GOOD + f"        local_id: {text}\n        remote_id: {text}\n").policies[0].rules[0]
    assert (rule.local_id, rule.remote_id) == (identity, identity)


def with_psk(text: str) -> str:
    return changed("psk: a shared secret of some length", f"psk: {text}")


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("{file: /etc/xfrmd/psk}", SecretRef(SecretSource.FILE, "/etc/xfrmd/psk")),
        ("{credential: office}", SecretRef(SecretSource.CREDENTIAL, "office")),
    ],
)
def test_secrets_by_reference_go_through_the_reader(text: str, ref: SecretRef) -> None:
    asked = []

    def reader(wanted: SecretRef) -> bytes:
        asked.append(wanted)
        return SECRET

    policies = load(with_psk(text), "p.yaml", reader)
    assert policies.policies[0].rules[0].auth == (PskAuth(Secret(SECRET)),)
    assert asked == [ref]


def test_a_secret_that_cannot_be_read_is_an_error_with_its_place_unless_told_otherwise() -> None:
    def reader(ref: SecretRef) -> bytes:
        raise CredentialError(f"{ref}: permission denied")

    text = with_psk("{file: /etc/xfrmd/psk}")
    with pytest.raises(PolicyErrors, match=r"p.yaml:16:14: error: file /etc/xfrmd/psk: permission denied"):
        load(text, "p.yaml", reader)
    (problem,) = load(text, "p.yaml", reader, Severity.WARNING).warnings
    assert problem.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("old", "new"),
    [("assign: yes", "assign: no"), ("filteraction: require", "filteraction: require\n        activate: no")],
)
def test_a_secret_of_a_rule_that_is_not_in_force_may_be_missing(old: str, new: str) -> None:
    def reader(ref: SecretRef) -> bytes:
        raise CredentialError("gone")

    text = with_psk("{file: /etc/xfrmd/psk}").replace(old, new)
    assert "gone" in [one.message for one in load(text, "p.yaml", reader).warnings]


def test_the_secret_never_shows() -> None:
    policies = read(with_psk("top-secret"))
    assert "top-secret" not in repr(policies)
    assert "top-secret" not in str(problems_of(with_psk("top-secret")))


def test_yaml_words_that_look_like_values_are_text_where_text_is_meant() -> None:
    text = GOOD.replace("smb", "no").replace("Servers", "0777")
    policy = read(text).policies[0]
    assert (policy.name, policy.rules[0].filter_list.name) == ("0777", "no")
    assert read(with_psk("0123456789012345")).policies[0].rules[0].auth == (PskAuth(Secret(b"0123456789012345")),)


def test_lists_shared_by_rules_are_one_object_and_unassigned_policies_stay() -> None:
    text = (
        GOOD
        + """\
      - {name: again, filterlist: smb, filteraction: require, psk: another secret of good length}
  - name: Other
    rules: [{name: x, filterlist: smb, filteraction: require, psk: another secret of good length}]
"""
    )
    policies = read(text)
    first, second = policies.policies[0].rules
    assert first.filter_list is second.filter_list
    assert first.filter_action is second.filter_action
    assert [policy.name for policy in policies.policies] == ["Servers", "Other"]
    assert policies.assigned is policies.policies[0]


def test_permit_and_block_need_no_authentication() -> None:
    text = changed("action: negotiate", "action: block").replace("        psk: a shared secret of some length\n", "")
    (rule,) = read(text).policies[0].rules
    assert (rule.auth, rule.filter_action.qmsecmethods) == ((), ())
