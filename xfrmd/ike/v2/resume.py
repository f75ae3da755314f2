# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE_SESSION_RESUME (RFC 5723 4.3, 5.1): a ticket takes the place of the key exchange, SK_d that of a proof.

Nothing that comes in the clear here has proved anything. A refusal, whoever it is from, only leads to IKE_SA_INIT.
"""

from __future__ import annotations

import hmac
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import lifecycle, notices, resumable, select, session_notices
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import Handshake, IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.ike.proven import Term
from xfrmd.ike.session import Held, Session
from xfrmd.ike.tickets import name_of
from xfrmd.ike.v2 import cardinality, init, nat, octets, redirect, sending, vendors
from xfrmd.ike.v2.constants import NO_SPI, AuthMethodId, ExchangeType, NotifyType
from xfrmd.ike.v2.first_keys import channel_of
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, SealedMessage, build_clear
from xfrmd.ike.v2.payloads import AuthPayload, IdiPayload, IdPayload, IdrPayload, NoncePayload, NotifyPayload, Payload
from xfrmd.ike.v2.replies import RefusalError
from xfrmd.model.pad import PadEntry
from xfrmd.transforms.compute import prf_compute

_LABEL: Final = b"Resumption"
"""RFC 5723 5.1: ten octets in the place of a shared secret."""

# Initiator


# rfc 5723: resume
def start(ctx: Context, pad: PadEntry, local: Endpoint, remote: Endpoint, want: Want) -> IkeSa | None:
    """Begin with the ticket that the peer has given us; None when there is none for this."""
    protect = ctx.index.protect(want.key.reqid)
    if want.whole or want.method or protect is None or protect.pfs:
        return None
    held = ctx.store.tickets.held.get(remote.address)
    if held is None or resumable.why_not(ctx, held.session, pad, local.address, remote.address):
        return None
    resumable.drop(ctx, remote.address)
    sa = IkeSa(
        True, ctx.fresh_ike_spi(), NO_SPI, local, remote, pad, Lineage(local, remote, term=Term(ours=True)), ctx.now
    )
    _take_over(sa, held.session)
    sa.handshake = Handshake(nonce_i=ctx.entropy(init.NONCE), want=want, session=held.session, ticket=held.ticket)
    lifecycle.begin(ctx, sa, IkeState.CONNECTING)
    sending.send_watched(ctx, sa, _request(ctx, sa))
    return sa


def _take_over(sa: IkeSa, session: Session) -> None:
    """What both ends take from the session (RFC 5723 5)."""
    sa.local_id, sa.remote_id, sa.suite = session.local_id, session.remote_id, session.suite
    proposal = select.naming(session.suite, sa.pad.main_mode.proposals)
    sa.lifetime = (proposal.lifetime.seconds if proposal is not None else 0) or limits.IKE_LIFETIME


def _request(ctx: Context, sa: IkeSa) -> bytes:
    handshake = sa.greeting
    payloads: list[Payload] = [
        NoncePayload(handshake.nonce_i),
        NotifyPayload(NotifyType.TICKET_OPAQUE, handshake.ticket),
        *nat.detection(sa.spi_i, NO_SPI, sa.local, sa.remote, disguised=sa.pad.main_mode.encapsulate),
        NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),
        *redirect.announce(ctx, sa),
    ]
    if handshake.cookie:
        payloads.insert(0, NotifyPayload(NotifyType.COOKIE, handshake.cookie))
    header = Header.of(sa.spi_i, NO_SPI, ExchangeType.IKE_SESSION_RESUME, 0, initiator=True, response=False)
    handshake.request = build_clear(header, payloads)
    return handshake.request


def receive_response(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    """The peer's nonce, or a reason to begin as if there were no ticket."""
    form = cardinality.form_of(message)
    if form is cardinality.RESUME_RESPONSE:
        _proceed(ctx, sa, message)
    elif form is cardinality.RESUME_COOKIE:
        _repeat(ctx, sa, message)
    elif form in (cardinality.RESUME_NACK, cardinality.RESUME_REFUSAL):
        ctx.tell(session_notices.refused(sa))
        fall_back(ctx, sa)


