# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of our SAs: lifetimes over, octets carried, SAs refused. And what the operator wants."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import (
    dynamic,
    enquiries,
    lifecycle,
    mapping,
    neighbours,
    notices,
    renewal,
    resumable,
    select,
    soft,
    wants,
)
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context
from xfrmd.ike.effects import DropHeld
from xfrmd.ike.events import Delete, Rekey, Remapped, SaExpired, SaFailed, SaUsed
from xfrmd.ike.ike_sa import IkeSa, IkeState
from xfrmd.ike.v2 import informational, mobike, redirect, rekey_child, rekey_ike
from xfrmd.model.addresses import Address


def _find(ctx: Context, spi: int, dst: Address) -> ChildSa | None:
    """The child SA with this SA as one of its two."""
    child = ctx.store.child_out(dst, spi)
    if child is None:
        child = ctx.store.child(spi)
        if child is not None and child.local != dst:
            child = None
    return child


def expired(ctx: Context, event: SaExpired) -> None:
    """Soft: time for a successor. Hard: the SA is gone, so the pair goes; traffic may ask for another."""
    child = _find(ctx, event.spi, event.dst)
    if child is None:
        return
    if not event.hard:
        rekey_child.order(ctx, child)
        return
    lineage = ctx.store.lineage_of(child)
    if lineage is None:
        lifecycle.drop_inbound(ctx, child)
    elif child.state is not ChildState.DELETING:
        ctx.tell(notices.child_down(child, event.why))
        lifecycle.doom(ctx, lineage, child)


def failed(ctx: Context, event: SaFailed) -> None:
    """The kernel has refused an SA: its pair is of no use, here and at the peer."""
    child = _find(ctx, event.spi, event.dst)
    lineage = ctx.store.lineage_of(child) if child is not None else None
    if child is None or lineage is None:
        return
    ctx.tell(notices.install_failed(child, event.reason), child.remote)
    ctx.out.append(DropHeld(child.reqid, child.agreed.selector))
    ctx.demand.bar(wants.key_of(child), ctx.now, whole_peer=False)
    lifecycle.doom(ctx, lineage, child)


def used(ctx: Context, event: SaUsed) -> None:
    """Octets on an inbound SA prove that the peer is alive; on an outbound one without echo they raise the question."""
    child = _find(ctx, event.spi, event.dst)
    lineage = ctx.store.lineage_of(child) if child is not None else None
    sa = lineage.current if lineage is not None else None
    if child is None or sa is None:
        return
    if event.dst == child.local:
        if event.octets > child.octets_in:
            child.octets_in = event.octets
            sa.sent_unheard = None
            lifecycle.promote(ctx, child)
    elif event.octets > child.octets_out:
        child.octets_out, sa.lineage.spoken = event.octets, ctx.now
        _sent(ctx, sa)


def _sent(ctx: Context, sa: IkeSa) -> None:
    """Traffic of ours has left. If nothing has come back for a while, ask (RFC 7296 2.4)."""
    if sa.sent_unheard is None:
        sa.sent_unheard = ctx.now
    idle = limits.LIVENESS_TOKEN if sa.peer_token else limits.LIVENESS_IDLE
    if ctx.now - sa.sent_unheard >= idle:
        neighbours.ask(ctx, sa)


# rfc 7296: nat-remapped
def remapped(ctx: Context, event: Remapped) -> None:
    """A NAT sends the peer's ESP from elsewhere. IKE follows with it, as far as the address is the same."""
    child = ctx.store.child(event.spi)
    lineage = ctx.store.lineage_of(child) if child is not None else None
    if child is None or lineage is None or lineage.current is None or child.local != event.dst:
        return
    if event.remote.address != child.remote:
        neighbours.ask(ctx, lineage.current)
    elif mapping.follow(ctx, lineage, event.remote):
        for sa in lineage.ike_sas:
            sa.remote = event.remote


def rekey(ctx: Context, event: Rekey) -> None:
    """The operator wants new keys for an SA."""
    sa = ctx.store.ike_sa(event.spi)
    if sa is not None:
        rekey_ike.order(ctx, sa.lineage.current or sa)
    child = ctx.store.child(int.from_bytes(event.spi)) if len(event.spi) == 4 else None
    if child is not None:
        rekey_child.order(ctx, child)


