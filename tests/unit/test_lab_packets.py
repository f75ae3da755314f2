# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's eye for clear packets, on packets built by scapy: wherever it could be fooled, it must say clear."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapReader

from lab.capture import Captured, pcap
from lab.packets import Flow, IpPacket, Kind, flow, parse_frame, resolve_fragments

A4, B4, A6, B6 = "10.1.0.1", "10.1.0.2", "fd01::1", "fd01::2"
# Given, because scapy would ask the network for what is left out.
MAC = "02:00:00:00:00:01"
LINK = Ether(src=MAC, dst=MAC)
SMB = flow([A4, A6], [B4, B6], "tcp", port_b=445)
ANY = flow([A4, A6], [B4, B6])


def parsed(packet: Packet, ether: Packet | None = None) -> IpPacket:
    found = parse_frame(bytes((ether or LINK) / packet))
    assert found is not None
    return found


def cut(packet: Packet) -> list[Packet]:
    pieces: Callable[[Packet, int], list[Packet]] = fragment6 if packet.version == 6 else fragment
    return pieces(packet, 1000)


def clear(packet: Packet, of: Flow = ANY) -> bool:
    found = parsed(packet)
    return found.kind is Kind.CLEAR and of.carries(found)


@pytest.mark.parametrize("tags", [[], [Dot1Q(vlan=5)], [Dot1Q(vlan=5, type=0x8100), Dot1Q(vlan=6)]])
def test_vlan_tags_hide_nothing(tags: list[Packet]) -> None:
    ether: Packet = LINK
    for tag in tags:
        ether = ether / tag
    found = parsed(IP(src=A4, dst=B4) / TCP(sport=40000, dport=445), ether)
    assert SMB.carries(found)
    assert found.ports == (40000, 445)


@pytest.mark.parametrize(
    "headers",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["fd01::9"]),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(id=7) / IPv6ExtHdrDestOpt(),
    ],
)
def test_extension_headers_hide_nothing(headers: Packet) -> None:
    assert clear(IPv6(src=A6, dst=B6) / headers / TCP(sport=40000, dport=445), SMB)


@pytest.mark.parametrize("source_port", [445, 40000])
def test_ports_belong_to_their_side(source_port: int) -> None:
    back = parsed(IP(src=B4, dst=A4) / TCP(sport=source_port, dport=50000))
    assert SMB.carries(back) is (source_port == 445)
    assert not SMB.carries(parsed(IP(src=A4, dst=B4) / TCP(sport=445, dport=50000)))


def test_what_is_another_flow_is_not_carried() -> None:
    assert not clear(IP(src=A4, dst="10.1.0.3") / TCP(dport=445), SMB)
    assert not clear(IP(src=A4, dst=B4) / UDP(dport=445), SMB)
    assert not clear(IP(src=A4, dst=B4) / TCP(dport=446), SMB)
    assert parse_frame(bytes(Ether(src=MAC, dst=MAC, type=0x0806) / Raw(bytes(28)))) is None


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (ESP(spi=0x1234, seq=9, data=bytes(40)), Kind.ESP),
        (AH(spi=0x1234, seq=9, icv=bytes(12)), Kind.AH),
        (UDP(sport=4500, dport=4500) / ESP(spi=0x1234, seq=9, data=bytes(40)), Kind.UDP_ESP),
        (UDP(sport=4500, dport=1025) / Raw(bytes(4) + bytes(28)), Kind.IKE),
        (UDP(sport=4500, dport=4500) / Raw(b"\xff"), Kind.IKE),
        (UDP(sport=500, dport=500) / Raw(bytes(28)), Kind.IKE),
        (UDP(sport=500, dport=500) / Raw(b"a short secret"), Kind.CLEAR),
        (UDP(sport=4500, dport=4500) / Raw(b"short secret"), Kind.CLEAR),
        (UDP(sport=4501, dport=4501) / ESP(spi=0x1234, seq=9, data=bytes(40)), Kind.CLEAR),
        (TCP(sport=4500, dport=4500), Kind.CLEAR),
        (ICMP(), Kind.CLEAR),
    ],
)
def test_kinds(packet: Packet, kind: Kind) -> None:
    found = parsed(IP(src=A4, dst=B4) / packet)
    assert found.kind is kind
    if kind in (Kind.ESP, Kind.AH, Kind.UDP_ESP):
        assert (found.spi, found.sequence) == (0x1234, 9)


