# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes under an IKE SA is heard before first messages of strangers, however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from tests.properties.simulated_loop import SimulatedLoop, simulate
from xfrmd import limits
from xfrmd.adapters.sieve import Shares
from xfrmd.daemon.inbox import Inbox
from xfrmd.daemon.sieve import Sieve
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.limits import floods
from xfrmd.model.addresses import Address

HERE, THERE = (Endpoint(Address.parse(text), 500) for text in ("10.0.0.2", "10.0.0.1"))
WORK = 0.004
"""Seconds that a first message takes here."""


def first(number: int, notify: int | None = None) -> DatagramReceived:
    header = Header.of(number.to_bytes(8), NO_SPI, ExchangeType.IKE_SA_INIT, 0, initiator=True, response=False)
    payloads = [] if notify is None else [NotifyPayload(notify, bytes(16))]
    return DatagramReceived(HERE, THERE, build_clear(header, payloads))


def under_sa(number: int) -> DatagramReceived:
    header = Header.of(bytes(8), number.to_bytes(8), ExchangeType.INFORMATIONAL, 1, initiator=True, response=False)
    return DatagramReceived(HERE, THERE, build_clear(header, []))


def asks_for_cookie() -> DatagramReceived:
    """What a peer under load answers us: without an SPI of its own (RFC 7296 2.6)."""
    header = Header.of(bytes(7) + b"\x01", NO_SPI, ExchangeType.IKE_SA_INIT, 0, initiator=False, response=True)
    return DatagramReceived(HERE, THERE, build_clear(header, [NotifyPayload(NotifyType.COOKIE, bytes(16))]))


def heard(scene: Callable[[Inbox, list[DatagramReceived]], None]) -> tuple[list[DatagramReceived], int]:
    """What was heard in which order when all is done, and how many were dropped. A first message takes its time."""

    async def run() -> tuple[list[DatagramReceived], int]:
        loop, order = asyncio.get_running_loop(), []
        assert isinstance(loop, SimulatedLoop)

        def post(datagram: DatagramReceived) -> None:
            order.append(datagram)
            loop.work(WORK)

        inbox = Inbox(post, Sieve(lambda _: None, lambda *_: False, lambda _: None))
        scene(inbox, order)
        await asyncio.sleep(60)  # of simulated time, which passes only where nothing waits
        assert inbox.waiting == 0
        return order, inbox.dropped

    return simulate(run)


def test_what_comes_under_an_ike_sa_goes_before_all_first_messages() -> None:
    strangers = [first(number) for number in range(1, 10)]

    def scene(inbox: Inbox, order: list[DatagramReceived]) -> None:
        for one in strangers:
            inbox.take(one)
        assert order == []
        inbox.take(under_sa(1))
        assert order == [under_sa(1)]

    assert heard(scene) == ([under_sa(1), *strangers], 0)


def test_what_a_peer_answers_us_before_it_has_an_spi_waits_behind_no_stranger() -> None:
    def scene(inbox: Inbox, order: list[DatagramReceived]) -> None:
        inbox.take(first(1))
        inbox.close()
        inbox.take(asks_for_cookie())
        assert order == [asks_for_cookie()]
        assert inbox.sieve.come == [1, 0, 1]

    assert heard(scene) == ([asks_for_cookie()], 0)


def test_sockets_are_read_between_slices_of_first_messages() -> None:
    strangers = [first(number) for number in range(1, 10)]

    def scene(inbox: Inbox, _: list[DatagramReceived]) -> None:
        for one in strangers:
            inbox.take(one)
        asyncio.get_running_loop().call_soon(inbox.take, under_sa(1))

    order, _ = heard(scene)
    assert order.index(under_sa(1)) == 3, "the first after 10 ms"
    assert len(order) == 10


def test_neither_those_with_a_cookie_nor_those_without_keep_the_others_waiting() -> None:
    bare = [first(number) for number in range(1, 4)]
    shown = [first(number, NotifyType.COOKIE) for number in range(11, 14)]
    other = first(21, NotifyType.NAT_DETECTION_SOURCE_IP)

    def scene(inbox: Inbox, _: list[DatagramReceived]) -> None:
        for one in (*bare, other, *shown):
            inbox.take(one)

    assert heard(scene)[0] == [shown[0], bare[0], shown[1], bare[1], shown[2], bare[2], other]


def test_first_messages_beyond_the_room_are_dropped_and_counted() -> None:
    def scene(inbox: Inbox, _: list[DatagramReceived]) -> None:
        for number in range(floods.GREETINGS_WAITING + 5):
            inbox.take(first(number + 1))
        inbox.take(first(99_999, NotifyType.COOKIE))

    order, dropped = heard(scene)
    assert dropped == 5
    assert first(99_999, NotifyType.COOKIE) in order


def test_long_first_messages_have_no_more_room_than_short_ones() -> None:
    """And what they took is free again when they have had their turn."""
    padding = bytes(limits.DATAGRAM_SIZE - len(first(1).data))
    room = floods.GREETINGS_OCTETS // limits.DATAGRAM_SIZE

    def scene(inbox: Inbox, order: list[DatagramReceived]) -> None:
        for number in range(room + 5):
            one = first(number + 1)
            inbox.take(replace(one, data=one.data + padding))
        assert inbox.dropped == 5
        while inbox.waiting:
            inbox._work()
        assert len(order) == room
        inbox.take(first(1))

    order, dropped = heard(scene)
    assert (len(order), dropped) == (room + 1, 5)


def test_while_stopping_nobody_begins_and_what_is_under_way_ends() -> None:
    def scene(inbox: Inbox, _: list[DatagramReceived]) -> None:
        inbox.take(first(1))
        inbox.close()
        inbox.take(first(2))
        inbox.take(under_sa(1))

    assert heard(scene) == ([under_sa(1)], 0)


def test_a_flood_is_kept_out_while_stopping_too() -> None:
    applied: list[Shares | None] = []

    async def run() -> None:
        inbox = Inbox(lambda _: None, Sieve(applied.append, lambda *_: False, lambda _: None))
        inbox.close()
        inbox.take(first(1))
        inbox.sieve.pressed(floods.SIEVE_PRESSURE)
        inbox.take(first(2))
        await asyncio.sleep(floods.SIEVE_STEP * 1.5)

    simulate(run)
    assert applied == [Shares(floods.SIEVE_LESS)]


def test_what_is_dropped_presses_the_sieve_and_each_kind_is_counted() -> None:
    applied: list[Shares | None] = []

    async def run() -> list[int]:
        inbox = Inbox(lambda _: None, Sieve(applied.append, lambda *_: False, lambda _: None))
        for number in range(floods.GREETINGS_WAITING + 5):
            inbox.take(first(number + 1))
        inbox.take(first(1, NotifyType.COOKIE))
        inbox.take(under_sa(1))
        come = list(inbox.sieve.come)
        await asyncio.sleep(60)  # of simulated time
        return come

    assert simulate(run) == [floods.GREETINGS_WAITING + 5, 1, 1]
    assert applied[0] == Shares(floods.SIEVE_LESS)
    assert applied[-1] is None