def delete(ctx: Context, event: Delete) -> None:
    """The operator wants an SA gone, or all of them."""
    if event.spi is None:
        resumable.revoke_all(ctx)
        goodbye(ctx)
        return
    sa = ctx.store.ike_sa(event.spi)
    if sa is not None:  # one that has just been replaced stands for the one in its place
        resumable.revoke(ctx, sa.lineage)
        # With what a rekey under way has made: the peer, which gives it up when it hears of the end, knows none of it.
        heirs = [one for one in sa.lineage.ike_sas if one.lives and one is not sa.lineage.current]
        for one in (*heirs, sa.lineage.current or sa):
            lifecycle.delete(ctx, one, "deleted by the operator")
    child = ctx.store.child(int.from_bytes(event.spi)) if len(event.spi) == 4 else None
    lineage = ctx.store.lineage_of(child) if child is not None else None
    if child is not None and lineage is not None and child.state is not ChildState.DELETING:
        ctx.tell(notices.child_down(child, "deleted by the operator"))
        lifecycle.doom(ctx, lineage, child)


def goodbye(ctx: Context) -> None:
    """All SAs end, without waiting for anything."""
    for every in ctx.store.ike_sas():
        _delete_now(ctx, every)
    for rest in ctx.store.all_children():
        lifecycle.drop_inbound(ctx, rest)
    for found in list(ctx.store.dynamic.values()):
        dynamic.close(ctx, found)
    for clear in list(ctx.store.soft.values()):
        soft.close(ctx, clear, "deleted by the operator, or the daemon stops")
    for peer in list(ctx.store.tickets.held):
        resumable.drop(ctx, peer)


def _delete_now(ctx: Context, sa: IkeSa) -> None:
    """Tell the peer once, remove the SAs."""
    if sa.channel is not None and sa.state in (IkeState.ESTABLISHED, IkeState.REPLACED):
        informational.farewell(ctx, sa)
    lifecycle.close(ctx, sa, linger=False)


def plan_changed(ctx: Context) -> None:
    """SAs that the new plan would not make end; the others stay (ctx.index is the new plan's). Those whose algorithms
    it no longer names are rekeyed at once.
    """
    for want in ctx.demand.every():
        protect = ctx.index.protect(want.key.reqid)
        if protect is None:
            wants.fail(ctx, want, whole_peer=False)
        elif protect.tunnel not in (None, (want.key.local, want.key.remote)):
            wants.follow(ctx, want, protect)
    soft.plan_changed(ctx)
    for sa in ctx.store.ike_sas():
        pad = ctx.index.pad(sa.local.address, sa.remote.address)
        if pad is None or pad.peers != sa.pad.peers:
            if pad is not None or not mobike.stay(ctx, sa):
                resumable.revoke(ctx, sa.lineage)
                lifecycle.delete(ctx, sa, "the policy has changed", restart=True)
        else:
            sa.pad, before = pad, sa.pad
            if resumable.may_be_revoked(ctx, sa.lineage.proofs.remote, pad):
                resumable.revoke(ctx, sa.lineage)
                lifecycle.delete(ctx, sa, enquiries.REVOKED, restart=True)
                continue
            if sa.state is IkeState.CONNECTING and before.main_mode.proposals != pad.main_mode.proposals:
                lifecycle.close(ctx, sa, linger=False, restart=True)  # what was offered cannot be chosen from any more
                continue
            mobike.home(ctx, sa.lineage)
            renewal.plan_changed(ctx, sa, before)
            redirect.plan_changed(ctx, sa)
            if sa.suite is not None and not select.still_named(sa.suite, pad.main_mode.proposals):
                rekey_ike.order(ctx, sa)
    for child in ctx.store.all_children():
        _fit(ctx, child)
    dynamic.plan_changed(ctx)


def made(ctx: Context, spi: int) -> None:
    """An answer has led to a child SA. The plan that it was asked for under may be another one than is in force now."""
    child = ctx.store.child(spi)
    if child is not None and ctx.index.protect(child.reqid) is not child.agreed.protect:
        _fit(ctx, child)


def _fit(ctx: Context, child: ChildSa) -> None:
    lineage = ctx.store.lineage_of(child)
    if lineage is not None and not _still_wanted(ctx, child):
        ctx.tell(notices.child_down(child, "the policy has changed"))
        lifecycle.doom(ctx, lineage, child)
    elif (protect := ctx.index.protect(child.reqid)) and not select.still_named(child.suite, protect.proposals):
        rekey_child.order(ctx, child)


def _still_wanted(ctx: Context, child: ChildSa) -> bool:
    protect = ctx.index.protect(child.reqid)
    return (
        protect is not None
        and not (protect.responds and dynamic.taken(ctx, child.agreed.selector))
        and protect.mode is child.agreed.protect.mode
        and protect.tunnel == child.agreed.protect.tunnel
        and all(any(whole.contains(part) for whole in protect.selectors) for part in child.selectors)
    )
