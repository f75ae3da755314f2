# SPDX-License-Identifier: GPL-2.0-or-later
"""INFORMATIONAL (RFC 7296 1.4): deletion of SAs, and the question whether the peer is alive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from xfrmd import limits
from xfrmd.ike import lifecycle, notices, renewal, resumable
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, Task
from xfrmd.ike.v2 import crash, fatal, mobike, redirect, rekey_ike, ticketing
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import DeletePayload, NotifyPayload, Payload
from xfrmd.model.proposals import ProtocolId

# Requests of ours


# rfc 7296: delete-own-spis
def delete_children(_ctx: Context, _sa: IkeSa, task: Task) -> list[Payload] | None:
    """Tell the peer which child SAs end; None when it has ended them all itself."""
    doomed = [_inbound(child) for child in task.doomed if child.state is ChildState.DELETING]
    return _deletes([*doomed, *((task.protocol, spi) for spi in task.spis)]) or None


def children_deleted(ctx: Context, sa: IkeSa, task: Task, _message: SealedMessage) -> None:
    """The peer no longer sends with them; what is still under way is taken if others carry on."""
    for child in task.doomed:
        if child.state is ChildState.DELETING:
            lifecycle.retire(ctx, sa.lineage, child, linger=lifecycle.give_place(ctx, child))


def delete_ike(_ctx: Context, _sa: IkeSa, task: Task) -> list[Payload] | None:
    """Tell the peer that the IKE SA ends, and why if there is a reason."""
    reason = [NotifyPayload(task.reason)] if task.reason else []
    return [*reason, DeletePayload(ProtocolId.IKE)]


def ike_deleted(ctx: Context, sa: IkeSa, _task: Task, _message: SealedMessage) -> None:
    """The peer knows that the IKE SA has ended."""
    lifecycle.close(ctx, sa)


def farewell(ctx: Context, sa: IkeSa) -> None:
    """Tell the peer that the IKE SA ends and do not wait for an answer."""
    header = Header.of(
        sa.spi_i,
        sa.spi_r,
        ExchangeType.INFORMATIONAL,
        sa.window.next_id,
        initiator=sa.initiator,
        response=False,
    )
    ctx.send(sa, sa.agreed_channel.seal(header, [DeletePayload(ProtocolId.IKE)]))


# rfc 7296: liveness
def liveness(_ctx: Context, _sa: IkeSa, _task: Task) -> list[Payload] | None:
    """An empty request: whoever answers is alive (RFC 7296 2.4)."""
    return []


def alive(_ctx: Context, _sa: IkeSa, _task: Task, _message: SealedMessage) -> None:
    """It is alive; that it was heard is noted for every message."""


# Requests of the peer


# rfc 7296: informational-answered delete-form
def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """Delete what the peer has deleted; anything else only wants an answer."""
    crash.taken(sa, message)
    answers = mobike.receive(ctx, sa, message) + ticketing.given(ctx, sa, message)
    redirect.told(ctx, sa, message)
    renewal.taken(ctx, sa.lineage, message)
    deletes = message.every(DeletePayload)
    error = fatal.said(sa, message)
    if error is not None:
        refused = error.notify == NotifyType.AUTHENTICATION_FAILED
        notice = notices.auth_refused(sa, error.notify) if refused else notices.ended_by_error(sa, error.notify)
        ctx.tell(notice, sa.remote.address)
        resumable.revoke(ctx, sa.lineage)
        ctx.agenda.closing = sa
    if any(delete.protocol == ProtocolId.IKE for delete in deletes):
        ctx.agenda.closing = sa
        return answers
    named = [(delete.protocol, spi) for delete in deletes for spi in delete.spis]
    found = [child for one in named if (child := ctx.store.child_of(sa.lineage, *one)) is not None]
    if sa.task is not None:
        spis = (int.from_bytes(spi) for _, spi in named)
        sa.task.stillborn.update(islice(spis, limits.DELETED_SPIS - len(sa.task.stillborn)))
    gone = [one for child in dict.fromkeys(found) if (one := _peer_deleted(ctx, sa, child)) is not None]
    return [*answers, *_deletes(gone)]


# rfc 7296: delete-obeyed delete-crossing
def _peer_deleted(ctx: Context, sa: IkeSa, child: ChildSa) -> tuple[ProtocolId, bytes] | None:
    """End our side; our SPI goes into the answer unless we have asked for the same deletion (RFC 7296 1.4.1)."""
    if child.successor is not None:
        lifecycle.promote(ctx, child.successor)
    asked = child.state is ChildState.DELETING
    linger = lifecycle.give_place(ctx, child) or asked
    if not linger:
        ctx.tell(notices.child_down(child, "the peer has deleted it"))
    lifecycle.retire(ctx, sa.lineage, child, linger=linger)
    return None if asked else _inbound(child)


def _inbound(child: ChildSa) -> tuple[ProtocolId, bytes]:
    return child.protocol, child.spi_in.to_bytes(4)


def _deletes(named: Sequence[tuple[ProtocolId, bytes]]) -> list[Payload]:
    """A payload for each protocol (RFC 7296 3.11)."""
    protocols = dict.fromkeys(protocol for protocol, _ in named)
    return [DeletePayload(one, tuple(spi for protocol, spi in named if protocol == one)) for one in protocols]


# rfc 7296: delete-ike-takes-children
def ended(ctx: Context, sa: IkeSa) -> None:
    """The peer has deleted the IKE SA (RFC 7296 2.25.2: our own rekey of it is forgotten, the peer's counts)."""
    rekey_ike.settle(ctx, sa)
    if sa.lineage.current is sa:
        ctx.tell(notices.ike_down(sa, "the peer has deleted it"))
    lifecycle.close(ctx, sa, restart=True)
