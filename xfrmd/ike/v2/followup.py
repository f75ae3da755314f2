# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE_FOLLOWUP_KE (RFC 9370 2.2.4): the additional key exchanges of a CREATE_CHILD_SA exchange, before its SA is made.

The initiator keeps the answer to its CREATE_CHILD_SA and judges it when the last key exchange is made; the responder
keeps what is to be done then. A responder that was started anew has forgotten it: STATE_NOT_FOUND, and all is asked
anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import select
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, Task
from xfrmd.ike.key_exchanges import Following, FollowUp, Rekeyed, SeededExchange
from xfrmd.ike.select import Mismatch
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import KePayload, NoncePayload, NotifyPayload, Payload, SaPayload
from xfrmd.ike.v2.replies import RefusalError, error_of, granted
from xfrmd.model.proposals import Transform
from xfrmd.transforms.compute import key_exchange_answer

_LINK: Final = 8
"""Octets of our links: nobody but the peer sees them, and it has one at a time."""

Finish = Callable[[bytes], None]
"""Makes the SA of the secrets of all additional key exchanges; RefusalError when it can be made no more."""


# Initiator


def needed(sa: IkeSa, task: Task, message: SealedMessage) -> bool:
    """Does an answer to CREATE_CHILD_SA want further key exchanges first? Then they are on their way."""
    additional = _additional(task, message)
    if not additional:
        return False
    task.follow = FollowUp(message, additional, _link(message))
    sa.tasks.insert(0, task)
    return True


def _additional(task: Task, message: SealedMessage) -> tuple[Transform, ...]:
    answer, offer = message.first(SaPayload), task.offer
    if task.follow is not None or answer is None or offer is None or not granted(message):
        return ()
    choice = select.accepted(offer.proposals, answer.proposals)
    return () if isinstance(choice, Mismatch) else choice.suite.additional


# rfc 9370: simultaneous
def loses(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage, rival: bytes) -> bool:
    """Does an answer to a rekey want further key exchanges, and is the peer's own rekey of the same SA the one to stay?
    Then ours ends here, where nothing is made yet (RFC 9370 2.2.4). `rival`: the lowest nonce of what the peer's has
    made already, if it has.
    """
    nonce, offer, following = message.first(NoncePayload), task.offer, sa.following
    if nonce is None or offer is None or not _additional(task, message):
        return False
    if following is not None and following.rekeyed is not None and ctx.now <= following.ends:
        if following.rekeyed.sa is (task.child or sa):
            rival = following.rekeyed.lowest_nonce
        following.rekeyed = None  # what we ask for later does not cross with it any more
    return min(offer.nonce, nonce.data) < rival


def request(ctx: Context, _sa: IkeSa, task: Task) -> list[Payload]:
    """Our public value for the next key exchange."""
    follow = task.follow
    assert follow is not None
    method = follow.left[0]
    follow.exchange = SeededExchange(method, ctx.entropy)
    return [KePayload(method.id, follow.exchange.public), _named(follow.link)]


def response(sa: IkeSa, task: Task, message: SealedMessage) -> SealedMessage | None:
    """The answer to CREATE_CHILD_SA once all key exchanges are made; the refusal of one of them; None to go on."""
    follow, ke = task.follow, message.first(KePayload)
    assert follow is not None
    if ke is None or error_of(message) is not None:
        task.follow = None
        return message
    if follow.exchange is None or ke.method != follow.left[0].id:
        raise RemoteProtocolError("another key exchange than ours", NotifyType.INVALID_SYNTAX)
    follow.secrets += follow.exchange.shared(ke.data)
    follow.exchange, follow.left = None, follow.left[1:]
    if not follow.left:
        return follow.answer
    follow.link = _link(message)
    sa.tasks.insert(0, task)
    return None


def _link(message: SealedMessage) -> bytes:
    notify = message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    if notify is None or not 0 < len(notify.data) <= limits.FOLLOWUP_LINK:
        raise RemoteProtocolError("additional key exchanges were agreed, and none asked for", NotifyType.INVALID_SYNTAX)
    return notify.data


def _named(link: bytes) -> NotifyPayload:
    return NotifyPayload(NotifyType.ADDITIONAL_KEY_EXCHANGE, link)


# Responder


def answer(
    ctx: Context,
    sa: IkeSa,
    additional: tuple[Transform, ...],
    payloads: list[Payload],
    finish: Finish,
    *,
    rekeyed: Rekeyed | None = None,
) -> list[Payload]:
    """The payloads that answer a CREATE_CHILD_SA whose SA is made by `finish`: at once, or after what is to come."""
    if not additional:
        finish(b"")
        return payloads
    sa.following = Following(ctx.entropy(_LINK), additional, finish, ctx.now + limits.FOLLOWUP_WAIT, rekeyed)
    return [*payloads, _named(sa.following.link)]


def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The peer's public value for the next key exchange."""
    following, named = sa.following, message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    if following is None or named is None or named.data != following.link or ctx.now > following.ends:
        raise RefusalError(NotifyType.STATE_NOT_FOUND)
    sa.following = None
    ke = message.first(KePayload)
    if ke is None or ke.method != following.left[0].id:
        raise RemoteProtocolError("another key exchange than was agreed", NotifyType.INVALID_SYNTAX)
    made = key_exchange_answer(following.left[0], ke.data, ctx.entropy)
    following.secrets += made.shared
    following.left = following.left[1:]
    payloads: list[Payload] = [KePayload(ke.method, made.public)]
    if following.left:
        following.link = ctx.entropy(_LINK)
        sa.following = following
        return [*payloads, _named(following.link)]
    following.finish(following.secrets)
    return payloads
