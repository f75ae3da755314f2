# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts files: what they say, what may be left out, and what is wrong with bad ones."""

from __future__ import annotations

import pytest

from xfrmd import limits
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.policy import PolicyErrors
from xfrmd.policy.facts import load_facts


def test_all_keys() -> None:
    facts = load_facts(
        """\
interfaces:
  - {name: eth0, kind: lan, addresses: [10.1.0.5/16, "fd00::5/64"]}
  - {name: ppp0, kind: dialup, addresses: [192.0.2.7]}
  - {name: eth1}
dns_servers: [10.1.0.53, "fd00::53"]
wins_servers: []
dhcp_servers: [10.1.0.1]
default_gateways: [10.1.0.1]
names: {Files.example.: [10.1.0.9, 10.1.0.10]}
redirects: {198.51.100.2: 198.51.100.3}
""",
        "f",
    )
    address = Address.parse
    assert facts == HostFacts(
        interfaces=(
            Interface(
                "eth0",
                InterfaceKind.LAN,
                (InterfaceAddress(address("10.1.0.5"), 16), InterfaceAddress(address("fd00::5"), 64)),
            ),
            Interface("ppp0", InterfaceKind.DIALUP, (InterfaceAddress(address("192.0.2.7"), 32),)),
            Interface("eth1", InterfaceKind.LAN, ()),
        ),
        dns_servers=(address("10.1.0.53"), address("fd00::53")),
        dhcp_servers=(address("10.1.0.1"),),
        default_gateways=(address("10.1.0.1"),),
        names={"files.example": (address("10.1.0.9"), address("10.1.0.10"))},
        redirects={address("198.51.100.2"): address("198.51.100.3")},
    )


@pytest.mark.parametrize("text", ["", "# none\n", "{}", "interfaces: []", "dns_servers: []"])
def test_everything_may_be_left_out(text: str) -> None:
    assert load_facts(text, "f") == HostFacts()


BAD = [
    ("interface: []", (1, 1), "knows no key 'interface'", "did you mean 'interfaces'?"),
    ("interfaces: [{kind: lan}]", (1, 14), "interface has no name", "add name"),
    ("interfaces: [{name: a, kind: wan}]", (1, 30), "none of lan, dialup", "lan"),
    ("interfaces: [{name: a, addresses: [10.0.0.1/33]}]", (1, 36), "'33' is no prefix length", "/0 to /32"),
    ("interfaces: [{name: a, addresses: [10.0.0.]}]", (1, 36), "no address", "10.1.0.5/16"),
    ("interfaces: x", (1, 13), "a list of interfaces", "- "),
    ("dns_servers: [10.0.0.0/8]", (1, 15), "no address", "a.b.c.d"),
    ("dns_servers: 10.0.0.1", (1, 14), "a list of addresses", "- "),
    ("redirects: [a]", (1, 12), "a mapping of addresses", "10.1.0.5: 10.1.0.6"),
    ("redirects: {gw.example: 10.0.0.1}", (1, 13), "no address", "a.b.c.d"),
    ("redirects: {10.0.0.1: gw.example}", (1, 23), "no address", "a.b.c.d"),
    ("redirects: {10.0.0.1: 10.0.0.2, '10.0.0.1': 10.0.0.3}", (1, 33), "stands twice", "ends in one place"),
    ("redirects: {10.0.0.1: 127.0.0.1}", (1, 23), "'127.0.0.1' is no address of one host", "on the network"),
    ("names: [a]", (1, 8), "a mapping of names", "host.example: ["),
    ("names: {a.b: [1]}", (1, 15), "no address", "a.b.c.d"),
    ("names: {a.b: [10.0.0.1], A.B.: [10.0.0.2]}", (1, 26), "'a.b' stands twice", "one list"),
    ("names: {a.b: []}", (1, 14), "a.b has no address here", "leave the name out"),
    ("names: {a.b: [10.0.0.1, 127.0.0.1]}", (1, 25), "'127.0.0.1' is no address of one host", "on the network"),
    ("names: {a.b: [0.0.0.0]}", (1, 15), "'0.0.0.0' is no address of one host", "remove it"),
    ("names: {a.b: [255.255.255.255]}", (1, 15), "no address of one host", "remove it"),
    ("names: {a.b: [239.1.2.3]}", (1, 15), "multicast", "remove it"),
    ("names: {a.b: ['ff02::1']}", (1, 15), "'ff02::1' is no address of one host", "remove it"),
    ("names: {a.b: ['::']}", (1, 15), "'::' is no address of one host", "remove it"),
    ("names: {a.b: ['::ffff:10.0.0.1']}", (1, 15), "no address", "a.b.c.d"),
    ("dns_servers: [127.0.0.53]", (1, 15), "loopback", "on the network"),
    ("interfaces: [{name: lo, addresses: [127.0.0.1/8]}]", (1, 37), "'127.0.0.1' is no address of one host", "remove"),
    ("names: {a: []}", (1, 9), "a DNS name with a dot", "host.example"),
    ("- x", (1, 1), "a mapping for a facts file", "interfaces"),
    ("names: &a {}", (1, 8), "anchor", "remove it"),
]


MANY = ", ".join(f"10.0.0.{n}" for n in range(limits.NAME_ADDRESSES + 1))
BAD.append(
    (f"names: {{a.b: [{MANY}]}}", (1, 14), f"a.b has {limits.NAME_ADDRESSES + 1} IPv4 addresses", "name a subnet")
)


@pytest.mark.parametrize(("text", "place", "message", "remedy"), BAD, ids=[row[0][:50] for row in BAD])
def test_mistakes(text: str, place: tuple[int, int], message: str, remedy: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        load_facts(text, "f")
    (problem,) = caught.value.problems
    assert (problem.at.line, problem.at.column) == place
    assert message in problem.message
    assert remedy in problem.remedy
