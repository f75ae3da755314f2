# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE_INTERMEDIATE (RFC 9242) with the additional key exchanges of a first IKE SA (RFC 9370 2.2.2).

Each changes all keys of the IKE SA; what was said is covered by both AUTH payloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import lifecycle, refusals, select
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, Offer, Task, TaskKind
from xfrmd.ike.key_exchanges import Intermediate, SeededExchange
from xfrmd.ike.select import Choice
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.first_keys import channel_of
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import Message, SealedMessage, content_of, covered
from xfrmd.ike.v2.payloads import KePayload, NotifyPayload, Payload
from xfrmd.ike.v2.replies import error_of
from xfrmd.model.proposals import Proposal, Transform
from xfrmd.transforms.compute import key_exchange_answer, prf_compute

# In IKE_SA_INIT


def announcement(additional: Iterable[Transform]) -> list[Payload]:
    """INTERMEDIATE_EXCHANGE_SUPPORTED, where it is needed."""
    return [NotifyPayload(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)] if any(additional) else []


def wanted(proposals: Iterable[Proposal]) -> list[Transform]:
    """All additional key exchanges of these proposals."""
    return [transform for proposal in proposals for transform in proposal.additional]


def possible(proposals: Sequence[Proposal], several: bool) -> Sequence[Proposal]:
    """Those of our proposals that a peer can meet: without IKE_INTERMEDIATE (`several`) only those with one key
    exchange.

    All, where that leaves none: then there is a reason to tell.
    """
    if several:
        return proposals
    return [proposal for proposal in proposals if not proposal.additional] or proposals


def check(choice: Choice, message: Message) -> None:
    """RemoteProtocolError when a peer agrees to additional key exchanges without the exchange that makes them."""
    if choice.suite.additional and message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None:
        raise RemoteProtocolError("additional key exchanges without IKE_INTERMEDIATE", NotifyType.NO_PROPOSAL_CHOSEN)


def begin(sa: IkeSa, choice: Choice) -> None:
    """Remember which key exchanges are still to come."""
    sa.greeting.intermediate = Intermediate(choice.suite.additional)
    if sa.initiator:
        sa.tasks[:0] = [Task(TaskKind.INTERMEDIATE, method=one) for one in choice.suite.additional]


# Initiator


def request(ctx: Context, sa: IkeSa, task: Task) -> list[Payload]:
    """Our public value for the next key exchange."""
    assert task.method is not None
    task.offer = Offer(b"", (), b"", SeededExchange(task.method, ctx.entropy), task.method)
    assert task.offer.exchange is not None
    payloads: list[Payload] = [KePayload(task.method.id, task.offer.exchange.public)]
    header = Header.of(
        sa.spi_i, sa.spi_r, ExchangeType.IKE_INTERMEDIATE, sa.window.next_id, initiator=True, response=False
    )
    _cover(sa, header, payloads[0].type, content_of(payloads)[1])
    return payloads


def response(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The peer's part of it."""
    ke, offer = message.first(KePayload), task.offer
    failed = error_of(message) is not None
    if failed or ke is None or offer is None or offer.exchange is None or task.method is None:
        error, ours = error_of(message), select.describe(sa.pad.main_mode.proposals)
        ctx.tell(refusals.init_refused(sa, error.notify if error is not None else 0, ours), sa.remote.address)
        lifecycle.close(ctx, sa)
        return
    if ke.method != task.method.id:
        raise RemoteProtocolError("another key exchange than ours", NotifyType.INVALID_SYNTAX)
    _cover(sa, message.header, message.payloads[0].type, message.plaintext)
    sa.greeting.intermediate.secret = offer.exchange.shared(ke.data)
    advance(ctx, sa)


# Responder


def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The initiator's public value for the next key exchange. `advance` follows our response."""
    steps, ke = sa.greeting.intermediate, message.first(KePayload)
    if not steps.left or ke is None or ke.method != steps.left[0].id:
        raise RemoteProtocolError("IKE_INTERMEDIATE without a key exchange to be made", NotifyType.INVALID_SYNTAX)
    made = key_exchange_answer(steps.left[0], ke.data, ctx.entropy)
    payloads: list[Payload] = [KePayload(ke.method, made.public)]
    reply = Header.of(
        sa.spi_i, sa.spi_r, message.header.exchange, message.header.message_id, initiator=False, response=True
    )
    _cover(sa, message.header, message.payloads[0].type, message.plaintext)
    _cover(sa, reply, payloads[0].type, content_of(payloads)[1])
    steps.secret = made.shared
    return payloads


def check_done(sa: IkeSa) -> None:
    """All key exchanges that were agreed have been made: only then may anybody prove anything."""
    if sa.greeting.intermediate.left:
        raise RemoteProtocolError("IKE_AUTH before the additional key exchanges are made", NotifyType.INVALID_SYNTAX)


# Both


def advance(ctx: Context, sa: IkeSa) -> None:
    """The exchange is over, its key exchange changes the keys (RFC 9370 2.2.2). Nothing happens where none was made."""
    if sa.handshake is None or not sa.handshake.intermediate.secret:
        return
    steps = sa.handshake.intermediate
    steps.before = sa.channel
    sa.channel = channel_of(ctx, sa, sa.spi_r, steps.secret, before=sa.agreed_channel)
    steps.left, steps.made, steps.secret = steps.left[1:], steps.made + 1, b""


def authenticated(sa: IkeSa) -> bytes:
    """What AUTH covers of all this (RFC 9242 3.3): nothing where there was none."""
    steps = sa.greeting.intermediate
    if not steps.made:
        return b""
    return steps.initiator + steps.responder + (1 + steps.made).to_bytes(4)


def _cover(sa: IkeSa, header: Header, first: int, plaintext: bytes) -> None:
    """One message more, under the keys that it is sent with."""
    handshake = sa.greeting
    steps, octets = handshake.intermediate, covered(header, first, plaintext)
    prf = sa.agreed_channel.prf
    if header.is_response:
        steps.responder = prf_compute(prf, handshake.sk_pr, steps.responder + octets)
    else:
        steps.initiator = prf_compute(prf, handshake.sk_pi, steps.initiator + octets)