def _repeat(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    cookie, handshake = message.notify(NotifyType.COOKIE), sa.greeting
    if cookie is None or not 0 < len(cookie.data) <= 64 or handshake.restarts >= limits.INIT_RESTARTS:
        return
    handshake.cookie, handshake.restarts = cookie.data, handshake.restarts + 1
    again = _request(ctx, sa)
    ctx.timers.set((TimerKind.RETRANSMIT, sa), sa.window.restart(again, ctx.now))
    ctx.send(sa, again)


def _proceed(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    handshake, nonce, spi_r = sa.greeting, message.first(NoncePayload), message.header.spi_r
    if nonce is None or spi_r == NO_SPI:
        raise RemoteProtocolError("an IKE_SESSION_RESUME response without nonce or SPI")
    handshake.nonce_r, handshake.response = nonce.data, message.raw
    sa.spi_r = spi_r
    _see(sa, message)
    _derive(ctx, sa)
    if sa.lineage.nat.encapsulates:
        init.float_port(sa)
    sending.answered(ctx, sa)
    lifecycle.enter(ctx, sa, IkeState.AUTHENTICATING)
    sa.tasks.insert(0, Task(TaskKind.AUTH, want=handshake.want))
    handshake.want = None
    ctx.touch(sa)


def unanswered(sa: IkeSa) -> bool:
    """Has the peer of a resumption been silent for long enough to try the full exchange?"""
    resuming = sa.handshake is not None and sa.handshake.session is not None and sa.initiator
    tries = limits.RESUME_TRIES if sa.state is IkeState.CONNECTING else limits.RESUME_AUTH_TRIES
    return resuming and sa.window.busy and sa.window.times >= tries


# rfc 5723: nack
def fall_back(ctx: Context, sa: IkeSa, *, keep: bool = False, task: Task | None = None) -> None:
    """Begin anew by IKE_SA_INIT. `keep`: the peer was silent, and may take the ticket another time. `task`: the one
    whose answer was a refusal.
    """
    handshake = sa.greeting
    wants = [handshake.want, *(one.want for one in (task, sa.task, *sa.tasks) if one is not None)]
    for want in wants:
        if want is not None:
            want.whole, want.tries = True, want.tries - 1  # this one was no failure
            want.heard = want.heard or handshake.answered
    if keep and handshake.session is not None:
        resumable.keep(ctx, sa.remote.address, Held(handshake.ticket, handshake.session))
    if task is not None and task.want is not None:
        ctx.agenda.orphans.append(task.want)
    lifecycle.close(ctx, sa, linger=False, restart=True)


def give_up(ctx: Context, sa: IkeSa) -> None:
    """No answer. What has not reached anybody, as far as we know, can be shown once more."""
    fall_back(ctx, sa, keep=sa.state is IkeState.CONNECTING and not sa.greeting.answered)


# Responder


def receive_request(ctx: Context, local: Endpoint, remote: Endpoint, message: ClearMessage) -> None:
    """Answer an IKE_SESSION_RESUME. RemoteProtocolError with a notify when it is to be refused."""
    cardinality.check_cardinality(message, cardinality.RESUME_REQUEST)
    pad = ctx.index.pad(local.address, remote.address)
    if pad is None:
        ctx.whisper(notices.no_rule(local.address, remote.address), remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "no rule for these addresses")
    ticket, nonce = message.notify(NotifyType.TICKET_OPAQUE), message.first(NoncePayload)
    assert ticket is not None
    assert nonce is not None
    if redirect.sends_away(pad, message):  # by the IKE_SA_INIT that it begins with then
        raise RefusalError(NotifyType.TICKET_NACK, "it is served elsewhere")
    session = _opened(ctx, ticket.data, pad, (local, remote))
    spis = (message.header.spi_i, ctx.fresh_ike_spi())
    sa = IkeSa(False, *spis, local, remote, pad, Lineage(local, remote), ctx.now)
    _take_over(sa, session)
    _see(sa, message)
    redirect.hear(sa, message)
    sa.handshake = Handshake(nonce.data, ctx.entropy(init.NONCE), message.raw, session=session, ticket=ticket.data)
    payloads: list[Payload] = [
        NoncePayload(sa.handshake.nonce_r),
        *nat.detection(sa.spi_i, sa.spi_r, local, remote, disguised=pad.main_mode.encapsulate),
    ]
    if sa.lineage.fragments:
        payloads.append(NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
    header = Header.of(sa.spi_i, sa.spi_r, ExchangeType.IKE_SESSION_RESUME, 0, initiator=False, response=True)
    sa.handshake.response = build_clear(header, payloads)
    _derive(ctx, sa)
    sa.window.responded(message.raw, sa.handshake.response)
    lifecycle.begin(ctx, sa, IkeState.HALF_OPEN)
    ctx.send(sa, sa.handshake.response)


# rfc 5723: nack
def _opened(ctx: Context, ticket: bytes, pad: PadEntry, path: tuple[Endpoint, Endpoint]) -> Session:
    """The session of a ticket of ours, if it may go on."""
    local, remote = path
    session = ctx.store.tickets.open(ticket)
    if session is None:
        why = "it is none of ours, or made under a key that is no more"
    elif not resumable.counts(ctx, name_of(ticket)):
        why = "it was used before, or ended on purpose"
    else:
        why = resumable.why_not(ctx, session, pad, local.address, remote.address)
    if session is None or why:
        ctx.whisper(session_notices.not_taken(pad, remote.address, why), remote.address)
        raise RefusalError(NotifyType.TICKET_NACK, why)
    return session


# Both


def _see(sa: IkeSa, message: ClearMessage) -> None:
    """What is found out anew: what stands between the ends, and what the peer can do."""
    lineage = sa.lineage
    lineage.fragments = init.takes_fragments(message)
    lineage.nat = nat.detected(message, sa.local, sa.remote, forced=sa.pad.main_mode.encapsulate)
    lineage.vendor = vendors.of(message)


# rfc 5723: keys
def _derive(ctx: Context, sa: IkeSa) -> None:
    """SKEYSEED = prf(SK_d of the old IKE SA, "Resumption" | Ni | Nr), and the rest as ever (RFC 5723 5.1)."""
    handshake, suite = sa.greeting, sa.agreed_suite
    assert handshake.session is not None
    assert suite.prf is not None
    heritage = (suite.prf, handshake.session.sk_d.reveal())
    sa.channel = channel_of(ctx, sa, sa.spi_r, _LABEL, heritage=heritage)
    sa.lowest_nonce = min(handshake.nonce_i, handshake.nonce_r)


# IKE_AUTH


def proof(sa: IkeSa) -> list[Payload]:
    """The initiator's identity and AUTH of a resumed IKE SA."""
    assert sa.local_id is not None
    ours = IdiPayload.of(sa.local_id)
    return [ours, _auth(sa, sa.greeting.sk_pi, octets.of_initiator(sa, ours, sa.greeting.sk_pi))]


def believe(ctx: Context, sa: IkeSa, identity: IdrPayload, proved: AuthPayload) -> str:
    """Why the responder has not shown that it knows SK_d, "" when it has: then the session goes on here."""
    handshake = sa.greeting
    assert handshake.session is not None
    why = _why_not(sa, identity, proved, _auth(sa, handshake.sk_pr, octets.of_responder(sa, identity)))
    # It may have answered late: what was learnt meanwhile counts.
    why = why or resumable.why_not(ctx, handshake.session, sa.pad, sa.local.address, sa.remote.address)
    if not why:
        _go_on(ctx, sa)
    return why


# rfc 5723: once
def answer(ctx: Context, sa: IkeSa, message: SealedMessage, identity: IdiPayload, proved: AuthPayload) -> list[Payload]:
    """Judge the initiator, and answer with our identity and AUTH. The ticket counts no more: it has served."""
    handshake = sa.greeting
    assert handshake.session is not None
    assert sa.local_id is not None
    sk_pi = handshake.sk_pi
    why = _why_not(sa, identity, proved, _auth(sa, sk_pi, octets.of_initiator(sa, identity, sk_pi)))
    if not resumable.counts(ctx, name_of(handshake.ticket)):
        why = why or "its ticket was used meanwhile"
    wanted = message.first(IdrPayload)
    if wanted is not None and wanted.identity != sa.local_id:
        why = why or "it wants to talk to somebody else than before"
    path = (sa.local.address, sa.remote.address)
    why = why or resumable.why_not(ctx, handshake.session, sa.pad, *path)
    if why:
        ctx.tell(notices.auth_failed(sa, why), sa.remote.address)
        raise RefusalError(NotifyType.AUTHENTICATION_FAILED, why)
    resumable.spend(ctx, name_of(handshake.ticket))
    _go_on(ctx, sa)
    ours = IdrPayload.of(sa.local_id)
    return [ours, _auth(sa, handshake.sk_pr, octets.of_responder(sa, ours))]


def _why_not(sa: IkeSa, identity: IdPayload, proved: AuthPayload, expected: AuthPayload) -> str:
    if identity.identity != sa.remote_id:
        return "it says to be somebody else than before"
    if proved.method != expected.method or not hmac.compare_digest(proved.data, expected.data):
        return "it does not know the key of the IKE SA that it resumes"
    return ""


# rfc 5723: auth
def _auth(sa: IkeSa, key: bytes, covered: bytes) -> AuthPayload:
    """AUTH = prf(SK_px, octets), with the new keys (RFC 5723 5.1)."""
    return AuthPayload(AuthMethodId.SHARED_KEY_MIC, prf_compute(sa.agreed_channel.prf, key, covered))


def _go_on(ctx: Context, sa: IkeSa) -> None:
    """What was proved for the session is believed of this IKE SA, and no longer than for the session."""
    session, lineage = sa.greeting.session, sa.lineage
    assert session is not None
    lineage.resumed, lineage.proofs, lineage.authenticated = True, session.proofs, session.authenticated
    if session.proofs.remote.until is not None:
        lineage.believed_until = ctx.now + session.proofs.remote.until - ctx.wall()
    ctx.tell(session_notices.resumed(sa))
