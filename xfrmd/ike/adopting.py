# SPDX-License-Identifier: GPL-2.0-or-later
"""SAs of an earlier run go on under the plan that is in force now (docs/decisions/0023).

What was outstanding is repeated octet for octet; what was only intended is found again: deletions by the state of their
child SAs, rekeys by lifetimes, the rest by traffic. Handshakes do not go on: an IKE SA that the peer may have taken for
established is deleted. So is a child SA whose halves are not both in the kernel: keys never go there a second time.
"""

from __future__ import annotations

import math
from typing import Final

from xfrmd import limits
from xfrmd.ike import dynamic, keepalive, kernel_events, lifecycle, mapping, notices, renewal, resumable
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.effects import AddFilter, KeepSa, RemoveSa
from xfrmd.ike.elsewhere import RedirectName
from xfrmd.ike.events import Adopt, Endpoint
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Offer, Task, TaskKind
from xfrmd.ike.key_exchanges import FollowUp, SeededExchange
from xfrmd.ike.narrow import Agreed
from xfrmd.ike.saved import (
    SaKey,
    SavedAgreed,
    SavedChild,
    SavedFilter,
    SavedFollowUp,
    SavedIkeSa,
    SavedLineage,
    SavedOffer,
    SavedTask,
)
from xfrmd.ike.saving import proof
from xfrmd.ike.session import Held, SpentName
from xfrmd.ike.v2 import rekey_child
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.child_keys import sad_entry
from xfrmd.ike.v2.message import sealed
from xfrmd.ike.window import Window
from xfrmd.model.pad import PadEntry
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret
from xfrmd.transforms.keymat import FlowKeys

_Children = dict[int, ChildSa]
_NO_KEYS: Final = FlowKeys(Secret(b""), Secret(b""))


def adopt(ctx: Context, event: Adopt) -> None:
    """Take in what was saved, as far as plan and kernel still have it."""
    for one in event.saved.filters:
        _filter(ctx, one)
    _names(ctx, event)
    known = {child.spi_in: child for child in event.saved.children}
    for saved in event.saved.lineages:
        pad = ctx.index.pad(saved.local.address, saved.remote.address)
        if pad is not None and saved.ike_sas:
            _lineage(ctx, event, saved, pad, known)
        elif saved.ticket:
            resumable.spend(ctx, saved.ticket)
    _link(ctx, known, {child.spi_in: child for child in ctx.store.all_children()})
    kernel_events.plan_changed(ctx)
    ike_sas = len(ctx.store.ike_sas())
    ctx.tell(notices.adopted(ike_sas, sum(1 for child in ctx.store.all_children() if child.sends)))


def _names(ctx: Context, event: Adopt) -> None:
    """Tickets that we hold, the names of those of ours that were used, and tunnels that were redirected."""
    for spent in event.saved.spent:
        ctx.store.tickets.spent[spent.name] = spent.until
        ctx.changed[SpentName(spent.name)] = None
    for redirect in event.saved.redirects:
        ctx.store.elsewhere.redirected.setdefault(redirect.gateway, {})[redirect.end] = redirect.last
        ctx.changed[RedirectName(redirect.gateway, redirect.end)] = None
    for one in event.saved.tickets:
        resumable.keep(ctx, one.remote, Held(one.ticket.reveal(), one.session))


def _filter(ctx: Context, saved: SavedFilter) -> None:
    """One whose rule the plan no longer has ends at once, by plan_changed."""
    found = DynamicFilter(saved.reqid, saved.selector, saved.local, saved.remote)
    ctx.store.dynamic[(found.reqid, found.selector)] = found
    ctx.changed[found] = None
    ctx.timers.set((TimerKind.DYNAMIC_END, found), ctx.now + limits.DYNAMIC_IDLE if saved.ends is None else saved.ends)
    ctx.out.append(AddFilter(found.reqid, found.selector))


