# SPDX-License-Identifier: GPL-2.0-or-later
"""Each topology carries traffic of both versions, and its capture sees that traffic on the links it crosses."""

from __future__ import annotations

import subprocess

import pytest

from lab import packets, topology
from lab.netns import Host, ip_batch
from lab.packets import ESP, ICMP


def ping(source: Host, address: str) -> None:
    source.run("ping", "-q", "-c", "2", "-i", "0.05", "-W", "5", address)


def test_two_hosts_ping_in_the_clear(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    for version, protocol in ((4, "icmp"), (6, "icmpv6")):
        flow = topology.between(net.left, net.right, protocol)
        net.capture.assert_nothing_clear(flow)
        ping(net.left, net.right.address(version))
        net.capture.assert_seen_clear(flow)
        assert len(net.capture.clear_packets(flow)) == 4
        with pytest.raises(AssertionError, match="4 packets in the clear"):
            net.capture.assert_nothing_clear(flow)
        with pytest.raises(AssertionError, match="no ESP"):
            net.capture.assert_seen_esp(flow)


def test_nat_hides_the_inside_and_the_capture_sees_both_sides() -> None:
    with topology.host_nat_host() as net:
        for version in (4, 6):
            ping(net.inside, net.outside.address(version))
        seen = {(each.packet.source, each.packet.destination) for each in net.capture.packets}
        text = {(str(source), str(destination)) for source, destination in seen}
        for inner, outer, far in (("10.1.0.1", "10.2.0.2", "10.2.0.1"), ("fd01::1", "fd02::2", "fd02::1")):
            assert {(inner, far), (outer, far), (far, outer), (far, inner)} <= text
        # The inside's address shows on its own link alone.
        flow = topology.between(net.inside, net.outside)
        assert {each.link for each in net.capture.clear_packets(flow)} == {"eth0"}


def test_two_gateways_forward_between_their_subnets() -> None:
    with topology.two_gateways() as net:
        for version in (4, 6):
            ping(net.left_host, net.right_host.address(version))
        flow = topology.between(net.left_host, net.right_host)
        crossed = {(each.host, each.link) for each in net.capture.clear_packets(flow)}
        assert len(crossed) == 6  # three links, both directions


def test_every_host_of_a_lan_reaches_the_next() -> None:
    with topology.lan(3) as net:
        for number, host in enumerate(net.hosts):
            for version in (4, 6):
                ping(host, net.hosts[(number + 1) % 3].address(version))
        for number, host in enumerate(net.hosts):
            net.capture.assert_seen_clear(topology.between(host, net.hosts[(number + 1) % 3]))


def test_all_is_removed_even_after_a_failure() -> None:
    def fail() -> None:
        with topology.two_hosts() as net:
            net.left.popen("sh", "-c", "sleep 1000 & sleep 1000")
            names.append(net.left.name)
            raise KeyError("a failing test")

    names: list[str] = []
    with pytest.raises(KeyError, match="a failing test"):
        fail()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert names[0] not in left
    running = subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout
    assert "sleep 1000" not in running


def test_a_packet_can_be_awaited(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    waiting = net.left.popen("sh", "-c", f"sleep 0.3; ping -c 1 {net.right.v4}")
    seen = net.capture.wait_for(lambda each: each.packet.protocol == ICMP, timeout=20)
    assert (seen.host, str(seen.packet.destination)) == (net.left.name, net.right.v4)
    waiting.wait(10)
    with pytest.raises(TimeoutError, match=r"icmp \(clear\)"):
        net.capture.wait_for(lambda each: each.packet.protocol == ESP, timeout=0.1)


def test_a_vlan_tag_is_seen(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    for host, address in ((net.left, "10.99.0.1/24"), (net.right, "10.99.0.2/24")):
        ip_batch(
            [
                "link add link eth0 name eth0.7 type vlan id 7",
                f"addr add {address} dev eth0.7",
                "link set eth0.7 up",
            ],
            host,
        )
    ping(net.left, "10.99.0.2")
    flow = packets.flow(["10.99.0.1"], ["10.99.0.2"], "icmp")
    net.capture.assert_seen_clear(flow)
    assert any(each.frame[12:16] == bytes.fromhex("81000007") for each in net.capture.frames)
