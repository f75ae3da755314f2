# SPDX-License-Identifier: GPL-2.0-or-later
"""Rekey of the IKE SA (RFC 7296 1.3.2, 2.18), also by both ends at once. Child SAs stay with the lineage."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import lifecycle, notices, refusals, select
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa, IkeState, Offer, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.key_exchanges import Rekeyed, SeededExchange
from xfrmd.ike.select import Choice, Mismatch
from xfrmd.ike.v2 import crash, followup, offers
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.constants import NO_SPI, NotifyType
from xfrmd.ike.v2.create_child import AGAIN, other_method, retry_later
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import KePayload, NoncePayload, Payload, SaPayload
from xfrmd.ike.v2.replies import RefusalError, error_of, granted
from xfrmd.transforms.compute import key_exchange_answer
from xfrmd.transforms.keymat import ike_keys

_NONCE = 32
_CHILD_TASKS = (TaskKind.NEW_CHILD, TaskKind.REKEY_CHILD, TaskKind.DELETE_CHILD)


def order(ctx: Context, sa: IkeSa) -> None:
    """Have an IKE SA replaced; nothing happens when that is under way."""
    tasks = [task for task in (sa.task, *sa.tasks) if task is not None]
    if sa.state is IkeState.ESTABLISHED and all(task.kind is not TaskKind.REKEY_IKE for task in tasks):
        sa.tasks.append(Task(TaskKind.REKEY_IKE))
        ctx.touch(sa)


def renew_outdated(ctx: Context, sa: IkeSa) -> None:
    """Have an IKE SA replaced whose algorithms the plan has lost while they were agreed on."""
    if not select.still_named(sa.agreed_suite, sa.pad.main_mode.proposals):
        order(ctx, sa)


# rfc 7296: rekey-ike-ke nonce-once
def request(ctx: Context, sa: IkeSa, task: Task) -> list[Payload] | None:
    """Ask for a successor of the IKE SA."""
    if sa.state is not IkeState.ESTABLISHED or sa.lineage.current is not sa:
        return None
    proposals = sa.pad.main_mode.proposals
    methods = select.key_exchanges(proposals)
    used = sa.agreed_suite.key_exchange
    method = task.method or (used if used is not None and used in methods else methods[0])
    exchange = SeededExchange(method, ctx.entropy)
    task.offer = Offer(ctx.fresh_ike_spi(), proposals, ctx.entropy(_NONCE), exchange, method)
    return [
        SaPayload(select.offer(proposals, task.offer.spi)),
        NoncePayload(task.offer.nonce),
        KePayload(method.id, exchange.public),
    ]


# rfc 7296: rekey-then-delete
def response(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The successor, or the reason why there is none."""
    if followup.loses(ctx, sa, task, message, sa.rival.lowest_nonce if sa.rival is not None else b""):
        ctx.timers.set((TimerKind.REKEY_IKE, sa), ctx.now + limits.RETRY_AFTER_FAILURE)  # should nothing come of it
        settle(ctx, sa)
        return
    if followup.needed(sa, task, message):
        return
    answer, nonce, ke = message.first(SaPayload), message.first(NoncePayload), message.first(KePayload)
    offer = task.offer
    if answer is None or nonce is None or ke is None or offer is None or not granted(message):
        _refused(ctx, sa, task, message)
        return
    choice = select.accepted(offer.proposals, answer.proposals)
    if isinstance(choice, Mismatch):
        ctx.tell(refusals.no_proposal(sa, "IKE SA", choice), sa.remote.address)
        settle(ctx, sa)
        return
    if ke.method != (offer.method.id if offer.method else 0) or offer.exchange is None:
        raise RemoteProtocolError("a rekey with another key exchange than ours", NotifyType.INVALID_SYNTAX)
    new = _successor(sa, choice, initiator=True, spi_i=offer.spi, spi_r=_spi_of(choice), now=ctx.now)
    more = task.follow.secrets if task.follow is not None else b""
    _derive(ctx, sa, new, (offer.nonce, nonce.data), (offer.exchange.shared(ke.data), more))
    _take_in(ctx, new)
    crash.taken(new, message)
    if sa.state is not IkeState.ESTABLISHED:  # it was deleted meanwhile, and what replaces it goes the same way
        lifecycle.delete(ctx, new, "deleted")
        return
    rival = sa.rival
    if rival is not None and new.lowest_nonce < rival.lowest_nonce:
        settle(ctx, sa)  # ours is the redundant one: the peer deletes the old one, we this
        lifecycle.delete(ctx, new, "redundant")
        return
    if rival is not None and rival.state is IkeState.ESTABLISHED:
        lifecycle.enter(ctx, rival, IkeState.REPLACED)
    lifecycle.replace(ctx, sa, new)
    lifecycle.delete(ctx, sa, "rekeyed")
    crash.after_rekey(ctx, sa, new)
    ctx.tell(notices.ike_rekeyed(new))


# rfc 7296: ike-lowest-nonce
def settle(ctx: Context, sa: IkeSa) -> None:
    """Our own rekey came to nothing: the one the peer made, if it did, takes the place of the IKE SA."""
    rival, sa.rival = sa.rival, None
    if rival is None or rival.state is not IkeState.ESTABLISHED:
        return
    lifecycle.replace(ctx, sa, rival)
    if sa.state is IkeState.ESTABLISHED:
        lifecycle.enter(ctx, sa, IkeState.REPLACED)
    ctx.tell(notices.ike_rekeyed(rival))