def test_neighbour_discovery_is_no_traffic_of_a_flow_and_a_ping_is() -> None:
    assert parsed(IPv6(src=A6, dst=B6) / ICMPv6ND_NS(tgt=B6)).kind is Kind.NEIGHBOUR
    assert clear(IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(), flow([A6], [B6], "icmpv6"))


@pytest.mark.parametrize("version", [4, 6])
def test_later_fragments_of_clear_packets_are_clear(version: int) -> None:
    body = UDP(sport=40000, dport=53) / Raw(bytes(3000))
    if version == 4:
        packet: Packet = IP(src=A4, dst=B4, id=77) / body
    else:
        packet = IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(id=77) / body
    found = resolve_fragments([parsed(part) for part in cut(packet)])
    assert len(found) > 2
    assert [each.kind for each in found] == [Kind.CLEAR] * len(found)
    # The ports of later ones are not seen: they count for every port.
    dns = flow([A4, A6], [B4, B6], "udp", port_b=53)
    other = flow([A4, A6], [B4, B6], "udp", port_b=54)
    assert all(dns.carries(each) for each in found)
    assert [other.carries(each) for each in found] == [False] + [True] * (len(found) - 1)


def test_later_fragments_of_esp_are_not_clear_and_of_encapsulated_esp_neither() -> None:
    for carrier in (ESP(spi=1, seq=1, data=bytes(3000)), UDP(sport=4500, dport=4500) / ESP(spi=1, data=bytes(3000))):
        found = [parsed(part) for part in cut(IP(src=A4, dst=B4, id=78) / carrier)]
        assert {each.kind for each in resolve_fragments(found)} == {found[0].kind}
        assert found[0].kind in (Kind.ESP, Kind.UDP_ESP)
    # Without the first fragment nothing shows that it is ESP.
    assert resolve_fragments(found[1:])[0].kind is Kind.CLEAR


def test_a_tunnel_in_the_clear_carries_what_is_inside() -> None:
    inner = IPv6(src=A6, dst=B6) / TCP(dport=445)
    assert clear(IP(src="192.0.2.1", dst="192.0.2.2", proto=41) / inner, SMB)
    assert parsed(IP(src="192.0.2.1", dst="192.0.2.2", proto=4) / IP(src=A4, dst=B4) / ESP(spi=1)).kind is Kind.ESP


def test_a_saved_capture_is_a_pcap_file_that_others_read(tmp_path: Path) -> None:
    frame = bytes(LINK / IP(src=A4, dst=B4) / ICMP())
    captured = [Captured(1_700_000_000_123_456_789 + number, "left", "eth0", frame) for number in (0, 1)]
    (tmp_path / "pcap").write_bytes(pcap(captured))
    with PcapReader(str(tmp_path / "pcap")) as reader:
        packets = list(reader)
    assert [bytes(packet) for packet in packets] == [frame, frame]
    assert packets[0].haslayer(ICMP)
    assert [packet.time for packet in packets] == [Decimal("1700000000.123456789"), Decimal("1700000000.123456790")]


@pytest.mark.parametrize("length", range(14, 80))
def test_cut_packets_are_no_error_and_stay_clear(length: int) -> None:
    frame = bytes(LINK / IPv6(src=A6, dst=B6) / IPv6ExtHdrDestOpt() / TCP(sport=40000, dport=445))[:length]
    found = parse_frame(frame)
    if length < 54:
        assert found is None
    else:
        assert found is not None
        assert found.kind is Kind.CLEAR
        assert ANY.carries(found)
