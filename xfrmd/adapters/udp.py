# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE's UDP sockets: ports 500 and 4500, IPv4 and IPv6, one socket each, bound to the wildcard address.

The local address of each datagram is read from its control message (IP_PKTINFO, IPV6_RECVPKTINFO) and answers leave
from it. The sockets are exempt from IPsec in both directions by a policy of their own, so that no filter and no other
program's XFRM policy can stop a negotiation, while other processes that send from other ports are filtered like all.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

from xfrmd import limits
from xfrmd.adapters import sieve
from xfrmd.adapters.link_local import interface_of, is_link_local
from xfrmd.adapters.port_holder import udp_port_holder
from xfrmd.errors import KernelError
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.ike.path import NAT_T_PORT
from xfrmd.limits import floods
from xfrmd.model.addresses import Address

IKE_PORT: Final = 500
NON_ESP_MARKER: Final = bytes(4)
"""Tells IKE from ESP on port 4500 (RFC 3948 2.2)."""
KEEPALIVE: Final = b"\xff"
"""RFC 3948 2.3."""

# <linux/in.h>, <linux/in6.h>, <linux/udp.h>
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_XFRM_POLICY: Final = 17
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_XFRM_POLICY: Final = 35
_PMTUDISC_DONT: Final = 0
_UDP_ENCAP: Final = 100
_UDP_ENCAP_ESPINUDP: Final = 2
_SO_RCVBUFFORCE: Final = 33
_TRUNCATED: Final = int(socket.MSG_TRUNC)
"""The library's own is of an enum, whose `&` is a function of Python."""
_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16si")
_USERPOLICY_INFO: Final = struct.Struct("=16s16s4HH3B3xiI 8Q4Q 2I4B4x")
"""struct xfrm_userpolicy_info of <linux/xfrm.h>: selector, lifetimes, priority, index, dir, action, flags, share."""

Receive = Callable[[DatagramReceived], None]


def bypass_policy(family: socket.AddressFamily, direction: int) -> bytes:
    """A per-socket XFRM policy that lets everything by: action allow, no template."""
    selector = (bytes(16), bytes(16), 0, 0, 0, 0, family, 0, 0, 0, 0, 0)
    return _USERPOLICY_INFO.pack(*selector, *([0] * 12), 0, 0, direction, 0, 0, 0)


class UdpSockets:
    """All IKE sockets. `receive` is called from the event loop, for each datagram that may be IKE.

    `counters` counts by what became of a datagram: received, sent, oversized, not-ike, send-failed.
    """

    def __init__(
        self,
        receive: Receive,
        ports: tuple[int, int] = (IKE_PORT, NAT_T_PORT),
        pressed: Callable[[], None] = lambda: None,
        batch: int = floods.DATAGRAM_BATCH,
    ) -> None:
        """`pressed` is called when a socket fills that was read for as long as it may be, or for `batch` datagrams."""
        self._receive = receive
        self._ports = ports
        self._pressed = pressed
        self._batch = batch
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self._interfaces: collections.OrderedDict[Address, int] = collections.OrderedDict()
        self.counters: collections.Counter[str] = collections.Counter()

    def open(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Bind what was not inherited. Raises KernelError: EADDRINUSE names port and holder, EPERM the privilege.

        A host without IPv6 gets IPv4 sockets only.
        """
        for sock in inherited:
            self._adopt(sock)
        for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
            for port in self._ports:
                if (version, port) not in self._sockets:
                    with contextlib.suppress(_NoIpv6Error):
                        self._sockets[version, port] = self._prepared(_bound(family, port))

    def _adopt(self, sock: socket.socket) -> None:
        version = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(socket.AddressFamily(sock.family))
        if version is not None and sock.type == socket.SOCK_DGRAM and sock.getsockname()[1] in self._ports:
            self._sockets[version, sock.getsockname()[1]] = self._prepared(sock)

    def _prepared(self, sock: socket.socket) -> socket.socket:
        prepared = _prepared(sock)
        if sock.getsockname()[1] == self._ports[1]:
            _take_esp(sock)
        return prepared

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        for (_, port), sock in self._sockets.items():
            loop.add_reader(sock.fileno(), self._readable, port, sock)

    def detach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read no more; sending still works."""
        for sock in self._sockets.values():
            loop.remove_reader(sock.fileno())

    def let_in(self, shares: sieve.Shares | None) -> None:
        """Have the kernel let in these shares of first messages, None for all. What it refuses is counted."""
        for (version, port), sock in self._sockets.items():
            marker = len(NON_ESP_MARKER) if port == self._ports[1] else 0
            try:
                if shares is None:
                    sieve.detach(sock)
                else:
                    sieve.attach(sock, sieve.program(marker, shares, version))
            except OSError:
                self.counters["sieve-failed"] += 1

    def close(self) -> None:
        """Close all sockets. Those that systemd holds go on without a sieve."""
        self.let_in(None)
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _readable(self, port: int, sock: socket.socket) -> None:
        """Read a bounded batch, so that a flood leaves the loop time for everything else."""
        end = time.monotonic() + floods.DATAGRAM_SLICE
        for _ in range(self._batch):
            if time.monotonic() > end:
                break
            try:
                data, control, flags, source = sock.recvmsg(limits.DATAGRAM_SIZE + 1, 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.counters["receive-failed"] += 1
                return
            self.counters["received"] += 1
            if len(data) > limits.DATAGRAM_SIZE or flags & _TRUNCATED:
                self.counters["oversized"] += 1
                continue
            self._one(port, data, control, source)
        if sieve.fills(sock):
            self._pressed()

    def _one(self, port: int, data: bytes, control: list[tuple[int, int, bytes]], source: object) -> None:
        octets = self._ike_octets(port, data)
        local, interface = _destination(control)
        if octets is None or local is None or not isinstance(source, tuple):
            return
        text = str(source[0])
        if local.family == 4:
            remote = Address.from_bytes(socket.inet_aton(text))
        else:
            remote = Address.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
        if is_link_local(remote):
            self._remember(remote, interface)
        self._receive(DatagramReceived(Endpoint(local, port), Endpoint(remote, int(source[1])), octets))

    def _ike_octets(self, port: int, data: bytes) -> bytes | None:
        """The IKE message in a datagram, None when it is something else."""
        if port != self._ports[1]:
            return data
        if data.startswith(NON_ESP_MARKER):
            return data[len(NON_ESP_MARKER) :]
        self.counters["not-ike"] += 1
        return None

    def _remember(self, remote: Address, interface: int) -> None:
        """The interface of a link-local peer: its address alone does not say where it lives."""
        self._interfaces[remote] = interface
        self._interfaces.move_to_end(remote)
        if len(self._interfaces) > limits.LINK_LOCAL_PEERS:
            self._interfaces.popitem(last=False)

    def _interface(self, local: Address, remote: Address) -> int:
        """Through which interface to send, 0 for where routing leads. Who begins knows our address only."""
        if not is_link_local(remote):
            return 0
        return self._interfaces.get(remote) or interface_of(local)

    def keep_alive(self, local: Endpoint, remote: Endpoint) -> str:
        """Send a NAT keepalive (RFC 3948 4). Returns as `send` does."""
        return self._send(local, remote, KEEPALIVE)

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> str:
        """Send an IKE message from `local`. Returns "", or why the kernel refused: retransmission will try again."""
        return self._send(local, remote, NON_ESP_MARKER + data if local.port == self._ports[1] else data)

    def _send(self, local: Endpoint, remote: Endpoint, octets: bytes) -> str:
        sock = self._sockets.get((local.address.family, local.port))
        if sock is None:
            self.counters["send-failed"] += 1
            return f"no socket on UDP port {local.port} for IPv{local.address.family}"
        try:
            if local.address.family == 4:
                info = _IN_PKTINFO.pack(0, local.address.packed, bytes(4))
                ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, info)]
                sock.sendmsg([octets], ancillary, 0, (str(remote.address), remote.port))
            else:
                interface = self._interface(local.address, remote.address)
                info = _IN6_PKTINFO.pack(local.address.packed, interface)
                ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
                sock.sendmsg([octets], ancillary, 0, (str(remote.address), remote.port, 0, interface))
        except OSError as error:
            self.counters["send-failed"] += 1
            return error.strerror or str(error)
        self.counters["sent"] += 1
        return ""


