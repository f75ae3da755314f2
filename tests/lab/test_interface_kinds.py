# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection types lan and dialup, by real interfaces of every kind that this kernel can make."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.netns import Host, namespaces
from xfrmd.adapters.network import read_network
from xfrmd.compiler import compile_policy
from xfrmd.model.facts import HostFacts, InterfaceKind
from xfrmd.policy import load

LAN, DIALUP = InterfaceKind.LAN, InterfaceKind.DIALUP
ENDS = "local 192.0.2.1 remote 192.0.2.2"
KINDS = (
    ("eth1", "type veth peer name other", LAN),
    ("br0", "type bridge", LAN),
    ("dummy9", "type dummy", LAN),
    ("wlan0", "type dummy", LAN),
    ("wwan0", "type dummy", DIALUP),
    ("wwp0s20f0u4", "type dummy", DIALUP),
    ("wwnet", "type dummy", LAN),
    ("tunl9", f"type ipip {ENDS}", DIALUP),
    ("sit9", f"type sit {ENDS}", DIALUP),
    ("vti9", f"type vti {ENDS} key 5", DIALUP),
    ("xfrm9", "type xfrm if_id 5 dev eth0", DIALUP),
)
_PPPIOCNEWUNIT = 0xC004743E
"""Of <linux/ppp-ioctl.h>."""


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces("kinds") as (made,):
        made.run("ip", "link", "add", "eth0", "type", "dummy")
        yield made


def kind_of(host: Host, name: str) -> InterfaceKind:
    found = host.inside(read_network).interfaces
    return next(one.kind for one in found if one.name == name)


@pytest.mark.parametrize(("name", "made", "kind"), KINDS, ids=[row[0] for row in KINDS])
def test_an_interface_is_lan_or_dialup_by_what_it_is(host: Host, name: str, made: str, kind: InterfaceKind) -> None:
    host.run("ip", "link", "add", name, *made.split())
    assert kind_of(host, name) is kind


@pytest.mark.parametrize(("mode", "kind"), [("tun", DIALUP), ("tap", LAN)])
def test_a_tun_leads_to_one_other_end_and_a_tap_is_a_lan(host: Host, mode: str, kind: InterfaceKind) -> None:
    host.run("ip", "tuntap", "add", f"{mode}7", "mode", mode)
    assert kind_of(host, f"{mode}7") is kind


def test_me_of_a_dialup_rule_is_the_address_of_the_ppp_interface_alone(host: Host) -> None:
    if not Path("/dev/ppp").exists():
        pytest.skip("this kernel has no PPP (CONFIG_PPP)")

    def dial() -> HostFacts:
        """A PPP interface lives as long as its file is open."""
        unit = os.open("/dev/ppp", os.O_RDWR)
        try:
            number = struct.unpack("i", fcntl.ioctl(unit, _PPPIOCNEWUNIT, struct.pack("i", -1)))[0]
            host.run("ip", "addr", "add", "203.0.113.5", "peer", "203.0.113.1", "dev", f"ppp{number}")
            return HostFacts(interfaces=read_network().interfaces)
        finally:
            os.close(unit)

    host.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")
    facts = host.inside(dial)
    assert [one.kind for one in facts.interfaces if one.addresses] == [LAN, DIALUP]
    sources = {}
    for conntype in ("lan", "dialup", "all"):
        policy = f"""version: 1
filterlists: [{{name: f, filters: [{{srcaddr: me, dstaddr: any, mirrored: no}}]}}]
filteractions: [{{name: b, action: block}}]
policies: [{{name: p, assign: yes, rules: [{{name: r, filterlist: f, filteraction: b, conntype: {conntype}}}]}}]
"""
        plan = compile_policy(load(policy, "p.yaml", lambda _: b""), facts)
        sources[conntype] = sorted(str(one.selector.src) for one in plan.filters)
    assert sources == {"lan": ["10.1.0.5"], "dialup": ["203.0.113.5"], "all": ["10.1.0.5", "203.0.113.5"]}
