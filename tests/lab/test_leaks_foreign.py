# SPDX-License-Identifier: GPL-2.0-or-later
"""Forwarded traffic, and what belongs to others in the kernel."""

from __future__ import annotations

from lab import topology
from lab.netns import Host
from lab.packets import flow
from lab.traffic import ping
from tests.lab import e2e, injection, leaks

SUBNETS = e2e.policy(
    "{srcaddr: 10.2.0.0/24, dstaddr: 10.3.0.0/24}\n      - {srcaddr: 'fd02::/64', dstaddr: 'fd03::/64'}",
    action="action: block",
).replace(f'    qmsecmethods: ["{e2e.QM}"]\n', "", 1)
"""Nothing goes from one gateway's subnet to the other's."""
PORTS = {"plain": (40_000, 7007), "IKE of strangers": (500, 500), "their NAT traversal": (4500, 4500)}
PORTS |= {"DHCP": (68, 67), "DHCP's answers": (67, 68), "DHCPv6": (546, 547), "DHCPv6's answers": (547, 546)}


def forwarded(net: topology.TwoGateways, version: int) -> list[bytes]:
    """Packets from the left host to the right one that look exempt, and are not."""
    source, target = net.left_host.address(version), net.right_host.address(version)
    made = [injection.datagram(source, target, *ports, name.encode()) for name, ports in PORTS.items()]
    made += [injection.ip(source, target, protocol, bytes(range(40))) for protocol in (50, 51, 47, 132)]
    whole = injection.udp(source, target, 500, 500, b"in two fragments")
    if version == 4:
        made += [
            injection.ipv4(source, target, 17, whole[:16], more=True),
            injection.ipv4(source, target, 17, whole[16:], offset=16),
        ]
    else:
        made.append(injection.ipv6(source, target, 58, injection.icmpv6(source, target, 135, bytes(20)), hops=255))
        made += [
            injection.ipv6(source, target, 44, injection.part(17, whole[:16], more=True)),
            injection.ipv6(source, target, 44, injection.part(17, whole[16:], offset=16)),
        ]
    return made


def test_a_gateway_forwards_nothing_that_a_policy_blocks(version: int) -> None:
    with topology.two_gateways() as net:
        blocked = flow([net.left_host.address(version)], [net.right_host.address(version)])
        made = forwarded(net, version)

        def arrived() -> int:
            """Those, and pings, that the left gateway has sent on to the right one."""
            found = net.capture.packets
            return sum(
                seen.host == net.left.name and seen.link == "eth0" and blocked.carries(seen.packet) for seen in found
            )

        def send() -> None:
            injection.inject(net.left_host, net.left, *made, link="eth1")
            net.left_host.run("ping", "-c", "2", "-W", "0.5", "-i", "0.1", net.right_host.address(version), check=False)

        with leaks.daemons(net.left, policy=SUBNETS) as (daemon,):
            send()
            assert arrived() == 0
            leaks.put(e2e.NOTHING, daemon)
            send()
            e2e.wait_until(lambda: arrived() == len(made) + 2, "all of them are forwarded")


FOREIGN = """
table inet theirs {
    set addresses { type ipv4_addr; elements = { 192.0.2.1 }; }
    chain input { type filter hook input priority 0; policy accept; ip saddr @addresses drop; }
}
"""
_STATE = "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x77 reqid 77 mode tunnel "
_KEYS = "aead rfc4106(gcm(aes)) 0x" + "11" * 20 + " 128"


def rulesets(host: Host) -> tuple[str, str, list[str]]:
    """What is there of others: their table, SAs, and policies as lines with their selector."""
    table = host.run("nft", "list", "table", "inet", "theirs").stdout
    states = host.run("ip", "xfrm", "state").stdout
    policies = host.run("ip", "xfrm", "policy").stdout
    return table, states, [line for line in policies.splitlines() if line.startswith("src 192.0.2.")]


def test_what_belongs_to_others_is_left_alone_and_named_where_it_is_in_the_way(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    host = net.left
    host.run("nft", "-f", "-", stdin=FOREIGN)
    host.run("ip", *(_STATE + _KEYS).split())
    for direction in ("out", "in", "fwd"):
        template = ["tmpl", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "reqid", "77", "mode", "tunnel"]
        selector = ["xfrm", "policy", "add", "src", "192.0.2.8/29", "dst", "192.0.2.16/29", "dir"]
        host.run("ip", *selector, direction, "priority", "3000000000", *template)
    before = rulesets(host)
    icmp = topology.between(net.left, net.right, "icmp")
    with leaks.daemons(net.left, net.right) as (left, right):
        assert ping(net.left, net.right.v4, 1).lost == 0
        leaks.put(leaks.MORE, left)
        leaks.put(e2e.policy(), left)
        assert left.ask("status")["kernel"]["state"] == "equal"

        way = ["src", f"{net.left.v4}/32", "dst", f"{net.right.v4}/32"]
        for direction, ends in (("out", way), ("in", [way[0], way[3], way[2], way[1]])):
            host.run("ip", "xfrm", "policy", "add", *ends, "dir", direction, "priority", "100", "action", "allow")
        way_told = "a foreign policy stands in the way of ours: out"
        e2e.wait_until(lambda: way_told in str(left.ask("status")["kernel"]["reasons"]), "the stranger is told", 5)
        assert ping(net.left, net.right.v4, 2, wait=0.5).received == 0
        net.capture.assert_protected(icmp)
        for direction, ends in (("out", way), ("in", [way[0], way[3], way[2], way[1]])):
            host.run("ip", "xfrm", "policy", "delete", *ends, "dir", direction)
        e2e.wait_until(lambda: left.ask("status")["kernel"]["state"] == "equal", "nobody is in the way")
        assert ping(net.left, net.right.v4, 1).lost == 0
        assert left.stop() == 0
        assert rulesets(host) == before
        left.start()
        leaks.put(e2e.NOTHING, left, right)
        assert rulesets(host) == before
        assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(icmp)
