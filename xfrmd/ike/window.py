# SPDX-License-Identifier: GPL-2.0-or-later
"""Message IDs and retransmission of one IKE SA (RFC 7296 2.1-2.3), window size 1 both ways."""

from __future__ import annotations

import enum
import hashlib
from typing import Final

from xfrmd import limits
from xfrmd.errors import LocalProtocolError
from xfrmd.ike.saved import SavedWindow


class Arrival(enum.Enum):
    """What a request is by its message ID."""

    NEW = "new"
    REPEATED = "repeated"
    """The last one again, octet for octet: it gets the same response again."""
    STALE = "stale"
    """An older one, or another with a used message ID."""
    AHEAD = "ahead"
    """Beyond our window, which we never said to be larger than 1."""


_PRINT: Final = 32


def _print(octets: bytes) -> bytes:
    """What tells a request from others: its SHA-256. It may have thousands of octets, and none of them is needed again.
    A print is its own, which no message is so short as to be: so states of older runs, with whole requests, are read.
    """
    return octets if len(octets) == _PRINT or not octets else hashlib.sha256(octets).digest()


class Window:
    """Our one outstanding request with its retransmissions, and the last response we gave."""

    __slots__ = ("_due", "_expected", "_request", "_response", "_sent", "_sent_id", "_sent_times", "next_id")

    def __init__(self) -> None:
        self.next_id = 0
        """Message ID of our next request."""
        self._sent: bytes | None = None
        self._sent_id = 0
        self._sent_times = 0
        self._due = 0.0
        self._expected = 0
        self._request = b""
        self._response = b""

    @classmethod
    def restored(cls, saved: SavedWindow) -> Window:
        """The window as it was. What is outstanding is repeated with restarted times, the same octets under its ID."""
        window = cls()
        window.next_id, window._expected = saved.next_id, saved.expected
        window._request, window._response = _print(saved.request), saved.response
        window._sent, window._sent_id, window._sent_times = saved.sent, saved.sent_id, saved.sent_times
        return window

    def saved(self) -> SavedWindow:
        """The window as values."""
        return SavedWindow(
            next_id=self.next_id,
            expected=self._expected,
            request=self._request,
            response=self._response,
            sent=self._sent,
            sent_id=self._sent_id,
            sent_times=self._sent_times,
        )

    @property
    def busy(self) -> bool:
        """Is a request of ours not answered yet?"""
        return self._sent is not None

    @property
    def times(self) -> int:
        """How often the outstanding request has been sent."""
        return self._sent_times

    @property
    def due(self) -> float | None:
        """When the outstanding request is to be sent again, or given up."""
        return self._due if self._sent is not None else None

    # rfc 7296: message-id
    def sent(self, octets: bytes, now: float) -> float:
        """Our request with ID `next_id` is on its way. Returns when to call retransmit()."""
        if self._sent is not None:
            raise LocalProtocolError("a second request while one is outstanding")
        self._sent, self._sent_id, self._sent_times = octets, self.next_id, 1
        self.next_id += 1
        self._due = now + limits.RETRANSMIT_FIRST
        return self._due

    def restart(self, octets: bytes, now: float) -> float:
        """Other octets for the outstanding request under the same ID: only IKE_SA_INIT may do so (RFC 7296 2.6)."""
        self._sent, self._sent_times = octets, 1
        self._due = now + limits.RETRANSMIT_FIRST
        return self._due

    # rfc 7296: retransmit-identical
    def retransmit(self, now: float) -> bytes | None:
        """The octets to send once more; None when the peer has had its chances."""
        if self._sent is None or self._sent_times >= limits.RETRANSMIT_TRIES:
            return None
        self._due = now + limits.RETRANSMIT_FIRST * limits.RETRANSMIT_FACTOR**self._sent_times
        self._sent_times += 1
        return self._sent

    # rfc 7383: path-mtu
    def cut(self, octets: bytes) -> None:
        """The outstanding request has the same content in other fragments."""
        self._sent = octets

    def cut_response(self, octets: bytes) -> None:
        """So has the last response."""
        self._response = octets

    def awaits(self, message_id: int) -> bool:
        """Would a response with this ID answer our outstanding request?"""
        return self._sent is not None and self._sent_id == message_id

    def answered(self) -> None:
        """The outstanding request has its authentic response."""
        self._sent = None

    # rfc 7296: message-id
    def judge(self, message_id: int, octets: bytes) -> Arrival:
        """Place a request by its ID. A repetition is recognised by its octets, before any decryption."""
        if message_id == self._expected:
            return Arrival.NEW
        if message_id == self._expected - 1 and _print(octets) == self._request:
            return Arrival.REPEATED
        return Arrival.AHEAD if message_id > self._expected else Arrival.STALE

    def answers(self, message_id: int) -> bool:
        """Is this the ID of the last request that was answered?"""
        return message_id == self._expected - 1

    # rfc 7296: remember-response
    def responded(self, request: bytes, response: bytes) -> None:
        """The authentic request that was expected got this response."""
        self._expected += 1
        self._request, self._response = _print(request), response

    @property
    def used(self) -> int:
        """How many message IDs have been used, by the end that has used more of them."""
        return max(self.next_id, self._expected)

    @property
    def response(self) -> bytes:
        """The last response we gave."""
        return self._response
