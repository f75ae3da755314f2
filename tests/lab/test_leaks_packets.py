# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of odd shapes, packets that somebody makes up, and what must work under every policy."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from pathlib import Path

import pytest

from lab import topology
from lab.netns import Host
from lab.packets import Flow, Kind
from lab.packets import flow as flow_of
from lab.traffic import Flood, Udp, ping, tcp_echo, udp_echo
from tests.lab import e2e, injection, leaks
from tests.lab.injection import sink

NARROW = e2e.policy(
    "{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7007}\n"
    "      - {srcaddr: any, dstaddr: me, protocol: udp, dstport: 7007}"
)
"""Protects one port; port 7999 is nobody's business."""
BIG = 3000
_FREE = 7999


def shapes_v4(source: str, target: str) -> dict[str, list[bytes]]:
    """The same datagram to port 7007, packed in all ways that a receiver takes; its data is the name of the way."""

    def cut(name: str, at: int, number: int) -> list[bytes]:
        whole = injection.udp(source, target, 40_000, 7007, name.encode())
        parts = (whole[:at], whole[at:])
        return [
            injection.ipv4(source, target, 17, parts[0], more=True, number=number),
            injection.ipv4(source, target, 17, parts[1], offset=at, number=number),
        ]

    backwards = cut("fragments, last first", 16, 3)[::-1]
    return {
        "plain": [injection.datagram(source, target, 40_000, 7007, b"plain")],
        "first fragment of eight octets": cut("first fragment of eight octets", 8, 1),
        "fragments": cut("fragments", 16, 2),
        "fragments, last first": backwards,
    }


def shapes_v6(source: str, target: str) -> dict[str, list[bytes]]:
    """The same for IPv6 (RFC 8200 4)."""

    def body(name: str) -> bytes:
        return injection.udp(source, target, 40_000, 7007, name.encode())

    def packed(name: str, protocol: int, data: bytes) -> tuple[str, list[bytes]]:
        return name, [injection.ipv6(source, target, protocol, data)]

    udp, options = injection.UDP, injection.options
    whole = options(udp) + body("options, fragments")
    return dict(
        [
            packed("plain", udp, body("plain")),
            packed("destination options", injection.DESTINATION, options(udp) + body("destination options")),
            packed("hop by hop", injection.HOP_BY_HOP, options(udp) + body("hop by hop")),
            packed("one fragment", injection.FRAGMENT, injection.part(udp, body("one fragment"))),
            packed(
                "all of them",
                injection.HOP_BY_HOP,
                options(injection.FRAGMENT)
                + injection.part(injection.DESTINATION, options(udp) + body("all of them"), number=9),
            ),
            (
                "options, fragments",
                [
                    injection.ipv6(
                        source, target, 44, injection.part(injection.DESTINATION, whole[:16], more=True, number=7)
                    ),
                    injection.ipv6(
                        source, target, 44, injection.part(injection.DESTINATION, whole[16:], offset=16, number=7)
                    ),
                ],
            ),
        ]
    )


def test_clear_packets_to_a_protected_port_do_not_enter(version: int) -> None:
    with topology.lan(3) as net:
        target, peer, stranger = net.hosts
        shapes = shapes_v4 if version == 4 else shapes_v6
        here, permitted = target.address(version), _FREE
        with (
            leaks.daemons(target, peer, policy=NARROW) as daemons,
            sink(target, here, 7007) as protected,
            sink(target, here, permitted) as free,
        ):
            for source in (stranger.address(version), peer.address(version)):  # the latter is not the sender
                assert injection.arrivals(stranger, target, shapes(source, here), protected, free) == set()
            with leaks.udp_socket(peer, peer.address(version)) as client:
                client.sendto(b"by ESP", (here, 7007))
                protected.wait_for(b"by ESP")
            for source in (stranger.address(version), peer.address(version)):
                assert injection.arrivals(stranger, target, shapes(source, here), protected, free) == set()
            leaks.put(e2e.NOTHING, *daemons)
            wanted = shapes(stranger.address(version), here)
            assert injection.arrivals(stranger, target, wanted, protected, free) == set(wanted)