def _lineage(ctx: Context, event: Adopt, saved: SavedLineage, pad: PadEntry, known: dict[int, SavedChild]) -> None:
    lineage = Lineage(Endpoint(*saved.local), Endpoint(*saved.remote), vendor=saved.vendor)
    lineage.quick_modes, lineage.full = saved.quick_modes, saved.full
    lineage.nat, lineage.fragments = saved.nat, saved.fragments
    lineage.moves, lineage.follows = saved.moves, saved.follows
    lineage.authenticated, lineage.resumed = saved.authenticated, saved.resumed
    lineage.ticket, lineage.renews = saved.ticket, saved.renews
    lineage.led, lineage.leads = saved.led, saved.leads
    lineage.term = saved.term
    lineage.believed_until = math.inf if saved.believed_until is None else saved.believed_until
    lineage.proofs = saved.proofs
    ike_sas = {one.spi: _ike_sa(ctx, lineage, one, pad) for one in saved.ike_sas}
    for one in saved.ike_sas:
        ike_sas[one.spi].rival = ike_sas.get(one.rival) if one.rival is not None else None
    current = ike_sas.get(saved.current) if saved.current is not None else None
    lineage.current = current if current is not None and current.lives else None
    children: _Children = {}
    for spi in saved.children:
        if spi in known:
            _child(ctx, event, lineage, known[spi], children)
    _link(ctx, known, children)
    for one in saved.ike_sas:
        _tasks(ctx, ike_sas[one.spi], one, children)
    _resume(ctx, event, lineage, children)
    for one in saved.ike_sas:
        if one.proof != proof(pad, one.keys.sk_d.reveal()):
            lifecycle.delete(ctx, ike_sas[one.spi], "the policy has changed", restart=True)
    keepalive.watch(ctx, lineage)
    renewal.plan(ctx, lineage)
    there = ctx.store.lineages(lineage.local.address, lineage.remote.address)
    ctx.agenda.idle.update(dict.fromkeys(there))  # one may be one too many, and be so to those taken in before it


def _ike_sa(ctx: Context, lineage: Lineage, saved: SavedIkeSa, pad: PadEntry) -> IkeSa:
    local, remote = Endpoint(*saved.local), Endpoint(*saved.remote)
    sa = IkeSa(saved.initiator, saved.spi_i, saved.spi_r, local, remote, pad, lineage, saved.created)
    sa.suite, sa.lifetime, sa.settled = saved.suite, saved.lifetime, saved.settled
    sa.local_id, sa.remote_id, sa.lowest_nonce = saved.local_id, saved.remote_id, saved.lowest_nonce
    sa.peer_token, sa.rekeyed = saved.peer_token, saved.rekeyed
    sa.channel = Channel.restored(saved.suite, saved.keys, saved.initiator, ctx.entropy)
    sa.window = Window.restored(saved.window)
    state = IkeState(saved.state)
    lifecycle.begin(ctx, sa, IkeState.DELETING if state is IkeState.AUTHENTICATING else state)
    ctx.timers.set((TimerKind.STATE, sa), saved.ends)
    rekeying = saved.task is not None and saved.task.kind == TaskKind.REKEY_IKE.value
    if saved.rekey_at is not None:
        ctx.timers.set((TimerKind.REKEY_IKE, sa), saved.rekey_at)
    elif sa.state is IkeState.ESTABLISHED and not rekeying:  # it was due, and the peer too busy
        ctx.timers.set((TimerKind.REKEY_IKE, sa), ctx.now + limits.BUSY_RETRY)
    if sa.window.busy:
        ctx.timers.set((TimerKind.RETRANSMIT, sa), ctx.now + limits.ADOPTED_REPEAT)
    ctx.touch(sa)
    return sa


def _agreed(ctx: Context, saved: SavedAgreed) -> Agreed | None:
    """What was agreed, None when the plan does not have the filter any more."""
    protect = ctx.index.protect(saved.reqid)
    return Agreed(protect, saved.selector, saved.traffic) if protect is not None else None


def _child(ctx: Context, event: Adopt, lineage: Lineage, saved: SavedChild, children: _Children) -> None:
    agreed = _agreed(ctx, saved.agreed)
    if agreed is None:
        _disown(ctx, lineage, saved)
        return
    child = ChildSa(
        saved.spi_in,
        saved.spi_out,
        saved.local,
        saved.remote,
        agreed,
        agreed.traffic.outbound,
        saved.suite,
        saved.lifetime,
        initiator=saved.initiator,
        lowest_nonce=saved.lowest_nonce,
        created=saved.created,
        pending_out=saved.pending_out,
        protocol=saved.protocol,
        ports=saved.ports,
    )
    child.begin(ChildState(saved.state))
    dynamic.cover(ctx, child)
    ctx.store.add_child(lineage, child)
    children[child.spi_in] = child
    for key in _halves(child):
        if key in event.kernel:
            found, inbound = event.kernel[key], key[0] == child.local
            ctx.out.append(KeepSa(sad_entry(child, _NO_KEYS, found.soft, inbound=inbound), found.added))
            mapping.confirm(ctx, child, inbound=inbound)
    if child.state is ChildState.AWAITED and child.pending_out is not None:
        ctx.timers.set((TimerKind.SUCCESSOR, child), ctx.now if saved.switch_at is None else saved.switch_at)


def _halves(child: ChildSa) -> list[SaKey]:
    """The SAs that the kernel should have."""
    inbound, outbound = (child.local, child.protocol, child.spi_in), (child.remote, child.protocol, child.spi_out)
    return [inbound, outbound] if child.sends else [inbound]


