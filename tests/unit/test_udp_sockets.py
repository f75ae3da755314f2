# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE's sockets on loopback, on ports of their own; the exemption from IPsec needs CAP_NET_ADMIN."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from xfrmd import limits
from xfrmd.adapters.port_holder import udp_port_holder
from xfrmd.adapters.udp import UdpSockets, bypass_policy
from xfrmd.errors import KernelError
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.model.addresses import Address

PORTS = (15500, 15501)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the sockets' IPsec exemption needs CAP_NET_ADMIN: run as root")


class Inbox:
    """Datagrams as they come, awaitable."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[DatagramReceived] = asyncio.Queue()

    async def get(self) -> DatagramReceived:
        return await asyncio.wait_for(self.queue.get(), 5)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.3", 0))
        sock.settimeout(5)
        yield sock


def test_bypass_policy_has_the_kernels_size() -> None:
    assert len(bypass_policy(socket.AF_INET, 1)) == 168
    assert bypass_policy(socket.AF_INET6, 1)[40:42] == socket.AF_INET6.to_bytes(2, "little")
    assert bypass_policy(socket.AF_INET, 1)[160] == 1


@ROOT
def test_datagrams_carry_both_addresses_and_answers_leave_from_the_one_asked(peer: socket.socket) -> None:
    async def run() -> None:
        inbox = Inbox()
        sockets = UdpSockets(inbox.queue.put_nowait, PORTS)
        sockets.open()
        sockets.attach(asyncio.get_running_loop())
        try:
            peer.sendto(b"hello", ("127.0.0.2", PORTS[0]))
            event = await inbox.get()
            assert event.local == Endpoint(Address.parse("127.0.0.2"), PORTS[0])
            assert event.remote == Endpoint(Address.parse("127.0.0.3"), peer.getsockname()[1])
            assert event.data == b"hello"
            assert sockets.send(event.local, event.remote, b"answer") == ""
            assert peer.recvfrom(100) == (b"answer", ("127.0.0.2", PORTS[0]))
        finally:
            sockets.close()

    asyncio.run(run())


# rfc 3948: non-esp-marker keepalive
# rfc 7296: nat-keepalive-ignored
@ROOT
def test_port_4500_wears_the_marker_and_drops_what_is_not_ike(peer: socket.socket) -> None:
    async def run() -> None:
        inbox = Inbox()
        sockets = UdpSockets(inbox.queue.put_nowait, PORTS)
        sockets.open()
        sockets.attach(asyncio.get_running_loop())
        try:
            target = ("127.0.0.2", PORTS[1])
            for data in (b"\xff", b"\x12\x34\x56\x78" + bytes(32), b"ab", b"\0\0\0\0ike"):
                peer.sendto(data, target)
            event = await inbox.get()
            assert event.data == b"ike"
            assert inbox.queue.empty()
            # Keepalives and ESP are the kernel's: they do not come here.
            assert sockets.counters == {"received": 2, "not-ike": 1}
            sockets.send(event.local, event.remote, b"back")
            assert peer.recv(100) == b"\0\0\0\0back"
            sockets.keep_alive(event.local, event.remote)
            assert peer.recv(100) == b"\xff"
        finally:
            sockets.close()

    asyncio.run(run())


@ROOT
def test_oversized_datagrams_are_dropped_and_counted(peer: socket.socket) -> None:
    async def run() -> None:
        inbox = Inbox()
        sockets = UdpSockets(inbox.queue.put_nowait, PORTS)
        sockets.open()
        sockets.attach(asyncio.get_running_loop())
        try:
            peer.sendto(bytes(limits.DATAGRAM_SIZE + 1), ("127.0.0.2", PORTS[0]))
            peer.sendto(bytes(limits.DATAGRAM_SIZE), ("127.0.0.2", PORTS[0]))
            assert len((await inbox.get()).data) == limits.DATAGRAM_SIZE
            assert sockets.counters["oversized"] == 1
        finally:
            sockets.close()

    asyncio.run(run())


@ROOT
def test_ipv6_answers_leave_from_the_address_asked() -> None:
    async def run() -> None:
        inbox = Inbox()
        sockets = UdpSockets(inbox.queue.put_nowait, PORTS)
        sockets.open()
        sockets.attach(asyncio.get_running_loop())
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
                peer.settimeout(5)
                peer.sendto(b"six", ("::1", PORTS[0]))
                event = await inbox.get()
                assert event.local == Endpoint(Address.parse("::1"), PORTS[0])
                sockets.send(event.local, event.remote, b"answer")
                assert peer.recvfrom(100)[1][:2] == ("::1", PORTS[0])
        finally:
            sockets.close()

    asyncio.run(run())


@ROOT
def test_a_port_in_use_names_its_holder() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", PORTS[0]))
        sockets = UdpSockets(lambda _: None, PORTS)
        with pytest.raises(KernelError, match=rf"UDP port {PORTS[0]} is in use by .*\(pid {os.getpid()}\)") as caught:
            sockets.open()
        assert caught.value.errno == errno.EADDRINUSE
        sockets.close()


@ROOT
def test_inherited_sockets_are_used_instead_of_new_ones() -> None:
    inherited = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inherited.bind(("", PORTS[0]))
    sockets = UdpSockets(lambda _: None, PORTS)
    sockets.open([inherited])  # would fail with EADDRINUSE otherwise
    sockets.close()
    assert inherited.fileno() == -1


def test_sending_without_a_socket_is_said_and_counted() -> None:
    sockets = UdpSockets(lambda _: None, PORTS)
    end = Endpoint(Address.parse("127.0.0.1"), PORTS[0])
    assert "no socket" in sockets.send(end, end, b"")
    assert sockets.counters["send-failed"] == 1


def test_the_holder_of_a_port_is_found_in_proc(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    row = "  1: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 4711 2 0 0\n"
    (tmp_path / "net/udp").write_text("header\n" + row)
    (tmp_path / "77/fd").mkdir(parents=True)
    (tmp_path / "77/comm").write_text("charon\n")
    (tmp_path / "77/fd/5").symlink_to("socket:[4711]")
    assert udp_port_holder(500, tmp_path, tmp_path) == "charon (pid 77)"
    assert udp_port_holder(501, tmp_path, tmp_path) == "another process"