def statistics(host: Host) -> dict[str, int]:
    """What the kernel counted about packets and SAs in a host."""
    text = host.inside(lambda: Path("/proc/thread-self/net/xfrm_stat").read_text())
    return {name: int(value) for name, value in map(str.split, text.splitlines())}


def test_esp_that_was_sent_before_or_belongs_to_no_sa_does_not_enter(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    here = net.left.v4
    with (
        leaks.daemons(net.left, net.right, policy=NARROW),
        sink(net.left, here, 7007) as protected,
        sink(net.left, here, _FREE) as free,
        leaks.udp_socket(net.right) as client,
    ):
        client.sendto(b"once", (here, 7007))
        protected.wait_for(b"once")
        sent = [one.frame[14:] for one in net.capture.frames if one.host == net.right.name and one.frame[23] == 50]
        (esp,) = sent
        spi = struct.unpack_from("!I", esp, 20)[0]
        changed = {
            "XfrmInStateSeqError": esp,
            "XfrmInNoStates": esp[:20] + struct.pack("!I", spi ^ 1) + esp[24:],
            "XfrmInStateProtoError": esp[:24] + struct.pack("!I", 2) + esp[28:],
        }
        for counter, packet in changed.items():
            before = statistics(net.left)[counter]
            assert injection.arrivals(net.right, net.left, {"once": [packet]}, protected, free) == set()
            assert statistics(net.left)[counter] == before + 1, counter


def test_a_peer_cannot_send_by_an_sa_what_it_was_not_made_for(two_hosts: topology.TwoHosts) -> None:
    """The peer has proved who it is, and puts other packets into its SA than were agreed."""
    net = two_hosts
    here, there = net.left.v4, net.right.v4
    other = NARROW.replace("dstport: 7007", "dstport: 7008").split("filters:")[1].split("filteractions:")[0]
    policy = NARROW.replace("filteractions:", f"  - name: other\n    filters:{other}filteractions:")
    policy += "      - {name: other, filterlist: other, filteraction: require, psk: {file: '{psk}'}}\n"
    with contextlib.ExitStack() as stack:
        _, right = stack.enter_context(leaks.daemons(net.left, net.right, policy=policy))
        sinks = {port: stack.enter_context(sink(net.left, here, port)) for port in (7007, 7008, _FREE)}
        client = stack.enter_context(leaks.udp_socket(net.right))
        client.sendto(b"agreed", (here, 7007))
        sinks[7007].wait_for(b"agreed")
        right.kill()
        states = net.right.run("ip", "xfrm", "state", "list", "src", there, "dst", here).stdout
        spi, reqid = re.findall(r"spi (0x\w+) reqid (\d+)", states)[0]
        key = re.findall(r"aead (\S+) (0x\w+) 128", states)[0]
        sa = ["src", there, "dst", here, "proto", "esp", "spi", spi]
        net.right.run("ip", "xfrm", "state", "delete", *sa)
        more = ["flag", "esn", "replay-window", "64", "replay-oseq", "0x100"]
        wide = [*sa, "reqid", reqid, "mode", "transport", *more, "aead", *key, "128"]
        net.right.run("ip", "xfrm", "state", "add", *wide)
        net.right.run("ip", "xfrm", "policy", "flush")
        net.right.run("nft", "delete", "table", "inet", "xfrmd")
        ends = ["src", f"{there}/32", "dst", f"{here}/32", "dir", "out"]
        net.right.run("ip", "xfrm", "policy", "add", *ends, "tmpl", "proto", "esp", "reqid", reqid, "mode", "transport")
        before = statistics(net.left)["XfrmInStateMismatch"]
        for port in (7008, _FREE, 7007):
            client.sendto(b"by that SA", (here, port))
        sinks[7007].wait_for(b"by that SA")
        assert (sinks[7008].drain(), sinks[_FREE].drain()) == ([], [])
        assert statistics(net.left)["XfrmInStateMismatch"] == before + 2


def test_packets_of_all_shapes_leave_by_esp(two_hosts: topology.TwoHosts, version: int) -> None:
    net = two_hosts
    there = net.right.address(version)
    flow = topology.between(net.left, net.right)
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS)
    with leaks.daemons(net.left, net.right) as daemons, udp_echo(net.right, there):

        def all_shapes() -> None:
            assert ping(net.left, there, 3, size=BIG).lost == 0
            Flood(net.left, Udp(there, size=BIG), rate=100, count=10).start().finish().assert_none_lost()
            with leaks.udp_socket(net.left, net.left.address(version)) as client:
                if version == 6:
                    client.setsockopt(level, option, injection.options(0))
                for port in (500, 4500, 9):  # IKE's ports are IKE's for IKE's sockets only; nobody listens on 9
                    client.sendto(b"hello", (there, port))
            with net.left.inside(lambda: socket.socket(_family(version))) as stream:
                stream.settimeout(10)
                with pytest.raises(ConnectionError):
                    stream.connect((there, 9))

        all_shapes()
        net.capture.assert_protected(flow)
        leaks.put(e2e.NOTHING, *daemons)
        all_shapes()
    net.capture.assert_seen_clear(flow)
    for port in (9, 500, 4500):
        net.capture.assert_seen_clear(topology.between(net.left, net.right, "udp", port_b=port))


