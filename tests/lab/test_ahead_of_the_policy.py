# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands ahead of a filter: narrower filters, which ask for no SA, and NAT and forwarding, which hide nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lab import topology
from lab.netns import Host
from lab.traffic import Flood, Ping, Udp, ping, udp_echo
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e, leaks
from tests.lab.injection import sink
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import events, uapi
from xfrmd.ike.events import Acquire
from xfrmd.model.selector import Selector

NARROWER = e2e.policy(
    more_lists=(
        "  - name: web\n    filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 80}, "
        "{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 80}]\n"
        "  - name: gone\n    filters: [{srcaddr: me, dstaddr: 10.1.0.77}, {srcaddr: me, dstaddr: 'fd01::77'}]\n"
        "  - name: notes\n    filters: [{srcaddr: me, dstaddr: any, protocol: udp, dstport: 9}]\n"
        "  - name: pings\n    filters: [{srcaddr: me, dstaddr: any, protocol: icmp}]\n"
    ),
    more_rules=(
        "      - {name: web, filterlist: web, filteraction: permit}\n"
        "      - {name: gone, filterlist: gone, filteraction: block}\n"
        "      - {name: notes, filterlist: notes, filteraction: block}\n"
        "      - {name: pings, filterlist: pings, filteraction: permit}\n"
    ),
)
"""Everything is negotiated, but for what narrower filters permit or block."""


@contextlib.contextmanager
def acquires(host: Host) -> Iterator[socket.socket]:
    """What the kernel of a host tells of packets that want an SA, from now on."""
    with host.inside(lambda: netlink.open_socket(uapi.NETLINK_XFRM, uapi.Group.ACQUIRE)) as news:
        news.setblocking(False)
        yield news


def wanted(news: socket.socket) -> list[Selector]:
    """The packets of the ACQUIREs that have come, and are taken."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            for message in netlink.messages(news.recv(netlink.RECEIVE_SIZE)):
                event = events.decode(message)
                if isinstance(event, Acquire):
                    found.append(event.packet)
    return found


def send(host: Host, kind: socket.SocketKind, address: str, port: int) -> bool:
    """Send a datagram, or the first packet of a connection; False when the policy refuses it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def sent() -> bool:
        with socket.socket(family, kind) as made:
            made.setblocking(False)
            try:
                if kind == socket.SOCK_DGRAM:
                    made.sendto(b"x", (address, port))
                else:
                    made.connect_ex((address, port))
            except PermissionError:
                return False
            return True

    return host.inside(sent)


def test_what_a_narrower_filter_decides_raises_no_acquire(two_hosts: topology.TwoHosts, version: int) -> None:
    net, there = two_hosts, two_hosts.right.address(version)
    with leaks.daemons(net.left, policy=NARROWER), acquires(net.left) as news:
        Flood(net.left, Ping(there), rate=50, count=3).start().finish().assert_none_lost()
        send(net.left, socket.SOCK_STREAM, there, 80)
        send(net.right, socket.SOCK_STREAM, net.left.address(version), 80)  # answered by a reset
        assert not send(net.left, socket.SOCK_DGRAM, there, 9), "a blocked port"
        assert not send(net.left, socket.SOCK_DGRAM, there[:-1] + "77", 7007), "a blocked address"
        net.capture.wait_for(lambda seen: seen.host == net.left.name and seen.packet.ports[0] == 80)
        assert wanted(news) == []

        send(net.left, socket.SOCK_DGRAM, there, 7007)
        (asked,) = wanted(news)
        assert (str(asked.dst), asked.dport.first) == (there, 7007), "a packet of the wide filter asks for an SA"


class Way(NamedTuple):
    """How datagrams go through the nat, in the middle, and the filter that must hear of them."""

    filter: str
    """INSIDE stands for the container's subnet, OUTSIDE for the far host's address."""
    sender: str
    to: str
    """Where they are sent: `outside`, to the `nat` itself, or to `nobody`, whose address is translated."""
    port: int
    receiver: str
    translates: str = ""
    """The hook of the destination NAT."""
    masquerades: bool = True


