# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams on their way to the engine: those of IKE SAs at once, first messages of strangers after them, in slices.

Anyone can send first messages, as many as the link carries. They wait here, not in the sockets, where what peers say
under their IKE SAs would wait behind them: a rekey, or the proof of an honest host that has just been answered. Those
that lead with a cookie and those that do not have their turns one by one. Decision 44. Where there is no room for more,
the kernel keeps a part of them out (decision 46). A response is no first message, also where the peer has no SPI yet:
it wants a cookie of us, or another group.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Final

from xfrmd.daemon.sieve import Sieve
from xfrmd.ike.events import DatagramReceived
from xfrmd.ike.v2.constants import FLAG_RESPONSE, NO_SPI, NotifyType, PayloadType
from xfrmd.limits import floods

_SPI_R: Final = slice(8, 16)
_FIRST_PAYLOAD: Final = 16
_FLAGS: Final = 19
_NOTIFY: Final = bytes([PayloadType.NOTIFY])
_NOTIFY_TYPE: Final = slice(34, 36)
_COOKIE: Final = NotifyType.COOKIE.to_bytes(2)
"""Of a message whose first payload is a Notify (RFC 7296 3.1, 3.10)."""


class _Line:
    """First messages that wait for their turn: so many, and of so many octets in all."""

    __slots__ = ("_octets", "_waiting")

    def __init__(self) -> None:
        self._waiting: collections.deque[DatagramReceived] = collections.deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, datagram: DatagramReceived) -> bool:
        """Is there room for it?"""
        if len(self._waiting) >= floods.GREETINGS_WAITING or self._octets >= floods.GREETINGS_OCTETS:
            return False
        self._waiting.append(datagram)
        self._octets += len(datagram.data)
        return True

    def next(self) -> DatagramReceived:
        """Whose turn it is."""
        datagram = self._waiting.popleft()
        self._octets -= len(datagram.data)
        return datagram

    def clear(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()
        self._octets = 0


class Inbox:
    """`post` hears a datagram at once. `sieve` keeps out what there is no room for."""

    def __init__(self, post: Callable[[DatagramReceived], None], sieve: Sieve) -> None:
        self._post = post
        self.sieve = sieve
        self._loop = asyncio.get_running_loop()
        self._bare = _Line()
        self._with_cookie = _Line()
        self._at_work = False
        self._closed = False
        self.dropped = 0
        """First messages for which there was no room."""

    def take(self, datagram: DatagramReceived) -> None:
        """A datagram has come."""
        data = datagram.data
        if data[_SPI_R] != NO_SPI or (len(data) > _FLAGS and data[_FLAGS] & FLAG_RESPONSE):
            self.sieve.come[2] += 1
            self._post(datagram)
            return
        shown = data[_FIRST_PAYLOAD : _FIRST_PAYLOAD + 1] == _NOTIFY and data[_NOTIFY_TYPE] == _COOKIE
        self.sieve.first(datagram.remote.address, shown=shown)
        if self._closed:
            return
        if not (self._with_cookie if shown else self._bare).add(datagram):
            self.dropped += 1
            self.sieve.pressed(floods.SIEVE_PRESSURE)
            return
        self._go_on()

    def close(self) -> None:
        """Nobody begins anything any more; what is under way goes on."""
        self._closed = True
        self._bare.clear()
        self._with_cookie.clear()

    @property
    def waiting(self) -> int:
        """First messages that wait."""
        return len(self._bare) + len(self._with_cookie)

    @property
    def counters(self) -> dict[str, int]:
        """First messages that wait, that were dropped, and of 1,000 without a cookie how many the kernel lets in;
        networks that have a smaller share.
        """
        return {
            "first-messages": self.waiting,
            "first-messages-dropped": self.dropped,
            "first-messages-let-in": round(1000 * self.sieve.shares.bare),
            "networks-sieved": len(self.sieve.shares.networks),
        }

    def _go_on(self) -> None:
        """Work at the next turn of the loop, which reads the sockets before it comes here again."""
        if not self._at_work and self.waiting:
            self._at_work = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        end = self._loop.time() + floods.GREETINGS_SLICE
        while self.waiting:
            for line in (self._with_cookie, self._bare):
                if line:
                    self._post(line.next())
            if self._loop.time() >= end:
                break
        self._at_work = False
        self._go_on()