class _NoIpv6Error(Exception):
    """The host has no IPv6."""


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT:
            raise _NoIpv6Error from error
        raise
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
    except OSError as error:
        sock.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            raise _NoIpv6Error from error
        raise KernelError(_bind_failure(port, error), error.errno or 0) from error
    return sock


def _bind_failure(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port} is in use by {udp_port_holder(port)}; stop it, or keep it from starting, then try again"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"UDP port {port} cannot be bound: needs CAP_NET_BIND_SERVICE"
    return f"UDP port {port} cannot be bound: {error.strerror}"


def _prepared(sock: socket.socket) -> socket.socket:
    """Options that every IKE socket needs."""
    sock.setblocking(False)
    level, mtu, policy = (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_XFRM_POLICY)
    if sock.family == socket.AF_INET6:
        level, mtu, policy = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IPV6_XFRM_POLICY)
        sock.setsockopt(level, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(level, _IP_PKTINFO, 1)
    # Big messages may be fragmented: a path that loses "packet too big" must not end a negotiation.
    sock.setsockopt(level, mtu, _PMTUDISC_DONT)
    try:
        for direction in (0, 1):
            sock.setsockopt(level, policy, bypass_policy(socket.AddressFamily(sock.family), direction))
    except OSError as error:
        sock.close()
        raise KernelError(
            f"the IKE sockets cannot be exempted from IPsec ({error.strerror}): needs CAP_NET_ADMIN and XFRM",
            error.errno or 0,
        ) from error
    # One that was held for us keeps the sieve of the daemon that crashed under a flood.
    sieve.detach(sock)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, limits.RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.RECEIVE_BUFFER)
    return sock


def _take_esp(sock: socket.socket) -> None:
    """Let the kernel decapsulate ESP in UDP that comes to this socket (RFC 3948), as long as it is open."""
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, _UDP_ENCAP_ESPINUDP)
    except OSError as error:
        sock.close()
        raise KernelError(
            f"the kernel does not take ESP in UDP ({error.strerror}): needs XFRM", error.errno or 0
        ) from error


def _destination(control: list[tuple[int, int, bytes]]) -> tuple[Address | None, int]:
    """The local address and interface index of a datagram, from its control messages; no address if it was not ours
    alone: IKE speaks to neither broadcast nor multicast addresses.
    """
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            interface, local, destination = _IN_PKTINFO.unpack_from(data)
            return (Address.from_bytes(local) if local == destination else None), interface
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, interface = _IN6_PKTINFO.unpack_from(data)
            return (None if destination[0] == 0xFF else Address.from_bytes(destination)), interface
    return None, 0
