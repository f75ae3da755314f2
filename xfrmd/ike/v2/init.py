# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE_SA_INIT (RFC 7296 1.2): key exchange in the clear. Nothing that comes here has proved anything."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import auth_notices, lifecycle, notices, refusals, select
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import Handshake, IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.path import NAT_T_PORT
from xfrmd.ike.proven import Term
from xfrmd.ike.select import Choice, Mismatch
from xfrmd.ike.v2 import announce, cardinality, intermediate, nat, offers, ppk, proof, redirect, sending, vendors
from xfrmd.ike.v2.constants import NO_SPI, ExchangeType, NotifyType
from xfrmd.ike.v2.first_keys import channel_of
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, build_clear
from xfrmd.ike.v2.payloads import KePayload, NoncePayload, NotifyPayload, Payload, SaPayload, WireProposal
from xfrmd.ike.v2.replies import RefusalError, error_of
from xfrmd.model.notice import Notice
from xfrmd.model.pad import PadEntry
from xfrmd.model.proposals import Proposal, Transform, TransformType
from xfrmd.transforms.compute import key_exchange_new

_Parts = tuple[SaPayload, KePayload, NoncePayload]
NONCE: Final = 32
"""Octets of our nonces: at least half the key size of every prf we have (RFC 7296 2.10)."""


# Initiator


def initiate(ctx: Context, pad: PadEntry, local: Endpoint, remote: Endpoint, want: Want | None) -> IkeSa:
    """Begin an IKE SA with a peer; its first child SA is to meet `want`. None: it begins without one (RFC 6023)."""
    lineage = Lineage(local, remote, term=Term(ours=True))
    sa = IkeSa(True, ctx.fresh_ike_spi(), NO_SPI, local, remote, pad, lineage, ctx.now)
    # A peer that has refused a ticket or a method speaks IKE: silence now does not let traffic go in the clear.
    answered = want is not None and (want.heard or want.method > 0)
    sa.handshake = Handshake(nonce_i=ctx.entropy(NONCE), want=want, answered=answered)
    sa.handshake.childless = want is None or want.alone
    method = want.method if want is not None and want.method < len(pad.auth) else 0
    sa.local_id = proof.local_identity(sa, pad.auth[method])
    sa.remote_id = pad.remote_id
    lifecycle.begin(ctx, sa, IkeState.CONNECTING)
    _choose_method(ctx, sa.handshake, select.key_exchanges(pad.main_mode.proposals)[0])
    sending.send_watched(ctx, sa, _request(ctx, sa))
    return sa


def _choose_method(ctx: Context, handshake: Handshake, method: Transform) -> None:
    handshake.method = method
    handshake.exchange = key_exchange_new(method, ctx.entropy)


# rfc 7296: ke-group-offered cookie-first nonce-size nonce-once
def _request(ctx: Context, sa: IkeSa) -> bytes:
    handshake = sa.greeting
    assert handshake.exchange is not None
    assert handshake.method is not None
    payloads: list[Payload] = [
        SaPayload(select.offer(sa.pad.main_mode.proposals, b"")),
        KePayload(handshake.method.id, handshake.exchange.public),
        NoncePayload(handshake.nonce_i),
        *nat.detection(sa.spi_i, NO_SPI, sa.local, sa.remote, disguised=sa.pad.main_mode.encapsulate),
        NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),
        *proof.hash_algorithms(sa.pad),
        *ppk.announcement(sa.pad),
        *intermediate.announcement(intermediate.wanted(sa.pad.main_mode.proposals)),
        *redirect.announce(ctx, sa),
    ]
    if handshake.cookie:
        payloads.insert(0, NotifyPayload(NotifyType.COOKIE, handshake.cookie))
    header = Header.of(sa.spi_i, NO_SPI, ExchangeType.IKE_SA_INIT, 0, initiator=True, response=False)
    handshake.request = build_clear(header, payloads)
    return handshake.request


