# SPDX-License-Identifier: GPL-2.0-or-later
"""The first look at a datagram, cheapest question first: size, header, version, a known SPI, or a cookie.

Everything that comes here may come from an attacker. What fails is counted by reason and has no other effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import lifecycle, notices
from xfrmd.ike.context import Context
from xfrmd.ike.cookies import CookieJar
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.ike.ike_sa import IkeSa, IkeState
from xfrmd.ike.journal import Count
from xfrmd.ike.v2 import crash, exchange, init, resume
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.header import HEADER, Header, parse_header
from xfrmd.ike.v2.message import ClearMessage, parse_clear
from xfrmd.ike.v2.replies import answer_of
from xfrmd.limits import floods
from xfrmd.wire.reader import Reader

_NOTIFY_HEAD: Final = 8
"""Generic header and fixed part of a Notify payload."""
_GREETINGS: Final[dict[int, Callable[[Context, Endpoint, Endpoint, ClearMessage], None]]] = {
    ExchangeType.IKE_SA_INIT: init.receive_request,
    ExchangeType.IKE_SESSION_RESUME: resume.receive_request,
}


class Gate:
    """Cookies, and how many refusals in the clear may still be sent this second."""

    __slots__ = ("_answers", "_cookies", "_loaded_until", "_second")

    def __init__(self, cookies: CookieJar) -> None:
        self._cookies = cookies
        self._loaded_until = 0.0
        self._second = 0.0
        self._answers = 0

    # rfc 7296: clear-notify-no-action any-source-port survives-anything
    def receive(self, ctx: Context, event: DatagramReceived) -> None:
        """Take one datagram to where it belongs. Raises nothing, whatever the datagram."""
        ctx.journal.count(Count.RECEIVED)
        try:
            header = parse_header(event.data)
        except RemoteProtocolError as error:
            self._bad_header(ctx, event, error)
            return
        sa = ctx.store.ike_sa(header.spi_r if header.from_initiator else header.spi_i)
        try:
            if sa is not None:
                self._known(ctx, sa, header, event)
            elif _is_greeting(header):
                self._greeting(ctx, header, event)
            else:
                ctx.journal.count(Count.UNKNOWN_SPI)
                if not header.is_response and self._may_answer(ctx):
                    crash.show(ctx, header, event)
        except RemoteProtocolError:
            ctx.journal.count(Count.MALFORMED)

    # rfc 7296: major-version
    def _bad_header(self, ctx: Context, event: DatagramReceived, error: RemoteProtocolError) -> None:
        version = error.notify == NotifyType.INVALID_MAJOR_VERSION
        ctx.journal.count(Count.VERSION if version else Count.MALFORMED if error.notify else Count.NO_IKE)
        if not version:
            return
        header = HEADER.read(Reader(event.data))
        if header.major < 2 or header.is_response:
            return  # IKEv1 and older are met with silence, a version to come with ours (RFC 7296 2.5)
        if self._may_answer(ctx):
            init.refuse(ctx, event.local, event.remote, header, answer_of(error))

    # rfc 7296: no-answer-to-response
    def _known(self, ctx: Context, sa: IkeSa, header: Header, event: DatagramReceived) -> None:
        """An SPI of ours. Address and the peer's SPI must fit too; keys decide later."""
        theirs = header.spi_i if header.from_initiator else header.spi_r
        elsewhere = event.remote.address != sa.remote.address or event.local.address != sa.local.address
        if elsewhere and (header.is_response or not sa.lineage.follows):
            ctx.journal.count(Count.STRANGER)
        elif theirs != sa.peer_spi and sa.state is not IkeState.CONNECTING:
            ctx.journal.count(Count.UNKNOWN_SPI)
        else:
            exchange.receive(ctx, sa, header, event)

    # rfc 7296: init-repeat-told-apart
    def _greeting(self, ctx: Context, header: Header, event: DatagramReceived) -> None:
        """A first request: again, or new if there is room and, under load, a cookie."""
        half_open = ctx.store.half_open
        known = half_open.find(event.remote, header.spi_i)
        if known is not None:
            exchange.receive(ctx, known, header, event)
            return
        if half_open.load(ctx.now) >= floods.HALF_OPEN_COOKIE or self._spent(ctx):
            self._loaded_until = ctx.now + floods.COOKIE_LINGER
        # Who was told a cookie shows it, and proves that message. A copy of the one before, which is still under way or
        # waits here, must not be answered in its place: the proof would not fit, and end in AUTHENTICATION_FAILED.
        loaded = ctx.now < self._loaded_until
        if loaded and not (self._has_cookie(ctx, header, event) and _has_room(ctx, event.remote)):
            return
        try:
            _GREETINGS[header.exchange](ctx, event.local, event.remote, parse_clear(event.data, header))
        except RemoteProtocolError as error:
            ctx.journal.count(Count.REFUSED if error.notify else Count.MALFORMED)
            if error.notify and (loaded or self._may_answer(ctx)):  # a cookie has shown that it is no reflection
                init.refuse(ctx, event.local, event.remote, header, answer_of(error))
        if loaded:
            half_open.book(event.remote, header.spi_i)

    def _has_cookie(self, ctx: Context, header: Header, event: DatagramReceived) -> bool:
        """Does the message lead with a cookie of ours (RFC 7296 2.6)? If not, it gets one."""
        cookie = _leading_cookie(header, event.data)
        if cookie is not None and self._cookies.valid(cookie, event.remote, header.spi_i, ctx.now):
            return True
        if cookie is not None:
            ctx.journal.count(Count.NO_COOKIE)
        if len(event.data) < floods.COOKIE_ASKER:
            ctx.journal.count(Count.MALFORMED)
            return False
        fresh = self._cookies.bake(event.remote, header.spi_i, ctx.now)
        init.ask_for_cookie(ctx, event.local, event.remote, header, fresh)
        return False

    def _may_answer(self, ctx: Context) -> bool:
        if self._spent(ctx):
            return False
        self._answers += 1
        return True

    def _spent(self, ctx: Context) -> bool:
        """Have as many been refused in the clear as may be in one second?"""
        if ctx.now - self._second >= 1.0 or ctx.now < self._second:
            self._second, self._answers = ctx.now, 0
        return self._answers >= floods.CLEAR_ANSWERS