def _disown(ctx: Context, lineage: Lineage, saved: SavedChild) -> None:
    """Its filter is gone: so is the child SA, here and at the peer."""
    ctx.out.append(RemoveSa(saved.protocol, saved.spi_out, saved.local, saved.remote))
    ctx.out.append(RemoveSa(saved.protocol, saved.spi_in, saved.remote, saved.local))
    if lineage.current is not None:
        lifecycle.disown(ctx, lineage.current, saved.protocol, saved.spi_in.to_bytes(4))


def _link(ctx: Context, known: dict[int, SavedChild], children: _Children) -> None:
    """Which takes the place of which; they may belong to different lineages."""
    for spi, child in children.items():
        successor, predecessor = known[spi].successor, known[spi].predecessor
        child.successor = ctx.store.child(successor) if successor is not None else None
        child.predecessor = ctx.store.child(predecessor) if predecessor is not None else None


def _tasks(ctx: Context, sa: IkeSa, saved: SavedIkeSa, children: _Children) -> None:
    """The outstanding request and what must follow it. One that speaks of a filter that is gone ends the IKE SA."""
    if saved.state == IkeState.AUTHENTICATING.value:  # what the handshake knew is lost: the peer is to forget it too
        sa.task = Task(TaskKind.AUTH)
    elif saved.task is not None:
        sa.task = _task(ctx, saved.task, children)
        if sa.task is None:
            sa.task = Task(TaskKind(saved.task.kind))
            lifecycle.delete(ctx, sa, "the policy has changed", restart=True)
            return
    if sa.lineage.moves and sa.task is not None and sa.state is IkeState.ESTABLISHED:
        sa.tasks.append(Task(TaskKind.MOVE))  # it may have waited behind that; where we are can be said twice
    for protocol, spis in ((ProtocolId.ESP, saved.disowned), (ProtocolId.AH, saved.disowned_ah)):
        if spis:
            sa.tasks.append(Task(TaskKind.DELETE_CHILD, spis=spis, protocol=protocol))
    deleting = sa.task is not None and sa.task.kind is TaskKind.DELETE_IKE
    if sa.state is IkeState.DELETING and not deleting:
        sa.tasks.append(Task(TaskKind.DELETE_IKE))


def _task(ctx: Context, saved: SavedTask, children: _Children) -> Task | None:
    child = children.get(saved.child) if saved.child is not None else None
    offer = _offer(ctx, saved.offer) if saved.offer is not None else None
    if (saved.child is not None and child is None) or (saved.offer is not None and offer is None):
        return None
    return Task(
        TaskKind(saved.kind),
        child=child,
        doomed=tuple(children[spi] for spi in saved.doomed if spi in children),
        spis=saved.spis,
        protocol=saved.protocol,
        offer=offer,
        method=saved.method,
        restarts=saved.restarts,
        reason=saved.reason,
        stillborn=set(saved.stillborn),
        follow=_follow(saved.follow) if saved.follow is not None else None,
        cookie=saved.cookie,
    )


def _follow(saved: SavedFollowUp) -> FollowUp:
    answer = sealed(saved.header, saved.first, saved.content.reveal(), b"")
    exchange = SeededExchange.again(saved.left[0], saved.seed)
    return FollowUp(answer, saved.left, saved.link, saved.secrets.reveal(), exchange)


def _offer(ctx: Context, saved: SavedOffer) -> Offer | None:
    offer = Offer(saved.spi, saved.proposals, saved.nonce, method=saved.method)
    if saved.agreed is not None:
        offer.agreed = _agreed(ctx, saved.agreed)
        if offer.agreed is None:
            return None
    if saved.seed is not None and saved.method is not None:
        offer.exchange = SeededExchange.again(saved.method, saved.seed)
    return offer


def _resume(ctx: Context, event: Adopt, lineage: Lineage, children: _Children) -> None:
    """What was intended for child SAs, and what the kernel has told while nobody listened."""
    tasks = [sa.task for sa in lineage.ike_sas if sa.task is not None]
    asked = {child for task in tasks for child in (task.child, *task.doomed) if child is not None}
    unsaid = [child for child in children.values() if child.state is ChildState.DELETING and child not in asked]
    if unsaid and lineage.current is not None:
        lineage.current.tasks.append(Task(TaskKind.DELETE_CHILD, doomed=tuple(unsaid)))
    for child in children.values():
        if child.state is ChildState.REKEYING and child not in asked:
            child.enter(ChildState.INSTALLED)
        halves = _halves(child)
        found = [event.kernel[key] for key in halves if key in event.kernel]
        if len(found) < len(halves) and child.state is not ChildState.DELETING:
            ctx.tell(notices.child_down(child, "the kernel no longer has it"))
            lifecycle.doom(ctx, lineage, child)
        elif any(one.due for one in found):
            rekey_child.order(ctx, child)
