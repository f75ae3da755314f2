# SPDX-License-Identifier: GPL-2.0-or-later
"""The sieve in the kernel: what a socket with it still hears, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import pytest

from xfrmd.adapters.sieve import Shares, attach, detach, program
from xfrmd.adapters.udp import NON_ESP_MARKER, UdpSockets
from xfrmd.ike.events import DatagramReceived
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.model.addresses import Prefix

NONE = 0.0
VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}
PORTS = (15502, 15503)


def message(spi_r: bytes, *notifies: int, response: bool = False) -> bytes:
    header = Header.of(b"initiate", spi_r, ExchangeType.IKE_SA_INIT, 0, initiator=not response, response=response)
    return build_clear(header, [NotifyPayload(one, bytes(16)) for one in notifies])


BARE = message(NO_SPI, NotifyType.NAT_DETECTION_SOURCE_IP)
SHOWN = message(NO_SPI, NotifyType.COOKIE)
HIGH, LOW = message(b"\x01" + bytes(7)), message(bytes(7) + b"\x01")
"""SPIs that are zero but for the first octet, and for the last."""
ASKED = message(NO_SPI, NotifyType.COOKIE, response=True)
"""A peer wants a cookie of us: its response has no SPI of its own yet (RFC 7296 2.6)."""
EMPTY, SHORT = message(NO_SPI), bytes(16)


def waiting(sock: socket.socket) -> list[bytes]:
    """All that has come."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(65535, socket.MSG_DONTWAIT))
    return found


def heard(family: socket.AddressFamily, marker: bytes, shares: Shares | None, sent: list[bytes]) -> list[bytes]:
    """Which of these messages a socket reads that let in none of them before. None: detached again."""
    with socket.socket(family, socket.SOCK_DGRAM) as here, socket.socket(family, socket.SOCK_DGRAM) as there:
        here.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        attach(here, program(len(marker), Shares(NONE, NONE), VERSIONS[family]))
        if shares is None:
            detach(here)
        else:
            attach(here, program(len(marker), shares, VERSIONS[family]))
        found = []
        for one in sent:
            there.sendto(marker + one, here.getsockname())
            found += [octets[len(marker) :] for octets in waiting(here)]
        return found


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("marker", [b"", NON_ESP_MARKER], ids=["port 500", "port 4500"])
@pytest.mark.parametrize(
    ("shares", "passes"),
    [
        (Shares(NONE, NONE), [HIGH, LOW, ASKED]),
        (Shares(1.0, NONE), [BARE, HIGH, LOW, ASKED, EMPTY]),
        (Shares(NONE, 1.0), [SHOWN, HIGH, LOW, ASKED]),
        (None, [BARE, SHOWN, HIGH, LOW, ASKED, EMPTY, SHORT]),
    ],
    ids=["neither", "bare", "with a cookie", "detached"],
)
def test_only_first_messages_are_kept_out(
    family: socket.AddressFamily, marker: bytes, shares: Shares | None, passes: list[bytes]
) -> None:
    assert heard(family, marker, shares, [BARE, SHOWN, HIGH, LOW, ASKED, EMPTY, SHORT]) == passes


HOME = {socket.AF_INET: Prefix.parse("127.0.0.0/24"), socket.AF_INET6: Prefix.parse("::/48")}
ELSEWHERE = [
    Prefix.parse(text) for text in ("127.0.1.0/24", "126.0.0.0/24", "0:0:1::/48", "0:1::/48", "1::/48", "255.0.0.0/24")
]
"""Networks of which each octet that is compared differs in its turn."""


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("marker", [b"", NON_ESP_MARKER], ids=["port 500", "port 4500"])
def test_a_network_has_a_share_of_its_own_of_first_messages_alone(family: socket.AddressFamily, marker: bytes) -> None:
    sent = [BARE, SHOWN, HIGH, LOW, ASKED, EMPTY]
    others = tuple((network, NONE) for network in ELSEWHERE)
    alone = ((HOME[family], NONE),)
    for networks in (alone, alone + others, others + alone, others[:3] + alone + others[3:]):
        assert heard(family, marker, Shares(networks=networks), sent) == [HIGH, LOW, ASKED]
    assert heard(family, marker, Shares(networks=others), sent) == sent
    assert heard(family, marker, Shares(NONE, 1.0, others), sent) == [SHOWN, HIGH, LOW, ASKED]


