# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of a random world in a real kernel: its addresses, its plan, packets in and out, and who saw them.

The host has one link, without ARP or neighbour discovery, to a wire that takes what it sends and puts packets on it.
No packet waits for another: all of a world are sent, and a last one, which every policy permits, tells that they are
through.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lab.netns import Host, ip_batch, namespaces, run
from tests.lab.injection import hardware_address
from tests.lab.world_packets import LONGEST, hops, on_the_wire, upper, whole
from xfrmd.adapters import netlink
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.sysctl import keep_first_packets
from xfrmd.adapters.udp import bypass_policy
from xfrmd.adapters.xfrm import events, uapi
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.ike.events import Acquire
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.selector import ESP, ICMP, ICMPV6, SCTP, TCP, UDP, Packet, Ports, Selector

LINK: Final = "eth0"
PROTOCOLS: Final = (ICMP, TCP, UDP, 46, 47, ESP, ICMPV6, 89, SCTP)
"""Those of the traffic; a raw socket listens for each, in both IP versions."""
_PROBE: Final = """
table inet probe {
    set passed4 { typeof ip id; size 65536; flags dynamic; }
    set passed6 { typeof ip6 flowlabel; size 65536; flags dynamic; }
    chain prerouting {
        type filter hook prerouting priority -180
        ether saddr 02:00:00:00:00:01 update @passed4 { ip id }
        ether saddr 02:00:00:00:00:01 update @passed6 { ip6 flowlabel }
    }
}
"""
"""Behind our chain at -190, before all else: keeps the numbers of packets from the wire that it let in."""
_WIRE_MAC: Final = bytes.fromhex("020000000001")
_PATIENCE: Final = 10.0
"""Seconds until the last packet must be there: others have the processor, too."""
_BUFFER: Final = 8 << 20
_FLUSH_SA: Final = 0x1C
"""XFRM_MSG_FLUSHSA."""
_IPV6_FLOWINFO, _PACKET_IGNORE_OUTGOING, _SOL_PACKET = 11, 23, 263
_IP_XFRM_POLICY, _IPV6_XFRM_POLICY, _IP_MULTICAST_LOOP = 17, 35, 34


class Seen(NamedTuple):
    """What became of the packets of one turn."""

    first: int
    """The number of the first of them; the others follow."""
    arrived: frozenset[int]
    """The numbers of those that a socket of the host received: nftables and XFRM let them in."""
    wired: dict[Selector, int]
    """What the host sent or forwarded, with its hop limit."""
    wanted: frozenset[tuple[int, Selector]]
    """ACQUIREs: the template's reqid and the packet."""


def _end(text: str, port: int, selector: Selector) -> Selector:
    host = Prefix.host(Address.parse(text))
    return selector._replace(dst=host, dport=Ports(port, port))


def bypassing(made: socket.socket) -> None:
    """Give a socket the policy of its own that IKE's have."""
    v4 = made.family == socket.AF_INET
    for direction in (0, 1):
        level, option = (socket.IPPROTO_IP, _IP_XFRM_POLICY) if v4 else (socket.IPPROTO_IPV6, _IPV6_XFRM_POLICY)
        made.setsockopt(level, option, bypass_policy(made.family, direction))