FREE, PORT, PUBLISHED = 7999, 7007, 8080
"""No filter speaks of the first; the second is what comes to the receiver; the third is that before translation."""
WAYS = {
    "masqueraded, for the container": Way(
        "{srcaddr: INSIDE, dstaddr: any, protocol: udp, dstport: 7007}", "inside", "outside", PORT, "outside"
    ),
    "masqueraded, for the host": Way(
        "{srcaddr: me, dstaddr: any, protocol: udp, dstport: 7007}", "inside", "outside", PORT, "outside"
    ),
    "published, for the host": Way(
        "{srcaddr: any, dstaddr: me, protocol: udp, dstport: 8080}", "outside", "nat", PUBLISHED, "inside", "prerouting"
    ),
    "published, for the container": Way(
        "{srcaddr: any, dstaddr: INSIDE, protocol: udp, dstport: 7007}", "outside", "nat", PUBLISHED, "inside",
        "prerouting",
    ),
    "its own, translated": Way(
        "{srcaddr: me, dstaddr: OUTSIDE, protocol: udp, dstport: 7007}", "nat", "nobody", PUBLISHED, "outside", "output"
    ),
    "forwarded": Way(
        "{srcaddr: INSIDE, dstaddr: any, protocol: udp, dstport: 7007}", "inside", "outside", PORT, "outside",
        masquerades=False,
    ),
}  # fmt: skip
NUMBERS = {4: ("ip", "10.1.0.0/24", "10.2.0.1", "10.2.0.99"), 6: ("ip6", "'fd01::/64'", "'fd02::1'", "fd02::99")}
"""Of each IP version: nftables' name, the container's subnet, the far host, nobody."""


def blocking(text: str) -> str:
    """A policy that blocks instead of negotiating."""
    return text.replace("action: negotiate", "action: block").replace(f'    qmsecmethods: ["{e2e.QM}"]\n', "", 1)


class Middle:
    """Container, host with a daemon, and the world outside. What is asked of one IP version."""

    def __init__(self, net: topology.Nat, daemon: XfrmdHost, version: int) -> None:
        self.net, self.daemon, self.version = net, daemon, version
        self._hosts = {"inside": net.inside, "nat": net.nat, "outside": net.outside}
        self._masquerade = net.nat.run("nft", "list table inet lab_nat").stdout

    def prepare(self, way: Way, text: str) -> None:
        """Set NAT and policy for a way, and forget what went before."""
        remove = "".join(f"add table inet {name}\ndelete table inet {name}\n" for name in ("lab_nat", "translation"))
        added = self._translation(way) if way.translates else ""
        self.net.nat.run("nft", "-f", "-", stdin=remove + self._masquerade * way.masquerades + added)
        leaks.put(text, self.daemon)
        self.net.capture.clear()

    def policy(self, way: Way) -> str:
        _, inside, outside, _ = NUMBERS[self.version]
        return e2e.policy(way.filter.replace("INSIDE", inside).replace("OUTSIDE", outside))

    def receiver(self, way: Way) -> Host:
        return self._hosts[way.receiver]

    def _to(self, way: Way) -> str:
        own = self.net.nat.links[1]
        ends = {"outside": self.net.outside.address(self.version), "nobody": NUMBERS[self.version][3]}
        return ends.get(way.to) or str(own.v4.ip if self.version == 4 else own.v6.ip)

    def _translation(self, way: Way) -> str:
        family = NUMBERS[self.version][0]
        far = self.receiver(way).address(self.version)
        far = f"[{far}]" if ":" in far else far
        rules = "\n".join(
            f"{family} daddr {self._to(way)} udp dport {before} dnat {family} to {far}:{after}"
            for before, after in ((PUBLISHED, PORT), (FREE, FREE))
        )
        hook = f"type nat hook {way.translates} priority -100"
        return f"table inet translation {{\nchain here {{\n{hook}\n{rules}\n}}\n}}\n"

    def send(self, way: Way, data: bytes, port: int) -> None:
        """The policy may refuse it (EPERM), and the kernel what it routes anew while no SA stands (EAGAIN)."""
        sender, refusals = self._hosts[way.sender], (PermissionError, BlockingIOError)
        with leaks.udp_socket(sender, "::" if self.version == 6 else "") as made, contextlib.suppress(*refusals):
            made.sendto(data, (self._to(way), port))

    def in_the_clear(self, way: Way) -> bool:
        """Has the middle sent such datagrams on to the receiver?"""
        others = [host for host in self._hosts.values() if host is not self.receiver(way)]
        flow = topology.between(others, self.receiver(way), "udp", port_b=PORT)
        return any(seen.host == self.net.nat.name for seen in self.net.capture.clear_packets(flow))