def test_of_a_network_comes_its_part_of_what_comes_of_others() -> None:
    networks = ((HOME[socket.AF_INET], 0.5),)
    assert 150 < len(heard(socket.AF_INET, b"", Shares(0.5, 1.0, networks), [BARE] * 1000)) < 350
    assert 400 < len(heard(socket.AF_INET, b"", Shares(0.5, 1.0, networks), [SHOWN] * 1000)) < 600


def test_what_has_no_marker_on_port_4500_is_left_to_the_daemon() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        attach(here, program(len(NON_ESP_MARKER), Shares(NONE, NONE), 4))
        here.sendto(b"abcd" + bytes(40), here.getsockname())
        assert waiting(here) == [b"abcd" + bytes(40)]


def test_a_half_is_a_half() -> None:
    assert 400 < len(heard(socket.AF_INET, b"", Shares(0.5, 1.0), [BARE] * 1000)) < 600


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the sockets' IPsec exemption needs CAP_NET_ADMIN: run as root")


def of_a_flood(prepare: Callable[[UdpSockets], None]) -> int:
    """How many of 100 messages under SPIs are there when nobody reads while 30,000 first messages come between them."""
    sockets = UdpSockets(lambda _: None, PORTS)
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("", PORTS[0]))
    sockets.open([held])
    try:
        prepare(sockets)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.connect(("127.0.0.1", PORTS[0]))
            for number in range(30_000):
                peer.send(BARE)
                if number % 300 == 0:
                    peer.send(HIGH)
        return waiting(held).count(HIGH)
    finally:
        sockets.close()


@ROOT
def test_a_flood_takes_no_room_from_what_is_said_under_ike_sas() -> None:
    assert of_a_flood(lambda sockets: sockets.let_in(Shares(0.01))) == 100
    assert of_a_flood(lambda _: None) < 100, "without it the socket is full: the control"


def presses(count: int) -> int:
    """How often it is told that a socket fills, of which one message is read at a time after so many have come."""

    async def run() -> int:
        told, read, done = 0, 0, asyncio.Event()

        def pressed() -> None:
            nonlocal told
            told += 1

        def receive(_: DatagramReceived) -> None:
            nonlocal read
            read += 1
            if read == min(count, 10):
                done.set()

        sockets = UdpSockets(receive, PORTS, pressed, batch=1)
        sockets.open()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                for _ in range(count):
                    peer.sendto(BARE, ("127.0.0.1", PORTS[0]))
            sockets.attach(asyncio.get_running_loop())
            await asyncio.wait_for(done.wait(), 10)
            sockets.detach(asyncio.get_running_loop())
        finally:
            sockets.close()
        return told

    return asyncio.run(run())


@ROOT
def test_a_socket_that_fills_is_told_and_one_that_is_read_slowly_is_not() -> None:
    assert presses(30_000) >= 10
    assert presses(1_000) == 0


@ROOT
def test_a_socket_that_was_held_with_its_sieve_lets_all_in_again() -> None:
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("", PORTS[0]))
    attach(held, program(0, Shares(NONE, NONE), 4))
    sockets = UdpSockets(lambda _: None, PORTS)
    sockets.open([held])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(BARE, ("127.0.0.1", PORTS[0]))
        assert waiting(held) == [BARE]
    finally:
        sockets.close()


@ROOT
def test_a_socket_that_is_held_on_lets_all_in_after_a_stop() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("", PORTS[0]))
        sockets = UdpSockets(lambda _: None, PORTS)
        sockets.open([held.dup()])
        sockets.let_in(Shares(NONE, NONE))
        sockets.close()
        held.sendto(BARE, ("127.0.0.1", PORTS[0]))
        assert waiting(held) == [BARE]