class Sender:
    """Sends as the host's own programs do: XFRM is asked for the socket's flow. Used inside the host."""

    def __init__(self) -> None:
        self._link = socket.if_nametoindex(LINK)

    @staticmethod
    def can(selector: Selector) -> bool:
        """SCTP is no socket of this kernel, ESP comes from the kernel, behind XFRM, and port 0 is nobody's."""
        if selector.protocol in (TCP, UDP):
            return selector.sport.first != 0 and selector.dport.first != 0
        return selector.protocol not in (SCTP, ESP)

    def send(self, selector: Selector) -> None:
        """Send such a packet, if the kernel takes it."""
        with contextlib.suppress(OSError), self._socket(selector) as made:
            ports = (selector.sport.first, selector.dport.first) if selector.protocol in (TCP, UDP) else (0, 0)
            made.bind(self._at(selector.src, ports[0]))
            there = self._at(selector.dst, ports[1])
            if selector.protocol == TCP:
                made.connect(there)
            else:
                made.sendto(b"x" if selector.protocol == UDP else upper(selector), there)

    def _at(self, end: Prefix, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        if end.family == 4:
            return str(end.address), port
        near = end.value >> 118 == 0xFE80 >> 6 or end.value >> 120 == 0xFF
        return str(end.address), port, 0, self._link if near else 0

    def _socket(self, selector: Selector) -> socket.socket:
        family = socket.AF_INET if selector.family == 4 else socket.AF_INET6
        kinds = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}
        kind = kinds.get(selector.protocol, socket.SOCK_RAW)
        made = socket.socket(family, kind, 0 if selector.protocol in kinds else selector.protocol)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_LOOP, 0)
        else:
            for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS):
                made.setsockopt(socket.IPPROTO_IPV6, option, hops(selector))
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        if selector.protocol == UDP and selector.sport.first in (500, 4500):
            bypassing(made)
        return made


class WorldHost:
    """Made and used inside the host's namespace; the wire's sockets are of the other one."""

    def __init__(self, facts: HostFacts, wire: Host, mac: bytes) -> None:
        self.facts = facts
        self._head = mac + _WIRE_MAC
        self._own = facts.own_addresses()
        own = next(address for address in self._own if address.family == 4)
        self._next = 1
        self._last_in = Selector(Prefix.parse("198.51.100.99"), Prefix.host(own), UDP, Ports(67, 67), Ports(68, 68))
        self._last_out = self._last_in.reversed
        self._tap = wire.inside(_tap)
        self._sender = Sender()
        self._ears = {(family, protocol): _ear(family, protocol) for family in (4, 6) for protocol in PROTOCOLS}
        self._nft, self._spd = NftLoader(), Spd()
        self._nft.observe()
        self._reconciler = Reconciler(self._spd, self._nft)
        self._xfrm = netlink.open_socket(uapi.NETLINK_XFRM)
        self._news = netlink.open_socket(uapi.NETLINK_XFRM, uapi.Group.ACQUIRE, _BUFFER)
        self._news.setblocking(False)
        assert keep_first_packets() == ""

    def close(self) -> None:
        """Let everything go."""
        self._nft.close()
        self._spd.close()
        for one in (self._tap, self._xfrm, self._news, *self._ears.values()):
            one.close()

    def apply(self, plan: Plan) -> None:
        """Put a plan in force, in the place of the one before."""
        assert self._reconciler.apply(plan).degraded == ()

    def injected(self, packet: Packet) -> bool:
        """Does it come from the wire? Else a socket of the host sends it."""
        return packet.inbound or packet.selector.src.address not in self._own

    def sendable(self, packet: Packet) -> bool:
        """Can it be sent at all, as what it is?"""
        if self.injected(packet):
            return True
        return packet.selector.dst.address not in self._own and Sender.can(packet.selector)

    def send(self, packets: Iterable[Packet]) -> Seen:
        """Send all that can be sent, and see what becomes of it."""
        self._forget()
        known = list(packets)
        first, self._next = self._next, self._next + len(known)
        assert self._next < LONGEST
        for number, packet in enumerate(known, first):
            if self.injected(packet):
                self._inject(whole(packet.selector, number, self._hops(packet)))
        self._inject(whole(self._last_in, LONGEST, 64))
        arrived = self._arrivals(range(first, self._next))
        for packet in known:
            if not self.injected(packet) and self.sendable(packet):
                self._sender.send(packet.selector)
        self._sender.send(self._last_out)
        wired = self._wired()
        return Seen(first, arrived, wired, self._wanted())

    def entered(self) -> frozenset[int]:
        """The numbers of all packets so far that nftables let in."""
        listed = json.loads(run(["nft", "-j", "list table inet probe"]).stdout)
        sets = (item["set"] for item in listed["nftables"] if "set" in item)
        return frozenset(number for one in sets for number in one.get("elem", ()))

    def _hops(self, packet: Packet) -> int:
        limit = hops(packet.selector) if packet.inbound else 64
        forged = packet.selector.src.address in self._own
        return 1 if forged and limit == 64 else limit  # not to be forwarded, as IPv6 would

    def _inject(self, packet: bytes) -> None:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        self._tap.send(self._head + struct.pack("!H", kind) + packet)

    def _forget(self) -> None:
        """No SA that waits for a key: with one, the kernel would not ask again."""
        self._xfrm.send(netlink.frame(_FLUSH_SA, netlink.NLM_F_ACK, 1, bytes((255, 0, 0, 0))))
        self._xfrm.recv(netlink.RECEIVE_SIZE)
        for one in (self._tap, self._news, *self._ears.values()):
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.recv(1)

    def _arrivals(self, numbers: range) -> frozenset[int]:
        last = self._ears[4, UDP]
        found = set[int]()
        while LONGEST not in found:
            assert select.select([last], [], [], _PATIENCE)[0], "the last packet does not come in"
            found |= set(_heard(last, 4))
        for (family, _), ear in self._ears.items():
            found |= set(_heard(ear, family))
        return frozenset(found.intersection(numbers))

    def _wired(self) -> dict[Selector, int]:
        found = dict[Selector, int]()
        while self._last_out not in found:
            assert select.select([self._tap], [], [], _PATIENCE)[0], "the last packet does not go out"
            with contextlib.suppress(BlockingIOError):
                while True:
                    seen = on_the_wire(self._tap.recv(65535)[14:])
                    if seen is not None:
                        found[seen[0]] = seen[1]
        del found[self._last_out]
        return found

    def _wanted(self) -> frozenset[tuple[int, Selector]]:
        found = set[tuple[int, Selector]]()
        with contextlib.suppress(BlockingIOError):
            while True:
                for message in netlink.messages(self._news.recv(netlink.RECEIVE_SIZE)):
                    event = events.decode(message)
                    if isinstance(event, Acquire):
                        found.add((event.reqid, event.packet))
        return frozenset(found)


