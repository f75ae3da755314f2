# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/decisions/0003 in the kernel: a peer's packets go as soon as its SA stands, whoever waits before them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import socket
import time
from collections.abc import Callable, Coroutine, Iterator

import pytest

from lab import topology
from lab.netns import Host
from lab.packets import flow
from xfrmd import limits
from xfrmd.adapters.hold import PacketHold
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.sysctl import keep_first_packets
from xfrmd.adapters.xfrm.sockets import XfrmSocket, add_policy
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import compile_policy
from xfrmd.daemon.packets import NegotiatedPackets
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import UDP, Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry
from xfrmd.policy import load
from xfrmd.transforms import catalog

POLICY = """
version: 1
filterlists:
  - {name: all, filters: [{srcaddr: me, dstaddr: any, mirrored: yes}]}
filteractions:
  - {name: require, action: negotiate, qmsecmethods: ["ESP[AES128-GCM]:100000k/3600s"]}
policies:
  - name: protected
    assign: yes
    mmsecmethods: [AES128GCM-SHA256-X25519]
    rules: [{name: all, filterlist: all, filteraction: require, psk: "not used in this test"}]
"""
ABSENT = {4: "10.1.0.99", 6: "fd01::99"}
PORT = 9000
BURST = 20
WAIT = 5.0
_spi = itertools.count(0x1000)


def plan_for(host: Host, policy: str = POLICY) -> Plan:
    """The policy, compiled for a host."""
    addresses = tuple(
        InterfaceAddress(Address.parse(str(end.ip)), end.network.prefixlen)
        for link in host.links
        for end in (link.v4, link.v6)
    )
    facts = HostFacts(interfaces=(Interface("eth0", InterfaceKind.LAN, addresses),))
    return compile_policy(load(policy, "policy", lambda _: b""), facts)


class Protected:
    """A host with the policy in force and its packets held, but without IKE. Made and used inside the host."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.wanted: list[Selector] = []
        self.xfrm = XfrmSocket()
        self.packets = NegotiatedPackets(plan)
        self.queue = PacketHold(self.packets.reqid, lambda _, packet: self.wanted.append(packet), self.kick)
        assert keep_first_packets() == ""
        nft = NftLoader()
        try:
            assert Reconciler(Spd(), nft).apply(plan).degraded == ()
        finally:
            nft.close()

    def kick(self, reqid: int, selector: Selector) -> None:
        for entry in self.packets.out_entries(reqid, selector):
            self.xfrm.kick(entry)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        self.queue.open()
        try:
            yield
        finally:
            self.queue.close()

    async def until_held(self, count: int) -> None:
        await until(lambda: self.queue.counters["held"] >= count, f"{count} packets are held")

    def install(self, src: str, dst: str, spi: int, *, inbound: bool) -> None:
        self.xfrm.add_sa(sa(self.reqid(src, dst, inbound=inbound), src, dst, spi))

    def reqid(self, src: str, dst: str, *, inbound: bool = False) -> int:
        ends = (host_prefix(dst), host_prefix(src)) if inbound else (host_prefix(src), host_prefix(dst))
        found = self.packets.reqid(Selector(*ends, UDP))
        assert found
        return found

    def let_go(self, src: str, dst: str) -> None:
        """What the daemon does when the outbound SA stands."""
        self.queue.release(self.reqid(src, dst), Selector(host_prefix(src), host_prefix(dst)))


def host_prefix(text: str) -> Prefix:
    return Prefix.host(Address.parse(text))


def sa(reqid: int, src: str, dst: str, spi: int) -> SadEntry:
    return SadEntry(
        protocol=ProtocolId.ESP,
        spi=spi,
        src=Address.parse(src),
        dst=Address.parse(dst),
        selector=Selector(host_prefix(src), host_prefix(dst)),
        reqid=reqid,
        inbound=False,
        mode=Mode.TRANSPORT,
        encryption=catalog.encryption("AES128-GCM"),
        encryption_key=Secret(bytes(range(20))),
        integrity=None,
        integrity_key=Secret(b""),
        esn=False,
        replay_window=limits.REPLAY_WINDOW,
        soft=Lifetime(0),
        hard=Lifetime(0),
    )


async def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"after {WAIT} s it is still not so that {what}"
        await asyncio.sleep(0.005)


def pair(ours: Protected, theirs: Protected, here: str, there: str) -> None:
    """SAs both ways: the peer first, as its answer would come first."""
    spi = next(_spi)
    theirs.install(here, there, spi, inbound=True)
    theirs.install(there, here, spi + 0x10000, inbound=False)
    ours.install(there, here, spi + 0x10000, inbound=True)
    ours.install(here, there, spi, inbound=False)


def udp(version: int) -> socket.socket:
    made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def sink(host: Host, version: int, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    """A socket in the host that receives."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        made.bind((host.address(version), PORT))
        if kind == socket.SOCK_STREAM:
            made.listen()
        made.setblocking(False)
        return made

    return host.inside(make)