# rfc 7296: many-answers
def receive_response(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    """An answer to our IKE_SA_INIT. A refusal has no consequences, it may be anybody's (RFC 7296 2.21.1)."""
    form = cardinality.form_of(message)
    if form is cardinality.IKE_SA_INIT_COOKIE:
        cookie = message.notify(NotifyType.COOKIE)
        if cookie is not None and 0 < len(cookie.data) <= 64:
            sa.greeting.cookie = cookie.data
            _start_over(ctx, sa)
    elif form is cardinality.IKE_SA_INIT_REDIRECT:
        redirect.in_init(ctx, sa, message)
    elif form is cardinality.IKE_SA_INIT_REFUSAL:
        _refused(ctx, sa, message)
    elif form is cardinality.IKE_SA_INIT_RESPONSE:
        _proceed(ctx, sa, message)


# rfc 7296: invalid-ke-retry cookie-bounded
def _start_over(ctx: Context, sa: IkeSa) -> None:
    handshake = sa.greeting
    handshake.restarts += 1
    if handshake.restarts <= limits.INIT_RESTARTS:
        octets = _request(ctx, sa)
        ctx.timers.set((TimerKind.RETRANSMIT, sa), sa.window.restart(octets, ctx.now))
        ctx.send(sa, octets)


# rfc 7296: init-error-not-trusted
def _refused(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    error = error_of(message)
    handshake = sa.greeting
    if error is None:
        return
    if error.notify == NotifyType.INVALID_KE_PAYLOAD and len(error.data) == 2:
        method = Transform(TransformType.KE, int.from_bytes(error.data))
        if method in select.key_exchanges(sa.pad.main_mode.proposals) and method != handshake.method:
            _choose_method(ctx, handshake, method)
            _start_over(ctx, sa)
            return
    sa.lineage.vendor = vendors.of(message) or sa.lineage.vendor
    ours = select.describe(sa.pad.main_mode.proposals)
    if error.notify == NotifyType.NO_PROPOSAL_CHOSEN:
        told = offers.told(sa.pad.main_mode.proposals, message)
        handshake.hint = refusals.proposal_refused(sa, "IKE SA", ours, told)
    else:
        handshake.hint = refusals.init_refused(sa, error.notify, ours)
    ctx.whisper(handshake.hint, sa.remote.address)


def _proceed(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    """Take the peer's choice and key, and go on to IKE_AUTH."""
    handshake = sa.greeting
    sa.lineage.vendor = vendors.of(message)
    answer, exchange, nonce = _parts(message)
    choice = select.accepted(sa.pad.main_mode.proposals, answer.proposals)
    if isinstance(choice, Mismatch) or _misses(sa, message):
        wrong = refusals.no_proposal(sa, "IKE SA", choice) if isinstance(choice, Mismatch) else _misses(sa, message)
        assert wrong is not None
        handshake.hint = wrong
        ctx.whisper(wrong, sa.remote.address)
        raise RemoteProtocolError("an IKE_SA_INIT response that we cannot use")
    spi_r = message.header.spi_r
    if spi_r == NO_SPI or handshake.method is None or exchange.method != handshake.method.id:
        raise RemoteProtocolError("an IKE_SA_INIT response without SPI or with another key exchange")
    intermediate.check(choice, message)
    if choice.suite.key_exchange != handshake.method:
        raise RemoteProtocolError("an IKE_SA_INIT response that chose one key exchange and used another")
    handshake.takes_childless = _takes_childless(message)
    handshake.public, handshake.nonce_r, handshake.response = exchange.data, nonce.data, message.raw
    sa.suite, sa.lifetime = choice.suite, choice.ours.lifetime.seconds or limits.IKE_LIFETIME
    sa.lineage.fragments = takes_fragments(message)
    sa.lineage.nat = nat.detected(message, sa.local, sa.remote, forced=sa.pad.main_mode.encapsulate)
    proof.listen(sa, message)
    announce.listen(sa, message)
    derive(ctx, sa, spi_r)
    sa.spi_r = spi_r
    if sa.lineage.nat.encapsulates and sa.local.port != NAT_T_PORT:
        float_port(sa)
    sending.answered(ctx, sa)
    lifecycle.enter(ctx, sa, IkeState.AUTHENTICATING)
    sa.tasks.insert(0, Task(TaskKind.AUTH, want=handshake.want))
    intermediate.begin(sa, choice)
    handshake.want = None
    ctx.touch(sa)


def _takes_childless(message: ClearMessage) -> bool:
    return message.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None


# rfc 6023: only-when-announced
def _misses(sa: IkeSa, message: ClearMessage) -> Notice | None:
    """What the peer would have to have said for us to go on."""
    if not ppk.listen(sa, message):
        return auth_notices.ppk_missing(sa)
    if sa.greeting.childless and not _takes_childless(message):
        return auth_notices.childless_missing(sa)
    return None


# rfc 7296: nat-float
def float_port(sa: IkeSa) -> None:
    """From now on both ends speak on the port that ESP in UDP uses too (RFC 7296 2.23)."""
    sa.local = Endpoint(sa.local.address, NAT_T_PORT)
    sa.remote = Endpoint(sa.remote.address, NAT_T_PORT)


# rfc 7383: announce
def takes_fragments(message: ClearMessage) -> bool:
    """Does the peer take messages in fragments?"""
    return message.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None


def _parts(message: ClearMessage) -> _Parts:
    """Those three payloads; the form of the message says that they are there."""
    answer, exchange, nonce = message.first(SaPayload), message.first(KePayload), message.first(NoncePayload)
    if answer is None or exchange is None or nonce is None:
        raise RemoteProtocolError("an IKE_SA_INIT without SA, KE or Nonce", NotifyType.INVALID_SYNTAX)
    return answer, exchange, nonce


# Responder


def receive_request(ctx: Context, local: Endpoint, remote: Endpoint, message: ClearMessage) -> None:
    """Answer an IKE_SA_INIT. RemoteProtocolError with a notify when it is to be refused."""
    cardinality.check_cardinality(message, cardinality.IKE_SA_INIT_REQUEST)
    pad = ctx.index.pad(local.address, remote.address)
    if pad is None:
        ctx.whisper(notices.no_rule(local.address, remote.address), remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "no rule for these addresses")
    redirect.send_away(pad, message)
    lineage = Lineage(local, remote, vendor=vendors.of(message))
    sa = IkeSa(False, message.header.spi_i, NO_SPI, local, remote, pad, lineage, ctx.now)
    lineage.fragments = takes_fragments(message)
    redirect.hear(sa, message)
    lineage.nat = nat.detected(message, local, remote, forced=pad.main_mode.encapsulate)
    parts = _parts(message)
    choice = _choose(ctx, sa, message, parts)
    if ppk.refused(pad, message):
        ctx.whisper(auth_notices.ppk_missing(sa), remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "no postquantum preshared key")
    sa.suite, sa.lifetime = choice.suite, choice.ours.lifetime.seconds or limits.IKE_LIFETIME
    _answer(ctx, sa, message, choice, parts)


def _choose(ctx: Context, sa: IkeSa, message: ClearMessage, parts: _Parts) -> Choice:
    answer, exchange, _ = parts
    ours = sa.pad.main_mode.proposals
    several = message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None
    choose = _known_choice if len(message.raw) <= limits.OFFER_SIZE else _make_choice
    choice = choose(ours, answer.proposals, several)
    if isinstance(choice, Mismatch):
        ctx.whisper(refusals.no_proposal(sa, "IKE SA", choice), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, choice.reason, payloads=offers.refusal(ours))
    method = choice.suite.key_exchange
    intermediate.check(choice, message)
    if method is None or method.id != exchange.method:
        raise RemoteProtocolError(
            "another key exchange is wanted",
            NotifyType.INVALID_KE_PAYLOAD,
            (method.id if method is not None else 0).to_bytes(2),
        )
    return choice


def _make_choice(ours: tuple[Proposal, ...], theirs: tuple[WireProposal, ...], several: bool) -> Choice | Mismatch:
    """`several`: the peer makes additional key exchanges."""
    return select.choose(intermediate.possible(ours, several), theirs)


_known_choice = lru_cache(maxsize=limits.OFFERS)(_make_choice)
"""Hosts of one kind offer the same."""


# rfc 6023: announce
def _answer(ctx: Context, sa: IkeSa, message: ClearMessage, choice: Choice, parts: _Parts) -> None:
    _, exchange, nonce = parts
    assert choice.suite.key_exchange is not None
    sa.spi_r = ctx.fresh_ike_spi()
    handshake = sa.handshake = Handshake(nonce.data, ctx.entropy(NONCE), message.raw, public=exchange.data)
    _choose_method(ctx, handshake, choice.suite.key_exchange)
    assert handshake.exchange is not None
    wire = choice.theirs
    payloads: list[Payload] = [
        SaPayload((wire.of(wire.number, wire.protocol, b"", choice.answer),)),
        KePayload(exchange.method, handshake.exchange.public),
        NoncePayload(handshake.nonce_r),
        *nat.detection(sa.spi_i, sa.spi_r, sa.local, sa.remote, disguised=sa.pad.main_mode.encapsulate),
        *proof.requests(sa.pad),
        *announce.announcement(sa.pad),
        NotifyPayload(NotifyType.CHILDLESS_IKEV2_SUPPORTED),
        *intermediate.announcement(choice.suite.additional),
    ]
    intermediate.begin(sa, choice)
    proof.listen(sa, message)
    if sa.lineage.fragments:
        payloads.append(NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
    if handshake.hashes:
        payloads += proof.hash_algorithms(sa.pad)
    if ppk.listen(sa, message) and handshake.ppk:
        payloads += ppk.announcement(sa.pad)
    header = Header.of(sa.spi_i, sa.spi_r, ExchangeType.IKE_SA_INIT, 0, initiator=False, response=True)
    handshake.response = build_clear(header, payloads)
    sa.window.responded(message.raw, handshake.response)
    lifecycle.begin(ctx, sa, IkeState.HALF_OPEN)
    ctx.send(sa, handshake.response)


def refuse(ctx: Context, local: Endpoint, remote: Endpoint, header: Header, payloads: tuple[Payload, ...]) -> None:
    """Answer in the clear without keeping anything."""
    ours = not header.from_initiator
    reply = Header.of(header.spi_i, header.spi_r, header.exchange, header.message_id, initiator=ours, response=True)
    ctx.out.append(SendDatagram(local, remote, build_clear(reply, payloads)))


def ask_for_cookie(ctx: Context, local: Endpoint, remote: Endpoint, header: Header, cookie: bytes) -> None:
    """Have the peer show that it receives what we send to its address (RFC 7296 2.6)."""
    ctx.journal.count(Count.COOKIES)
    refuse(ctx, local, remote, header, (NotifyPayload(NotifyType.COOKIE, cookie),))


# Both


# rfc 7296: forget-exponent
def derive(ctx: Context, sa: IkeSa, spi_r: bytes) -> None:
    """Compute the shared secret and the keys. RemoteProtocolError for a public value that is none."""
    handshake = sa.greeting
    assert handshake.exchange is not None
    shared = handshake.exchange.shared(handshake.public)
    sa.channel = channel_of(ctx, sa, spi_r, shared)
    sa.lowest_nonce = min(handshake.nonce_i, handshake.nonce_r)
    handshake.exchange = None