@pytest.fixture(scope="module", params=[4, 6], ids=["ipv4", "ipv6"])
def middle(request: pytest.FixtureRequest) -> Iterator[Middle]:
    """One for all ways: each of them sets its own NAT and policy."""
    with topology.host_nat_host() as net, leaks.daemons(net.nat, policy=e2e.NOTHING) as (daemon,):
        yield Middle(net, daemon, request.param)


@pytest.mark.parametrize("action", ["block", "negotiate"])
@pytest.mark.parametrize("name", WAYS)
def test_nat_and_forwarding_hide_nothing(middle: Middle, name: str, action: str) -> None:
    way, text = WAYS[name], middle.policy(WAYS[name])
    middle.prepare(way, text if action == "negotiate" else blocking(text))
    receiver = middle.receiver(way)
    address = receiver.address(middle.version)
    with sink(receiver, address, PORT) as hidden, sink(receiver, address, FREE) as free:
        for _ in range(3):
            middle.send(way, b"under the policy", way.port)
        middle.send(way, b"free", FREE)
        free.wait_for(b"free")
        assert hidden.drain() == []
        assert not middle.in_the_clear(way)

        leaks.put(e2e.NOTHING, middle.daemon)
        middle.send(way, b"without it", way.port)
        hidden.wait_for(b"without it")
        assert middle.in_the_clear(way)


def test_a_masqueraded_container_is_protected_as_its_host(version: int) -> None:
    with topology.host_nat_host() as net, leaks.daemons(net.nat, net.outside):
        there = net.outside.address(version)
        with udp_echo(net.outside, there):
            flood = Flood(net.inside, Udp(there), rate=50).start()
            flood.wait_for(20)
            flood.stop()
            assert ping(net.inside, there, 2).lost == 0
        net.capture.assert_protected(topology.between(net.nat, net.outside))


def test_what_a_program_sends_is_protected_where_nat_sends_it(version: int) -> None:
    with topology.host_nat_host() as net, leaks.daemons(net.nat, net.outside) as (daemon, _):
        family, _, _, nobody = NUMBERS[version]
        there = net.outside.address(version)
        rule = f"{family} daddr {nobody} udp dport 7007 dnat {family} to {there}"
        table = f"table inet translation {{\nchain here {{\ntype nat hook output priority -100\n{rule}\n}}\n}}\n"
        net.nat.run("nft", "-f", "-", stdin=table)
        with udp_echo(net.outside, there):
            with leaks.udp_socket(net.nat, "::" if version == 6 else "") as made, contextlib.suppress(BlockingIOError):
                made.sendto(b"asks for the SA", (nobody, 7007))
            e2e.wait_until(lambda: bool(e2e.child_spis(daemon)), "an SA stands")
            flood = Flood(net.nat, Udp(nobody), rate=50).start()
            flood.wait_for(20)
            flood.stop()
        net.capture.assert_protected(topology.between(net.nat, net.outside))
