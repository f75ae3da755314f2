# SPDX-License-Identifier: GPL-2.0-or-later
"""Sealed requests and responses of ours on their way out, and requests sent once more (RFC 7296 2.1)."""

from __future__ import annotations

from collections.abc import Iterable

from xfrmd import limits
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.journal import Count
from xfrmd.ike.v2 import fragments
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import Payload


def request(ctx: Context, sa: IkeSa, exchange: ExchangeType, payloads: Iterable[Payload]) -> None:
    """Send a sealed request and watch for its response."""
    header = Header.of(sa.spi_i, sa.spi_r, exchange, sa.window.next_id, initiator=sa.initiator, response=False)
    send_watched(ctx, sa, sa.agreed_channel.seal(header, payloads, _limit(sa)))


def send_watched(ctx: Context, sa: IkeSa, octets: bytes) -> None:
    """Send the octets of our next request and set the time to repeat them."""
    ctx.changed[sa.lineage] = None
    ctx.timers.set((TimerKind.RETRANSMIT, sa), sa.window.sent(octets, ctx.now))
    ctx.send(sa, octets)


def respond(ctx: Context, sa: IkeSa, message: Message, payloads: Iterable[Payload]) -> None:
    """Answer an authentic request. What was put off until after the response follows it."""
    header = message.header
    reply = Header.of(sa.spi_i, sa.spi_r, header.exchange, header.message_id, initiator=sa.initiator, response=True)
    octets = sa.agreed_channel.seal(reply, payloads, _limit(sa))
    sa.window.responded(message.raw, octets)
    ctx.changed[sa.lineage] = None
    ctx.send(sa, octets, sa.answer_to)
    sa.answer_to = None
    ctx.out += ctx.later
    ctx.later.clear()


# rfc 7383: announce
def _limit(sa: IkeSa) -> int | None:
    if not sa.lineage.fragments:
        return None
    size = sa.pad.main_mode.fragment_size
    return size if sa.lineage.cut is None else min(size, sa.lineage.cut)


# rfc 7383: path-mtu fragment-size
def _smaller(sa: IkeSa, octets: bytes) -> bytes:
    """A request that was sent in vain, in smaller fragments when it is time: larger ones may be dropped in silence."""
    if not sa.lineage.fragments or sa.channel is None or sa.window.times not in limits.CUT_AFTER:
        return octets
    least = limits.FRAGMENT_LEAST if sa.local.address.family == 4 else limits.FRAGMENT_SIZE
    anew = cut(sa, sa.channel, octets, (limits.FRAGMENT_SIZE, least))
    sa.window.cut(anew)
    return anew


# rfc 7383: path-mtu
def cut(sa: IkeSa, channel: Channel, octets: bytes, sizes: Iterable[int]) -> bytes:
    """A message of ours in fragments of the first of these sizes that gives more of them: a larger total tells the peer
    that the others are given up. As it is where none does.
    """
    largest, count = fragments.largest(octets), fragments.count(octets)
    for size in sizes:
        anew = channel.cut(octets, size) if size < largest else octets
        if fragments.count(anew) > count:
            sa.lineage.cut = size
            return anew
    return octets


# rfc 7383: path-mtu
def fit(sa: IkeSa, first: int) -> None:
    """The peer's fragments have `first` octets: larger ones of ours may not come through either."""
    size = max(first, limits.FRAGMENT_LEAST)
    if size < (_limit(sa) or 0):
        sa.lineage.cut = size


def answered(ctx: Context, sa: IkeSa) -> None:
    """Our outstanding request has its authentic response."""
    sa.window.answered()
    ctx.agenda.pace.over(sa)
    ctx.timers.cancel((TimerKind.RETRANSMIT, sa))


# rfc 7383: retransmit-all
def again(ctx: Context, sa: IkeSa) -> bool:
    """Repeat the outstanding request; False when the peer has had its chances."""
    octets = sa.window.retransmit(ctx.now)
    if octets is None:
        return False
    octets = _smaller(sa, octets)
    if sa.window.times > limits.RENEWAL_PATIENCE:
        ctx.agenda.pace.over(sa)
    ctx.changed[sa.lineage] = None
    ctx.journal.count(Count.RETRANSMITTED)
    if sa.window.due is not None:
        ctx.timers.set((TimerKind.RETRANSMIT, sa), sa.window.due)
    ctx.send(sa, octets)
    return True
