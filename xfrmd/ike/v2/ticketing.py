# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking for tickets and giving them (RFC 5723 4.1): in IKE_AUTH, and after each rekey of the IKE SA."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import resumable
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, Task
from xfrmd.ike.session import Held
from xfrmd.ike.tickets import NAME
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message, SealedMessage
from xfrmd.ike.v2.payloads import NotifyPayload, Payload

_LIFETIME = 4
"""Octets ahead of a ticket that tell how many seconds it is good for (RFC 5723 7.2)."""

# Who asks


# rfc 5723: ticket-asked
def ask(sa: IkeSa) -> list[Payload]:
    """TICKET_REQUEST, where the policy lets IKE SAs be resumed."""
    return [NotifyPayload(NotifyType.TICKET_REQUEST)] if resumable.allowed(sa.pad) else []


def request(_ctx: Context, sa: IkeSa, _task: Task) -> list[Payload] | None:
    """INFORMATIONAL that asks for another ticket; None when the policy wants none any more."""
    return ask(sa) or None


def response(ctx: Context, sa: IkeSa, _task: Task, message: SealedMessage) -> None:
    """The answer to it."""
    taken(ctx, sa, message)


def taken(ctx: Context, sa: IkeSa, message: Message) -> None:
    """Keep the ticket that an authentic answer has."""
    notify = message.notify(NotifyType.TICKET_LT_OPAQUE)
    least, most = limits.TICKET_SIZES
    if notify is None or not least <= len(notify.data) - _LIFETIME <= most:
        return
    session = resumable.session_of(ctx, sa, int.from_bytes(notify.data[:_LIFETIME]))
    if session is not None:
        sa.lineage.renews = True
        resumable.keep(ctx, sa.remote.address, Held(notify.data[_LIFETIME:], session))


# Who gives


# rfc 5723: ticket-asked
def given(ctx: Context, sa: IkeSa, message: Message) -> list[Payload]:
    """A ticket for who asks for one, or TICKET_NACK; nothing where we can make none. The one before counts no more."""
    tickets, lineage = ctx.store.tickets, sa.lineage
    if message.notify(NotifyType.TICKET_REQUEST) is None or not tickets.gives:
        return []
    soon = ctx.now - lineage.ticket_at < limits.TICKET_INTERVAL
    session = resumable.session_of(ctx, sa, limits.TICKET_LIFETIME)
    name = ctx.entropy(NAME)
    full = len(tickets.spent) >= limits.TICKETS_SPENT  # of one more it would not be known whether it was used
    ticket = tickets.seal(session, name) if session is not None and not soon and not full else b""
    if session is None or not 0 < len(ticket) <= limits.TICKET_GIVEN:
        return [NotifyPayload(NotifyType.TICKET_NACK)]
    if lineage.ticket:
        resumable.spend(ctx, lineage.ticket)
    lineage.ticket, lineage.ticket_at = name, ctx.now
    ctx.changed[lineage] = None
    seconds = int(session.until - ctx.wall())
    return [NotifyPayload(NotifyType.TICKET_LT_OPAQUE, seconds.to_bytes(_LIFETIME) + ticket)]
