# SPDX-License-Identifier: GPL-2.0-or-later
"""Reauthentication, made before the old IKE SA ends (RFC 7296 2.8.3, RFC 4478; docs/decisions/0040).

A rekey proves nothing anew. Where what the peer has proved ends, as a certificate does, or where it wants a new proof
of ours, a new IKE SA is made from the start; it takes over the child SAs one by one, and then the old one is deleted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from xfrmd import limits
from xfrmd.ike import lifecycle, renewal_notices
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage
from xfrmd.ike.proven import Term
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.model.pad import PadEntry

_MOST: Final = 2**32 - 1
_OVER: Final = (ChildState.DELETING, ChildState.LINGERING, ChildState.GONE)


# How long an authentication holds


def begin(ctx: Context, sa: IkeSa) -> None:
    """An IKE SA stands: for how long does that hold what both ends have proved? A ticket (RFC 5723) proves nothing."""
    lineage, seconds = sa.lineage, sa.pad.main_mode.auth_seconds
    since = ctx.now - max(0.0, ctx.wall() - lineage.authenticated)
    term = lineage.term
    lineage.term = Term(term.ours, since, term.asked_until, term.aging)
    if seconds:
        lineage.believed_until = min(lineage.believed_until, since + seconds)


def plan_changed(ctx: Context, sa: IkeSa, before: PadEntry) -> None:
    """If the policy has another `mmauthlifetime`, what is over by it may be proved anew before it ends."""
    lineage, seconds = sa.lineage, sa.pad.main_mode.auth_seconds
    if seconds == before.main_mode.auth_seconds or lineage.current is not sa or sa.state is not IkeState.ESTABLISHED:
        return
    ends = lineage.proofs.remote.until
    certificate = math.inf if ends is None else ctx.now + ends - ctx.wall()
    policy = max(lineage.term.since + seconds, ctx.now + limits.REAUTH_PAUSE) if seconds else math.inf
    lineage.believed_until = min(certificate, policy)
    for one in lineage.ike_sas:
        if one.state is IkeState.ESTABLISHED:
            lifecycle.set_deadline(ctx, one)
    plan(ctx, lineage)


# rfc 4478: sent-by-responder
def given(ctx: Context, lineage: Lineage) -> list[Payload]:
    """AUTH_LIFETIME for the initiator, whose proof ends (RFC 4478 3).

    Nothing where it does not, and nothing where a certificate ends soon, unless the policy ends it sooner: some peers
    begin anew at once then, and again and again, as long as they have no other certificate.
    """
    left = lineage.believed_until - ctx.now
    ends = lineage.proofs.remote.until
    by_certificate = ends is not None and ends - ctx.wall() <= left + 1
    if left > _MOST or (by_certificate and left < limits.REAUTH_TOLD):
        return []
    return [NotifyPayload(NotifyType.AUTH_LIFETIME, max(0, round(left)).to_bytes(4))]


# rfc 4478: initiator-repeats form
def taken(ctx: Context, lineage: Lineage, message: Message) -> None:
    """The responder wants our proof anew after this time. From anybody else it has no meaning."""
    notify = message.notify(NotifyType.AUTH_LIFETIME)
    if notify is None or len(notify.data) != 4 or not lineage.term.ours:
        return
    lineage.term = replace(lineage.term, asked_until=ctx.now + int.from_bytes(notify.data))
    plan(ctx, lineage)


# Authenticating anew


def plan(ctx: Context, lineage: Lineage) -> None:
    """Set the time to authenticate anew: the initiator is the first, its peer only if that has not done it."""
    ctx.changed[lineage] = None
    end = _end(lineage)
    if end == math.inf:
        ctx.timers.cancel((TimerKind.REAUTH, lineage))
        return
    margin = min((end - ctx.now) * (1 - limits.SOFT_SHARE), limits.REAUTH_MARGIN) * (1 + ctx.random())
    at = end - (margin if lineage.term.ours else margin / 4)
    soon = ctx.now + limits.REAUTH_LEAST
    ctx.timers.set((TimerKind.REAUTH, lineage), soon if lineage.term.aging else max(at, soon))


def _end(lineage: Lineage) -> float:
    asked = lineage.term.asked_until
    return lineage.believed_until if asked is None else min(lineage.believed_until, asked)


# rfc 4478: new-ike-sa
# rfc 7296: rekey-is-not-reauth
def due(ctx: Context, lineage: Lineage) -> None:
    """Have the child SAs made anew under a new IKE SA. Should that fail it is tried again while the old one stands."""
    sa = lineage.current
    if sa is None or sa.state is not IkeState.ESTABLISHED:
        return
    ctx.changed[lineage] = None
    if all(child.state in _OVER for child in lineage.children.values()):  # the next packet begins anew anyway
        lifecycle.delete(ctx, sa, "its authentication is nearly over", restart=True)
        return
    left = _end(lineage) - ctx.now
    if lineage.term.aging:
        ctx.whisper(renewal_notices.again(sa, left), sa.remote.address)
    else:
        ctx.tell(renewal_notices.begun(sa, left))
    lineage.term = replace(lineage.term, aging=True)
    pause = min(max(left / 4, limits.REAUTH_LEAST), limits.REAUTH_PAUSE)
    ctx.timers.set((TimerKind.REAUTH, lineage), ctx.now + pause)
    for child in list(lineage.children.values()):
        if child.sends:
            lifecycle.hand_over(ctx, lineage, child)
