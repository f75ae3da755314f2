# SPDX-License-Identifier: GPL-2.0-or-later
"""What IKE_AUTH and CREATE_CHILD_SA have in common: proposing, answering and making a child SA (RFC 7296 1.2, 1.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import crowd, dynamic, lifecycle, narrow, neighbours, notices, refusals, select
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, Offer, Task
from xfrmd.ike.key_exchanges import SeededExchange
from xfrmd.ike.narrow import Agreed, Ends, Traffic
from xfrmd.ike.path import NAT_T_PORT
from xfrmd.ike.select import Choice, Mismatch
from xfrmd.ike.v2 import offers, translated
from xfrmd.ike.v2.child_keys import Material
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import (
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    WireProposal,
)
from xfrmd.ike.v2.replies import RefusalError
from xfrmd.model.plan import ProtectPolicy
from xfrmd.model.proposals import Proposal, ProtocolId, Transform, TransformType
from xfrmd.model.spd import Mode
from xfrmd.transforms.compute import key_exchange_new

_NONCE = 32
_NUMBERS = (Transform(TransformType.ESN, 1), Transform(TransformType.ESN, 0))
"""Extended sequence numbers (RFC 4304) rather than none: the kernel has them, and a peer that does not chooses none."""


class Made(NamedTuple):
    """A new child SA, not installed yet, and the secrets it is made of."""

    child: ChildSa
    material: Material


# Initiator of the exchange


# rfc 7296: ke-group-offered
def propose(ctx: Context, sa: IkeSa, task: Task, wanted: Agreed) -> list[Payload]:
    """The payloads that ask for a child SA, and task.offer to judge the answer by. In IKE_AUTH without KE and nonce."""
    first = sa.handshake is not None
    protect, _, traffic = wanted
    proposals = _ours(sa, protect, pfs=protect.pfs and not first)
    spi = ctx.fresh_child_spi().to_bytes(4)
    task.offer = Offer(spi, proposals, b"" if first else ctx.entropy(_NONCE))
    task.offer.agreed = wanted
    payloads: list[Payload] = [SaPayload(select.offer(proposals, spi))]
    if protect.mode is Mode.TRANSPORT:
        payloads.insert(0, NotifyPayload(NotifyType.USE_TRANSPORT_MODE))
    if not first:
        payloads += [NoncePayload(task.offer.nonce), *_key_exchange(ctx, task)]
    return [*payloads, TsiPayload(traffic.local), TsrPayload(traffic.remote)]


def _key_exchange(ctx: Context, task: Task) -> list[Payload]:
    """A KE payload if the offer has key exchange methods: the one the peer asked for, else the first."""
    assert task.offer is not None
    methods = select.key_exchanges(task.offer.proposals)
    if not methods:
        return []
    task.offer.method = task.method if task.method in methods else methods[0]
    task.offer.exchange = SeededExchange(task.offer.method, ctx.entropy)
    return [KePayload(task.offer.method.id, task.offer.exchange.public)]


def accept(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> Made:
    """Make a child SA of the answer to our proposal.

    RefusalError when it is not what we have proposed: the operator is told, and the peer to delete its end.
    """
    try:
        return _accept(ctx, sa, task, message)
    except RefusalError:
        if task.offer is not None:
            lifecycle.disown(ctx, sa, task.offer.protocol, task.offer.spi)
        raise


def decline(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """An error came beside a child SA: the request has failed, and what the peer has made of it is deleted there."""
    if message.first(SaPayload) is not None and task.offer is not None:
        lifecycle.disown(ctx, sa, task.offer.protocol, task.offer.spi)


# rfc 7296: mode-declined-delete
def _accept(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> Made:
    offer = task.offer
    assert offer is not None
    assert offer.agreed is not None
    answer, tsi, tsr = _parts(message)
    choice = select.accepted(offer.proposals, answer.proposals)
    if isinstance(choice, Mismatch):
        ctx.tell(refusals.no_proposal(sa, "child SA", choice), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN)
    protect, region, proposed = offer.agreed
    _check_mode(ctx, sa, protect, message)
    told = translated.seen(sa, Traffic(tsi.ranges, tsr.ranges), transport=protect.mode is Mode.TRANSPORT)
    traffic = narrow.within(told, region)
    if not traffic.outbound or not narrow.lies_in(told, region):
        ctx.tell(refusals.traffic_refused(sa, proposed.outbound, told.outbound), sa.remote.address)
        raise RefusalError(NotifyType.TS_UNACCEPTABLE)
    _refuse_beside(ctx, sa, Agreed(protect, region, traffic))
    shared = None
    if offer.exchange is not None and choice.suite.key_exchange is not None:
        ke = message.first(KePayload)
        if ke is None or offer.method is None or ke.method != offer.method.id:
            raise RemoteProtocolError("a key exchange was agreed and not made", NotifyType.INVALID_SYNTAX)
        shared = offer.exchange.shared(ke.data)
    ni, nr = _nonces(sa, offer.nonce, message)
    child = _child(ctx, sa, choice, int.from_bytes(offer.spi), Agreed(protect, region, traffic))
    child.initiator, child.lowest_nonce = True, min(ni, nr)
    more = task.follow.secrets if task.follow is not None else b""
    return Made(child, Material(ni, nr, shared, by_us=True, more=more))


# Responder of the exchange


def answer(ctx: Context, sa: IkeSa, message: SealedMessage, only: ChildSa | None = None) -> tuple[Made, list[Payload]]:
    """Make a child SA of a proposal of the peer's, and the payloads that tell it. RefusalError when there is no way.

    `only`: a rekey stays within the filter of the child SA that it replaces.
    """
    if not crowd.room(ctx, sa):
        raise RefusalError(NotifyType.NO_ADDITIONAL_SAS)
    offered, tsi, tsr = _parts(message)
    transport = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
    proposed = translated.seen(sa, Traffic(tsr.ranges, tsi.ranges), transport=transport)
    agreed = _agree(ctx, sa, message, proposed, only)
    if agreed.protect.pfs and sa.handshake is not None and sa.handshake.session is not None:
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "no key exchange, and the filter wants forward secrecy")
    _refuse_beside(ctx, sa, agreed)
    if not dynamic.room(ctx, agreed):
        raise RefusalError(NotifyType.NO_ADDITIONAL_SAS)
    choice = _choose(ctx, sa, agreed.protect, offered)
    spi = ctx.fresh_child_spi()
    payloads: list[Payload] = [SaPayload((_chosen(choice, spi),))]
    if agreed.protect.mode is Mode.TRANSPORT:
        payloads.insert(0, NotifyPayload(NotifyType.USE_TRANSPORT_MODE))
    shared, nonce = None, b""
    if sa.handshake is None:
        nonce = ctx.entropy(_NONCE)
        shared, exchange = _respond_exchange(ctx, choice, message)
        payloads += [NoncePayload(nonce), *exchange]
    theirs, ours = _nonces(sa, nonce, message)
    child = _child(ctx, sa, choice, spi, agreed)
    child.lowest_nonce = min(theirs, ours)
    payloads += [TsiPayload(agreed.traffic.remote), TsrPayload(agreed.traffic.local)]
    return Made(child, Material(theirs, ours, shared, by_us=False)), payloads


# rfc 7296: answer-within-offer
def completed(ctx: Context, made: Made, more: bytes) -> Made:
    """What `answer` made, with the secrets of additional key exchanges. RefusalError when it has no place any more."""
    child = made.child
    stands = ctx.index.protect(child.reqid) == child.agreed.protect
    taken = ctx.store.child(child.spi_in) or ctx.store.child_out(child.remote, child.spi_out)
    if more and (taken is not None or not stands):
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)
    return Made(child, replace(made.material, more=more))


def _agree(ctx: Context, sa: IkeSa, message: SealedMessage, proposed: Traffic, only: ChildSa | None) -> Agreed:
    """Which filter, and which part of the traffic."""
    local, remote = sa.local.address, sa.remote.address
    transport = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
    wanted, other = (Mode.TRANSPORT, Mode.TUNNEL) if transport else (Mode.TUNNEL, Mode.TRANSPORT)
    reqid = only.reqid if only is not None and ctx.index.protect(only.reqid) is not None else None
    agreed = narrow.answer(ctx.index, Ends(local, remote, wanted), proposed, reqid)
    if agreed is not None:
        return agreed
    if narrow.answer(ctx.index, Ends(local, remote, other), proposed, reqid) is not None:
        ctx.tell(refusals.mode_mismatch(sa, other.name.lower(), wanted.name.lower()), remote)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "the other mode")
    regions = ctx.index.regions(local, remote, wanted)
    ours = [region.selector for region in regions]
    ctx.tell(refusals.traffic_refused(sa, ours, proposed.outbound), remote)
    raise RefusalError(NotifyType.TS_UNACCEPTABLE, payloads=offers.traffic(ours))


def _choose(ctx: Context, sa: IkeSa, protect: ProtectPolicy, offered: SaPayload) -> Choice:
    """The proposal. In IKE_AUTH a key exchange method says what rekeys will use and is left out (RFC 7296 1.2)."""
    first = sa.handshake is not None
    wires = tuple(_without_methods(wire) for wire in offered.proposals) if first else offered.proposals
    ours = _ours(sa, protect, pfs=protect.pfs and not first)
    acceptable = ours
    if not first and not protect.pfs:  # a peer may have more forward secrecy than we ask for
        acceptable = (*ours, *select.with_key_exchange(ours, _methods(sa), sa.agreed_suite.additional))
    choice = select.choose(acceptable, wires)
    if isinstance(choice, Mismatch):
        told = Mismatch(select.describe(ours), choice.theirs, choice.reason)
        ctx.tell(refusals.no_proposal(sa, "child SA", told), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, choice.reason, payloads=offers.refusal(ours))
    return choice


# rfc 7296: child-invalid-ke
def _respond_exchange(ctx: Context, choice: Choice, message: SealedMessage) -> tuple[bytes | None, list[Payload]]:
    method = choice.suite.key_exchange
    if method is None:
        return None, []
    ke = message.first(KePayload)
    if ke is None or ke.method != method.id:
        raise RemoteProtocolError(
            "another key exchange is wanted", NotifyType.INVALID_KE_PAYLOAD, method.id.to_bytes(2)
        )
    exchange = key_exchange_new(method, ctx.entropy)
    return exchange.shared(ke.data), [KePayload(method.id, exchange.public)]


# Both


def _refuse_beside(ctx: Context, sa: IkeSa, agreed: Agreed) -> None:
    """RefusalError for traffic that another host behind the same NAT has, or may have: that one is asked first."""
    other = neighbours.holder(ctx, sa, agreed)
    if other is None:
        return
    if not neighbours.proven_beside(sa, other):
        neighbours.doubt(ctx, other)
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)
    ctx.tell(notices.behind_one_nat(sa, other), sa.remote.address)
    raise RefusalError(NotifyType.TS_UNACCEPTABLE)


def _ours(sa: IkeSa, protect: ProtectPolicy, *, pfs: bool) -> tuple[Proposal, ...]:
    """Our proposals, each with transforms for sequence numbers (RFC 7296 3.3.3), with key exchanges for PFS only."""
    numbered = tuple(_numbered(proposal) for proposal in protect.proposals)
    if pfs:
        return select.with_key_exchange(numbered, _methods(sa), sa.agreed_suite.additional)
    return select.without_key_exchange(numbered)


def _numbered(proposal: Proposal) -> Proposal:
    if any(transform.type == TransformType.ESN for transform in proposal.transforms):
        return proposal
    transforms = (*proposal.transforms, *_NUMBERS)
    return Proposal(proposal.protocol, transforms, proposal.lifetime)


def _methods(sa: IkeSa) -> tuple[Transform, ...]:
    """Key exchange methods for PFS: that of the IKE SA first, then the others of main mode."""
    used = sa.agreed_suite.key_exchange
    others = select.key_exchanges(sa.pad.main_mode.proposals)
    return tuple(dict.fromkeys([*([used] if used is not None else []), *others]))


def _without_methods(wire: WireProposal) -> WireProposal:
    return wire._replace(transforms=tuple(t for t in wire.transforms if t.type not in select.METHODS))


# rfc 7296: spi-size
def _chosen(choice: Choice, spi: int) -> WireProposal:
    return WireProposal.of(choice.theirs.number, choice.theirs.protocol, spi.to_bytes(4), choice.answer)


def _parts(message: SealedMessage) -> tuple[SaPayload, TsiPayload, TsrPayload]:
    answer, tsi, tsr = message.first(SaPayload), message.first(TsiPayload), message.first(TsrPayload)
    if answer is None or tsi is None or tsr is None:
        raise RemoteProtocolError("a child SA without SA, TSi or TSr", NotifyType.INVALID_SYNTAX)
    return answer, tsi, tsr


def _nonces(sa: IkeSa, ours: bytes, message: SealedMessage) -> tuple[bytes, bytes]:
    """Ni and Nr of the exchange; for the child SA of IKE_AUTH those of IKE_SA_INIT."""
    if sa.handshake is not None:
        return sa.handshake.nonce_i, sa.handshake.nonce_r
    theirs = message.first(NoncePayload)
    if theirs is None:
        raise RemoteProtocolError("no nonce", NotifyType.INVALID_SYNTAX)
    return (theirs.data, ours) if not message.header.is_response else (ours, theirs.data)


# rfc 7296: transport-mode-echo
def _check_mode(ctx: Context, sa: IkeSa, protect: ProtectPolicy, message: SealedMessage) -> None:
    transport = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
    if transport != (protect.mode is Mode.TRANSPORT):
        theirs = "transport" if transport else "tunnel"
        ctx.tell(refusals.mode_mismatch(sa, protect.mode.name.lower(), theirs), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "the other mode")


def _child(ctx: Context, sa: IkeSa, choice: Choice, spi: int, agreed: Agreed) -> ChildSa:
    spi_out = int.from_bytes(choice.theirs.spi)
    if len(choice.theirs.spi) != 4 or spi_out < 256:
        raise RemoteProtocolError("an SPI that no child SA can have", NotifyType.INVALID_SYNTAX)
    if ctx.store.child_out(sa.remote.address, spi_out) is not None:
        raise RemoteProtocolError("an SPI that another child SA has", NotifyType.INVALID_SYNTAX)
    encapsulates = sa.lineage.nat.encapsulates
    if encapsulates and choice.ours.protocol is ProtocolId.AH:
        ctx.tell(refusals.ah_behind_nat(sa, agreed.protect.origin), sa.remote.address)
        raise RefusalError(NotifyType.NO_PROPOSAL_CHOSEN, "AH behind a NAT")
    if encapsulates and sa.local.port != NAT_T_PORT:
        raise RemoteProtocolError("a NAT, and the peer stays on a port that takes no ESP", NotifyType.INVALID_SYNTAX)
    return ChildSa(
        spi,
        spi_out,
        sa.local.address,
        sa.remote.address,
        agreed,
        agreed.traffic.outbound,
        choice.suite,
        choice.ours.lifetime,
        initiator=False,
        lowest_nonce=b"",
        created=ctx.now,
        protocol=ProtocolId(choice.ours.protocol),
        ports=(sa.local.port, sa.remote.port) if encapsulates else None,
    )
