# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads of packets as selectors, against scapy's encoder, and hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet

from xfrmd.adapters import netlink
from xfrmd.adapters.nfqueue import parse
from xfrmd.adapters.packet_headers import read
from xfrmd.errors import KernelError

V4 = IP(src="10.0.0.1", dst="10.0.0.2")
V6 = IPv6(src="fd00::1", dst="fd00::2")


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (V4 / UDP(sport=4000, dport=53), "10.0.0.1:4000 -> 10.0.0.2:53 udp"),
        (
            IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x94\x04\0\0") / TCP(sport=1, dport=2),
            "10.0.0.1:1 -> 10.0.0.2:2 tcp",
        ),
        (V4 / ICMP(type=8, code=0), "10.0.0.1 -> 10.0.0.2 icmp type 8 code 0"),
        (IP(src="10.0.0.1", dst="10.0.0.2", frag=5, proto=17) / b"abcdefgh", "10.0.0.1:0 -> 10.0.0.2:0 udp"),
        (IP(src="10.0.0.1", dst="10.0.0.2", proto=47) / b"abcdefgh", "10.0.0.1:0 -> 10.0.0.2:0 gre"),
        (V6 / UDP(sport=4000, dport=53), "[fd00::1]:4000 -> [fd00::2]:53 udp"),
        (V6 / ICMPv6EchoRequest(), "fd00::1 -> fd00::2 icmpv6 type 128 code 0"),
        (V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP(sport=7, dport=8), "[fd00::1]:7 -> [fd00::2]:8 tcp"),
        (V6 / IPv6ExtHdrRouting(addresses=["fd00::9"]) / TCP(sport=7, dport=8), "[fd00::1]:7 -> [fd00::2]:8 tcp"),
        (V6 / IPv6ExtHdrFragment(offset=0, m=1) / UDP(sport=5, dport=6), "[fd00::1]:5 -> [fd00::2]:6 udp"),
        (V6 / IPv6ExtHdrFragment(offset=9, nh=17) / b"abcdefgh", "[fd00::1]:0 -> [fd00::2]:0 udp"),
    ],
)
def test_addresses_protocol_and_ports_are_found(packet: Packet, text: str) -> None:
    assert str(read(bytes(packet))) == text


def test_a_packet_cut_behind_its_addresses_is_known_without_ports() -> None:
    whole = bytes(V4 / UDP(sport=4000, dport=53))
    assert str(read(whole[:22])) == "10.0.0.1:0 -> 10.0.0.2:0 udp"
    assert read(whole[:19]) is None
    assert read(b"") is None
    assert read(b"\x75" + whole[1:]) is None


def test_endless_extension_headers_end() -> None:
    chain = bytes([0, 0] + [0] * 6) * 30
    found = read(bytes(V6)[:6] + b"\0" + bytes(V6)[7:] + chain)
    assert found is not None
    assert found.protocol == 0


@given(st.binary(max_size=128))
def test_octets_of_any_kind_are_read_or_not(data: bytes) -> None:
    found = read(data)
    assert found is None or found.src.is_host


@given(st.binary(max_size=200))
def test_a_damaged_queue_message_raises_nothing_else(body: bytes) -> None:
    try:
        parse(netlink.Message(0x300, 0, 0, body))
    except KernelError:
        return