def _has_room(ctx: Context, remote: Endpoint) -> bool:
    """Is there room for another half-open IKE SA of this peer, if need be in the place of the oldest? (Decision 44)"""
    half_open = ctx.store.half_open
    if not half_open.admits(remote.address, ctx.now):
        ctx.journal.count(Count.SUSPECT)
        ctx.whisper(notices.suspect(remote.address), remote.address)
        return False
    if len(half_open) >= floods.HALF_OPEN_LAST:
        oldest = half_open.oldest(ctx.now)
        if oldest is None:
            ctx.journal.count(Count.FULL)
            return False
        ctx.journal.count(Count.CROWDED_OUT)
        lifecycle.close(ctx, oldest, linger=False)
    return True


# rfc 7296: spi-nonzero
def _is_greeting(header: Header) -> bool:
    return (
        header.exchange in _GREETINGS
        and header.from_initiator
        and not header.is_response
        and header.spi_r == NO_SPI
        and header.message_id == 0
    )


def _leading_cookie(header: Header, data: bytes) -> bytes | None:
    """The cookie in the first payload, read without parsing the message."""
    start = HEADER.size
    if header.next_payload != PayloadType.NOTIFY or len(data) < start + _NOTIFY_HEAD:
        return None
    length, spi_size = int.from_bytes(data[start + 2 : start + 4]), data[start + 5]
    kind = int.from_bytes(data[start + 6 : start + 8])
    if kind != NotifyType.COOKIE or spi_size or length < _NOTIFY_HEAD:
        return None
    return data[start + _NOTIFY_HEAD : start + length]