def test_icmp_errors_about_protected_packets_are_protected(two_hosts: topology.TwoHosts, version: int) -> None:
    """They quote what they speak of, and no filter here speaks of ICMP."""
    net = two_hosts
    there, flow = net.right.address(version), topology.between(net.left, net.right)
    with leaks.daemons(net.left, net.right, policy=NARROW) as daemons:

        def refused() -> None:
            with leaks.udp_socket(net.left, net.left.address(version)) as client:
                client.settimeout(10)
                client.connect((there, 7007))
                client.send(b"nobody listens there")
                with pytest.raises(ConnectionRefusedError):
                    client.recv(100)

        refused()
        net.capture.assert_protected(flow)
        leaks.put(e2e.NOTHING, *daemons)
        refused()
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def test_a_router_may_say_that_esp_is_too_big_and_nothing_else(version: int) -> None:
    """A link on the way is narrow; TCP has to learn it. A forged message that quotes no ESP does not enter."""
    with topology.two_gateways() as net:
        here, there = net.left_host, net.right_host.address(version)
        router = net.left.links[1].v4.ip if version == 4 else net.left.links[1].v6.ip
        for gateway in (net.left, net.right):
            gateway.run("ip", "link", "set", "eth0", "mtu", "1300")
        with leaks.daemons(here, net.right_host) as (left, _), tcp_echo(net.right_host, there):
            with here.inside(lambda: socket.socket(_family(version))) as stream:
                stream.settimeout(20)
                stream.connect((there, 7007))
                stream.sendall(bytes(5000))
                received = 0
                while received < 5000:
                    received += len(stream.recv(5000))
            net.capture.assert_protected(topology.between(here, net.right_host))
            before = left.ask("counters")["counters"]["nftables"]["fence_in"]
            quoted = injection.datagram(here.address(version), there, 7007, 7007, bytes(40))
            injection.inject(net.left, here, injection.too_big(str(router), here.address(version), quoted), out="eth1")
            e2e.wait_until(
                lambda: left.ask("counters")["counters"]["nftables"]["fence_in"] == before + 1, "the fence drops it"
            )