def received(end: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(end.recv(100))
    return found


def more(found: list[bytes], end: socket.socket) -> list[bytes]:
    found += received(end)
    return found


def connect(version: int, there: str) -> socket.socket:
    made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    made.setblocking(False)
    made.connect_ex((there, PORT))
    return made


def connected(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True


def in_left(net: topology.TwoHosts, scenario: Callable[[Protected, Protected], Coroutine[None, None, None]]) -> None:
    """Run a scenario inside the left host, with the policy in force on both."""
    theirs = net.right.inside(lambda: Protected(plan_for(net.right)))

    def run() -> None:
        asyncio.run(scenario(Protected(plan_for(net.left)), theirs))

    net.left.inside(run)


FIREWALL = """
table inet host_firewall {
    chain input {
        type filter hook input priority filter; policy drop;
        meta l4proto { esp, icmpv6 } accept
        ct state established,related accept
    }
}
"""


@pytest.mark.parametrize("firewall", ["", FIREWALL], ids=["plain", "stateful"])
def test_a_reachable_peer_does_not_wait_for_an_unreachable_one(
    two_hosts: topology.TwoHosts, version: int, firewall: str
) -> None:
    net, here, there = two_hosts, two_hosts.left.address(version), two_hosts.right.address(version)
    if firewall:
        net.left.run("nft", "-f", "-", stdin=firewall)
    datagrams, streams = sink(net.right, version), sink(net.right, version, socket.SOCK_STREAM)

    async def scenario(ours: Protected, theirs: Protected) -> None:
        unconnected, steady = udp(version), udp(version)
        steady.connect((there, PORT))
        with ours.holding():
            unconnected.sendto(b"first", (ABSENT[version], PORT))
            nobody = connect(version, ABSENT[version])
            await ours.until_held(2)
            for number in range(BURST):
                unconnected.sendto(b"u%d" % number, (there, PORT))
                steady.send(b"c%d" % number)
            stream = connect(version, there)
            ping = net.left.popen("ping", "-c", "1", "-W", "5", there)
            await ours.until_held(2 + 2 * BURST + 2)
            assert received(datagrams) == []
            held = len(ours.queue)

            pair(ours, theirs, here, there)
            ours.let_go(here, there)
            await until(lambda: connected(stream), "the TCP connection stands")
            got = received(datagrams)
            assert len(got) == 2 * BURST, "what was held goes at once"
            assert ping.wait(WAIT) == 0
            assert len(ours.queue) == held - 2 * BURST - 2, "the unreachable peer's packets are still held"

            before = ours.queue.counters["held"]
            for number in range(BURST):
                steady.send(b"d%d" % number)
                unconnected.sendto(b"e%d" % number, (there, PORT))
            later: list[bytes] = []
            await until(lambda: len(more(later, datagrams)) == 2 * BURST, "later packets come")
            assert ours.queue.counters["held"] == before, "nothing comes through the queue any more"

            ours.queue.drop(ours.reqid(here, there), Selector(host_prefix(here), Prefix.any(version)))
            assert len(ours.queue) == 0
            nobody.close()

    in_left(net, scenario)
    assert net.capture.esp_packets()
    net.capture.assert_nothing_clear(topology.between(net.left, net.right))
    absent = flow(net.left.addresses, [ABSENT[version]])
    net.capture.assert_nothing_clear(absent)
    datagrams.close()
    streams.close()


def test_the_capture_sees_these_packets_without_the_policy(two_hosts: topology.TwoHosts, version: int) -> None:
    net, there = two_hosts, two_hosts.right.address(version)
    end = sink(net.right, version)

    def send() -> None:
        udp(version).sendto(b"clear", (there, PORT))

    net.left.inside(send)
    net.capture.assert_seen_clear(topology.between(net.left, net.right))
    end.close()


def test_without_a_listener_packets_are_dropped_for_good(two_hosts: topology.TwoHosts, version: int) -> None:
    net, here, there = two_hosts, two_hosts.left.address(version), two_hosts.right.address(version)
    end = sink(net.right, version)

    async def scenario(ours: Protected, theirs: Protected) -> None:
        sender = udp(version)
        sender.sendto(b"lost", (there, PORT))
        with ours.holding():
            sender.sendto(b"held", (there, PORT))
            await ours.until_held(1)
            pair(ours, theirs, here, there)
            ours.let_go(here, there)
            await until(lambda: received(end) == [b"held"], "only the held one comes")

    in_left(net, scenario)
    net.capture.assert_nothing_clear(topology.between(net.left, net.right))
    end.close()


def test_a_dropped_packet_never_comes_and_its_like_can_be_held_again(two_hosts: topology.TwoHosts) -> None:
    net, here, there = two_hosts, two_hosts.left.v4, two_hosts.right.v4
    end = sink(net.right, 4)

    async def scenario(ours: Protected, theirs: Protected) -> None:
        sender = udp(4)
        sender.connect((there, PORT))
        with ours.holding():
            sender.send(b"dropped")
            await ours.until_held(1)
            ours.queue.drop(ours.reqid(here, there), Selector(host_prefix(here), host_prefix(there)))
            sender.send(b"second try")
            await ours.until_held(2)
            assert len(ours.wanted) == 2, "it asks for an SA again"
            pair(ours, theirs, here, there)
            ours.let_go(here, there)
            await until(lambda: received(end) == [b"second try"], "the second one comes")

    in_left(net, scenario)
    net.capture.assert_nothing_clear(topology.between(net.left, net.right))
    end.close()


def test_a_packet_with_a_mark_of_the_operators_is_held_too(two_hosts: topology.TwoHosts, version: int) -> None:
    net, here, there = two_hosts, two_hosts.left.address(version), two_hosts.right.address(version)
    end = sink(net.right, version)

    async def scenario(ours: Protected, theirs: Protected) -> None:
        sender = udp(version)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 5)
        with ours.holding():
            udp(version).sendto(b"before it", (ABSENT[version], PORT))
            sender.sendto(b"marked", (there, PORT))
            await ours.until_held(2)
            pair(ours, theirs, here, there)
            ours.let_go(here, there)
            await until(lambda: received(end) == [b"marked"], "it comes")

    in_left(net, scenario)
    net.capture.assert_nothing_clear(topology.between(net.left, net.right))
    end.close()


FORWARDED = POLICY.replace(
    "{srcaddr: me, dstaddr: any, mirrored: yes}",
    "{srcaddr: 10.2.0.0/24, dstaddr: any, mirrored: yes}, {srcaddr: fd02::/64, dstaddr: any, mirrored: yes}",
)


def tunnelled(entry: SpdEntry, ends: tuple[Address, Address]) -> SpdEntry:
    return dataclasses.replace(entry, mode=Mode.TUNNEL, tunnel=ends)


def gateway_plan(net: topology.TwoGateways, version: int) -> Plan:
    """What a gateway needs whose inner side is clear: an SA, in a tunnel, on the way out, none on the way in."""
    plan = plan_for(net.left, FORWARDED)
    ends = (Address.parse(net.left.address(version)), Address.parse(net.right.address(version)))
    chains = tuple(
        dataclasses.replace(chain, rules=tuple(rule for rule in chain.rules if not rule.startswith("meta secpath")))
        for chain in plan.nft.chains
    )
    out = [entry for entry in plan.spd if entry.direction is Direction.OUT]
    spd = tuple(tunnelled(entry, ends) if entry.action is SpdAction.PROTECT else entry for entry in out)
    return dataclasses.replace(plan, nft=dataclasses.replace(plan.nft, chains=chains), spd=spd)


def test_a_forwarded_packet_is_held_and_goes(version: int) -> None:
    with topology.two_gateways() as net:
        src, dst = net.left_host.address(version), net.right_host.address(version)
        gateways = net.left.address(version), net.right.address(version)
        end = sink(net.right_host, version)
        theirs = net.right.inside(XfrmSocket)

        async def scenario() -> None:
            ours = Protected(gateway_plan(net, version))
            reqid = ours.reqid(src, dst)
            tunnel = dataclasses.replace(
                sa(reqid, *gateways, next(_spi)),
                mode=Mode.TUNNEL,
                selector=Selector(host_prefix(src), host_prefix(dst)),
            )
            way_out = next(entry for entry in ours.plan.spd if entry.reqid == reqid)
            with ours.holding():
                # One policy for both: the absent peer's packet waits in front.
                for target, data in ((dst[:-1] + "9", b"first"), (dst, b"forwarded")):
                    net.left_host.inside(lambda: udp(version).sendto(data, (target, PORT)))  # noqa: B023 - called at once
                await ours.until_held(2)
                theirs.add_sa(tunnel)
                theirs.submit([add_policy(dataclasses.replace(way_out, direction=Direction.FWD))])
                ours.xfrm.add_sa(tunnel)
                ours.let_go(src, dst)
                await until(lambda: received(end) == [b"forwarded"], "it comes")
                assert len(ours.queue) == 1

        net.left.inside(lambda: asyncio.run(scenario()))
        assert net.capture.esp_packets()
        end.close()
