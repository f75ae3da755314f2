# SPDX-License-Identifier: GPL-2.0-or-later
"""What entries of a filter list stand for: words, names, and lists that make many filters of one entry."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import problems_of, read, with_filter
from xfrmd import limits
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import ANY_PORT, Ports
from xfrmd.model.source import Severity
from xfrmd.policy.words import AddressSpec, AddressWord, Filter


def filters_of(text: str) -> tuple[Filter, ...]:
    (rule,) = read(with_filter(text)).policies[0].rules
    return rule.filter_list.filters


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("dns-servers", AddressWord.DNS_SERVERS),
        ("DNS", AddressWord.DNS_SERVERS),
        ("wins-servers", AddressWord.WINS_SERVERS),
        ("WINS", AddressWord.WINS_SERVERS),
        ("dhcp-server", AddressWord.DHCP_SERVER),
        ("DHCP", AddressWord.DHCP_SERVER),
        ("Default-Gateway", AddressWord.DEFAULT_GATEWAY),
        ("gateway", AddressWord.DEFAULT_GATEWAY),
        ("Files.EXAMPLE.", "files.example"),
        ("_ldap._tcp.corp.example", "_ldap._tcp.corp.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a.b.c.d", "a.b.c.d"),
    ],
)
def test_words_of_servers_and_names_stand_opposite_me(text: str, spec: AddressSpec) -> None:
    for form in ("{{srcaddr: me, dstaddr: {}}}", "{{srcaddr: {}, dstaddr: me}}"):
        (one,) = filters_of(form.format(text))
        assert {one.src, one.dst} == {AddressWord.ME, spec}


def test_lists_of_addresses_are_the_product_of_their_filters_at_one_place() -> None:
    found = filters_of("{srcaddr: [me, 10.1.0.0/16], dstaddr: [10.2.0.5, host.example], protocol: tcp, dstport: 80}")
    net, host = (Prefix.parse("10.1.0.0/16"),), (Prefix.parse("10.2.0.5"),)
    assert [(one.src, one.dst) for one in found] == [
        (AddressWord.ME, host),
        (AddressWord.ME, "host.example"),
        (net, host),
        (net, "host.example"),
    ]
    assert {one.at for one in found} == {found[0].at}
    assert {(one.protocol, one.dports) for one in found} == {(6, (Ports(80, 80),))}


def test_in_lists_of_both_ip_versions_each_meets_its_own() -> None:
    found = filters_of("{srcaddr: [10.1.0.0/16, 'fd01::/16'], dstaddr: [10.2.0.5, 'fd02::5']}")
    four, six = ("10.1.0.0/16", "10.2.0.5"), ("fd01::/16", "fd02::5")
    ends = [tuple((Prefix.parse(end),) for end in pair) for pair in (four, six)]
    assert [(one.src, one.dst) for one in found] == ends


@pytest.mark.parametrize("text", ["[443, 80, 1000-2000]", "'80,443,1000-2000'", "['1000 - 2000', '443, 80']"])
def test_lists_of_ports_have_no_order(text: str) -> None:
    (one,) = filters_of(f"{{srcaddr: me, dstaddr: any, protocol: tcp, srcport: any, dstport: {text}}}")
    assert one.sports == (ANY_PORT,)
    assert one.dports == (Ports(80, 80), Ports(443, 443), Ports(1000, 2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{srcaddr: [10.0.0.1, 10.0.0.1], dstaddr: me}", "address stands twice"),
        ("{srcaddr: [a.example, A.example.], dstaddr: me}", "address stands twice"),
        ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: [80, 80]}", "port 80 stands twice"),
    ],
)
def test_what_stands_twice_counts_once_and_is_told(text: str, message: str) -> None:
    (problem,) = problems_of(with_filter(text))
    assert problem.severity is Severity.WARNING
    assert message in problem.message
    (one,) = filters_of(text)
    assert len(one.dports) == 1


def test_products_are_bounded() -> None:
    def ports(count: int) -> str:
        return f"[{', '.join(str(2 * number + 1) for number in range(count))}]"

    hosts = f"[{', '.join(f'10.0.0.{number}' for number in range(1, 66))}]"
    text = f"{{srcaddr: {hosts}, dstaddr: any, protocol: tcp, dstport: {ports(limits.PORT_RANGES)}}}"
    (problem,) = problems_of(with_filter(text))
    assert "stands for 66560 filters" in problem.message
    (problem,) = problems_of(with_filter(f"{{srcaddr: me, dstaddr: any, protocol: udp, srcport: {ports(1025)}}}"))
    assert "1025 entries" in problem.message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("protocol: icmp, icmptype: source-quench", 4),
        ("protocol: icmp, icmptype: Timestamp-Request", 13),
        ("protocol: icmpv6, icmptype: multicast-listener-report-v2", 143),
        ("protocol: icmpv6, icmptype: parameter-problem", 4),
    ],
)
def test_icmp_types_have_their_iana_names(text: str, kind: int) -> None:
    (one,) = filters_of(f"{{srcaddr: me, dstaddr: any, {text}}}")
    assert one.sports == (Ports(kind, kind),)
    assert one.dports == (ANY_PORT,)