def test_link_local_neighbours_are_negotiated_with(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with leaks.daemons(net.left, net.right) as daemons:
        shown = net.right.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").stdout
        there = shown.split()[3].partition("/")[0]
        assert ping(net.left, f"{there}%eth0", 3).lost == 0
        net.capture.assert_protected(_link_local())
        leaks.put(e2e.NOTHING, *daemons)
        assert ping(net.left, f"{there}%eth0", 3).lost == 0
    net.capture.assert_seen_clear(_link_local())


def _link_local() -> Flow:
    return flow_of(["fe80::/10"], ["fe80::/10"], "icmpv6")


GROUPS = ("255.255.255.255", "10.1.0.255", "224.0.0.251", "ff02::fb", "ff05::2")


def to_groups(host: Host) -> int:
    """Send to multicast and broadcast addresses; how many the kernel refused."""
    refused = 0
    for group in GROUPS:
        with leaks.udp_socket(host, "::" if ":" in group else "") as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            for _ in range(20):
                try:
                    client.sendto(b"to all", (group, 5353))
                except PermissionError:
                    refused += 1
    return refused


def test_groups_are_not_negotiated_for(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with leaks.daemons(net.left) as (daemon,):
        assert to_groups(net.left) == 20 * len(GROUPS)
        status = daemon.ask("status")
        assert (status["held"].get("held", 0), status["ike_sas"]) == (0, 0)
        assert not [seen for seen in net.capture.packets if seen.packet.kind is Kind.IKE or 5353 in seen.packet.ports]
        leaks.put(e2e.NOTHING, daemon)
        assert to_groups(net.left) == 0
    found = {str(seen.packet.destination) for seen in net.capture.packets if 5353 in seen.packet.ports}
    assert found == set(GROUPS)


@pytest.mark.parametrize("policy", [leaks.BLOCK_ALL, e2e.policy()], ids=["block", "negotiate"])
def test_neighbour_discovery_and_dhcp_live_under_policies_for_all(two_hosts: topology.TwoHosts, policy: str) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right, "icmpv6")
    with leaks.daemons(net.left, policy=policy) as (daemon,), sink(net.left, "", 68) as answers:
        for host in (net.left, net.right):
            host.run("ip", "-6", "neigh", "flush", "dev", "eth0")
        assert ping(net.right, net.left.v6, 1, wait=0.5).received == 0
        assert "lladdr" in net.right.run("ip", "-6", "neigh", "show", net.left.v6).stdout

        answers.send(b"discover", "255.255.255.255", 67)
        net.capture.wait_for(lambda seen: seen.host == net.left.name and seen.packet.ports == (68, 67))
        injection.inject(net.right, net.left, injection.datagram(net.right.v4, "255.255.255.255", 67, 68, b"offer"))
        answers.wait_for(b"offer")
        injection.inject(net.right, net.left, injection.datagram(net.right.v4, net.left.v4, 67, 68, b"ack"))
        answers.wait_for(b"ack")
        assert not [seen for seen in net.capture.clear_packets(flow) if seen.host == net.left.name]
        leaks.put(e2e.NOTHING, daemon)
        assert ping(net.right, net.left.v6, 1).lost == 0
    assert [seen for seen in net.capture.clear_packets(flow) if seen.host == net.left.name]


def test_a_permitted_port_is_reached_under_a_block_of_everything(two_hosts: topology.TwoHosts, version: int) -> None:
    """With no neighbour known: IPv4 asks by ARP, IPv6 by neighbour discovery, which no policy stops."""
    net, there = two_hosts, two_hosts.left.address(version)
    lists = "  - name: ssh\n    filters: [{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 22}]\n"
    rule = "      - {name: ssh, filterlist: ssh, filteraction: permit}\n"
    text = e2e.policy(action="action: block", more_lists=lists, more_rules=rule)
    text = text.replace(f'    qmsecmethods: ["{e2e.QM}"]\n', "", 1)
    with leaks.daemons(net.left, policy=text), tcp_echo(net.left, there, 22), tcp_echo(net.left, there, 23):
        for host in (net.left, net.right):
            host.run("ip", "neigh", "flush", "dev", "eth0")
        assert echoed(net.right, there, 22, patience=5.0)
        assert not echoed(net.right, there, 23, patience=0.5)


def echoed(host: Host, address: str, port: int, *, patience: float) -> bool:
    """Does a TCP service answer a host within these seconds?"""

    def ask() -> bool:
        try:
            with socket.create_connection((address, port), timeout=patience) as made:
                made.sendall(b"hello")
                return made.recv(5) == b"hello"
        except TimeoutError:
            return False

    return host.inside(ask)