def _refused(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    error = error_of(message)
    notify = NotifyType.NO_PROPOSAL_CHOSEN if error is None else NotifyType(error.notify)
    if sa.rival is not None:
        settle(ctx, sa)
    elif notify in AGAIN:
        retry_later(ctx, sa, task)
    elif notify == NotifyType.INVALID_KE_PAYLOAD and error is not None and other_method(task, error):
        sa.tasks.insert(0, task)
    else:
        ctx.tell(notices.hold_off(sa, "the IKE SA", notify.name), sa.remote.address)
        ctx.timers.set((TimerKind.REKEY_IKE, sa), ctx.now + limits.RETRY_AFTER_FAILURE)


# rfc 7296: rekey-ike-ke ike-collisions
def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The peer wants a successor of the IKE SA."""
    _refuse_while_busy(sa)
    answer, nonce, ke = message.first(SaPayload), message.first(NoncePayload), message.first(KePayload)
    assert answer is not None
    assert nonce is not None
    assert ke is not None
    choice = _choose(ctx, sa, answer, ke)
    method = choice.suite.key_exchange
    assert method is not None
    made, ours = key_exchange_answer(method, ke.data, ctx.entropy), ctx.entropy(_NONCE)
    spi_i, spi_r, theirs = _spi_of(choice), ctx.fresh_ike_spi(), nonce.data

    def successor() -> IkeSa:
        return _successor(sa, choice, initiator=False, spi_i=spi_i, spi_r=spi_r, now=ctx.now)

    def finish(more: bytes) -> None:
        _refuse_while_busy(sa)
        new = successor()
        _derive(ctx, sa, new, (theirs, ours), (made.shared, more))
        _take_the_place(ctx, sa, new)

    chosen = choice.theirs.of(choice.theirs.number, choice.theirs.protocol, spi_r, choice.answer)
    payloads: list[Payload] = [SaPayload((chosen,)), NoncePayload(ours), KePayload(method.id, made.public)]
    payloads += crash.given(ctx, successor())
    rekeyed = Rekeyed(sa, min(theirs, ours))
    return followup.answer(ctx, sa, choice.suite.additional, payloads, finish, rekeyed=rekeyed)


def _refuse_while_busy(sa: IkeSa) -> None:
    """Not while we work on a child SA of it (RFC 7296 2.25.2), and not twice."""
    busy = sa.task is not None and sa.task.kind in _CHILD_TASKS
    if busy or sa.state is not IkeState.ESTABLISHED or sa.rival is not None or sa.lineage.current is not sa:
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)


def _take_the_place(ctx: Context, sa: IkeSa, new: IkeSa) -> None:
    """A successor that the peer has asked for."""
    _take_in(ctx, new)
    if sa.task is not None and sa.task.kind is TaskKind.REKEY_IKE:
        sa.rival = new  # which of the two stays is known when our own answer is here
        return
    lifecycle.replace(ctx, sa, new)
    lifecycle.enter(ctx, sa, IkeState.REPLACED)
    ctx.tell(notices.ike_rekeyed(new))


def _choose(ctx: Context, sa: IkeSa, answer: SaPayload, ke: KePayload) -> Choice:
    ours = sa.pad.main_mode.proposals
    choice = select.choose(ours, answer.proposals)
    if isinstance(choice, Mismatch):
        ctx.tell(refusals.no_proposal(sa, "IKE SA", choice), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, choice.reason, payloads=offers.refusal(ours))
    method = choice.suite.key_exchange
    if method is None or method.id != ke.method:
        number = method.id if method is not None else 0
        raise RemoteProtocolError("another key exchange is wanted", NotifyType.INVALID_KE_PAYLOAD, number.to_bytes(2))
    return choice


# rfc 7296: rekey-ike-spi spi-size
def _spi_of(choice: Choice) -> bytes:
    spi = choice.theirs.spi
    if len(spi) != 8 or spi == NO_SPI:
        raise RemoteProtocolError("an SPI that an IKE SA cannot have", NotifyType.INVALID_SYNTAX)
    return spi


# rfc 7296: rekey-ike-counters
def _successor(old: IkeSa, choice: Choice, *, initiator: bool, spi_i: bytes, spi_r: bytes, now: float) -> IkeSa:
    new = IkeSa(initiator, spi_i, spi_r, old.local, old.remote, old.pad, old.lineage, now)
    new.suite, new.lifetime = choice.suite, choice.ours.lifetime.seconds or limits.IKE_LIFETIME
    new.local_id, new.remote_id = old.local_id, old.remote_id
    new.settled, new.rekeyed = now, True
    return new


# rfc 7296: rekey-skeyseed
def _derive(ctx: Context, old: IkeSa, new: IkeSa, nonces: tuple[bytes, bytes], secrets: tuple[bytes, bytes]) -> None:
    """Keys from the old SK_d by the old prf, for the new algorithms (RFC 7296 2.18). `secrets`: that of the key
    exchange, and those of additional ones, one after the other.
    """
    suite = new.agreed_suite
    assert suite.prf is not None
    (ni, nr), (shared, more) = nonces, secrets
    keys = ike_keys(
        suite.prf,
        suite.cipher,
        suite.integrity,
        ni=ni,
        nr=nr,
        shared=shared,
        spi_i=new.spi_i,
        spi_r=new.spi_r,
        old=old.agreed_channel.heritage,
        more=more,
    )
    new.channel = Channel.of(suite, suite.prf, keys, new.initiator, ctx.entropy)
    new.lowest_nonce = min(nonces)


def _take_in(ctx: Context, new: IkeSa) -> None:
    lifecycle.begin(ctx, new, IkeState.ESTABLISHED)
    lifecycle.plan_rekey(ctx, new)
    renew_outdated(ctx, new)
    ctx.journal.count(Count.REKEYED_IKE_SAS)