def _tap() -> socket.socket:
    """The wire: it takes what the host sends, and not what it puts on itself."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.setblocking(False)
    made.bind((LINK, 3))
    return made


def _ear(family: int, protocol: int) -> socket.socket:
    made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.setblocking(False)
    if family == 6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FLOWINFO, 1)
    return made


def _heard(ear: socket.socket, family: int) -> Iterator[int]:
    """The numbers of packets that have come."""
    with contextlib.suppress(BlockingIOError):
        while True:
            data, control, _, _ = ear.recvmsg(2048, 64)
            if family == 4:
                yield int.from_bytes(data[4:6])
            else:
                yield from (int.from_bytes(value[:4]) & 0xFFFFF for _, kind, value in control if kind == _IPV6_FLOWINFO)


@contextlib.contextmanager
def world_hosts() -> Iterator[tuple[Host, Host, bytes]]:
    """A host and its wire, up, without addresses; and the host's hardware address."""
    with namespaces("world", "wire") as (us, wire):
        ip_batch([f"link add {LINK} netns {us.name} arp off type veth peer name {LINK} netns {wire.name}"])
        off = {f"ipv4__conf__{which}__{name}": 0 for which in ("all", LINK) for name in ("rp_filter", "send_redirects")}
        us.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, **off)
        wire.sysctl(ipv6__conf__all__disable_ipv6=1)
        ip_batch([f"link set {LINK} addrgenmode none", "link set lo up", f"link set {LINK} up"], us)
        ip_batch([f"link set {LINK} up arp off"], wire)
        ip_batch([f"route add default dev {LINK}", f"route add ::/0 dev {LINK}"], us)
        us.run("nft", "-f", "-", stdin=_PROBE)
        yield us, wire, hardware_address(us, LINK)


@contextlib.contextmanager
def world_host(facts: HostFacts, us: Host, wire: Host, mac: bytes) -> Iterator[WorldHost]:
    """The host with these addresses. For use inside its namespace."""
    ip_batch([f"addr add {address} dev {LINK}" for address in facts.own_addresses()], us)
    with contextlib.closing(WorldHost(facts, wire, mac)) as made:
        yield made
