# SPDX-License-Identifier: GPL-2.0-or-later
"""From traffic to a negotiation: which filter, which peer, which IKE SA (RFC 4301 4.4.1, 4.4.3)."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import dynamic, lifecycle, narrow, neighbours, notices, soft, wants
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want, WantKey
from xfrmd.ike.effects import AskUsed, DropHeld, ReleaseHeld
from xfrmd.ike.events import Acquire, Endpoint, Initiate, InitiateIke
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.ike.soft_sa import SoftSa
from xfrmd.ike.v2 import create_child, init, mobike, resume
from xfrmd.model.addresses import Address
from xfrmd.model.plan import ProtectPolicy
from xfrmd.model.selector import Selector

IKE_PORT = 500


def acquire(ctx: Context, event: Acquire) -> None:
    """A packet wants an SA."""
    protect = ctx.index.protect(event.reqid)
    region = _region(ctx, protect, event.packet) if protect is not None else None
    if protect is None or region is None:
        ctx.out.append(DropHeld(event.reqid, event.packet))  # the plan has changed under the packet
        return
    local, remote = _peers(protect, event.packet.src.address, event.packet.dst.address)
    for child in ctx.store.children(local, remote, event.reqid):
        if child.carries(event.packet):
            ctx.out.extend(ReleaseHeld(event.reqid, selector) for selector in child.selectors)
            return
        if child.state is ChildState.AWAITED and child.covers(event.packet):
            # It goes as soon as the peer is ready. It may be the answer to the peer's first packet, which shows that.
            ctx.out.append(AskUsed(child.protocol, child.spi_in, child.local))
            return
    if (event.reqid, region) in ctx.store.soft:
        ctx.out.append(ReleaseHeld(event.reqid, region))
    else:
        _demand(ctx, WantKey(event.reqid, local, remote, region), event.packet)


def _region(ctx: Context, protect: ProtectPolicy, packet: Selector) -> Selector | None:
    if protect.responds:  # it speaks of nothing by itself
        return dynamic.region_of(ctx, protect, packet)
    return narrow.region_of(protect, packet)


def initiate(ctx: Context, event: Initiate) -> None:
    """The operator wants an SA."""
    protect = ctx.index.protect(event.reqid)
    region = narrow.widest_region(protect, event.local, event.remote) if protect is not None else None
    if protect is None or region is None or protect.responds:
        return
    local, remote = _peers(protect, event.local, event.remote)
    children = ctx.store.children(local, remote, event.reqid)
    if not any(child.sends and child.agreed.selector == region for child in children):
        _demand(ctx, WantKey(event.reqid, local, remote, region), None)


# rfc 6023: only-when-announced
def initiate_ike(ctx: Context, event: InitiateIke) -> None:
    """An IKE SA without a child SA is wanted. Nothing happens where there is an IKE SA already, or no rule."""
    pad, there = ctx.index.pad(event.local, event.remote), ctx.store.lineages(event.local, event.remote)
    if pad is not None and pad.auth and pad.main_mode.proposals and not there:
        init.initiate(ctx, pad, Endpoint(event.local, IKE_PORT), Endpoint(event.remote, IKE_PORT), None)


def _peers(protect: ProtectPolicy, local: Address, remote: Address) -> tuple[Address, Address]:
    return protect.tunnel or (local, remote)


def _demand(ctx: Context, key: WantKey, packet: Selector | None) -> None:
    want = ctx.demand.find(key)
    if want is not None:
        if packet is not None:
            ctx.demand.join(want, packet)
        return
    want = ctx.demand.add(key, packet, ctx.now)
    if want is None:
        ctx.out.append(DropHeld(key.reqid, key.region))
    else:
        start(ctx, want)


def start(ctx: Context, want: Want) -> None:
    """Negotiate what is wanted: under an IKE SA with the peer that takes one more child SA, else under a new one."""
    key = want.key
    want.tries += 1
    pad = ctx.index.pad(key.local, key.remote)
    if pad is None or not pad.auth or not pad.main_mode.proposals:
        ctx.tell(notices.no_rule(key.local, key.remote), key.remote)
        wants.fail(ctx, want, whole_peer=True)
        return
    if want.tries > limits.WANT_TRIES:
        wants.fail(ctx, want, whole_peer=False)
        return
    sa = _usable(ctx, want) or mobike.move(ctx, key.local, key.remote, pad)
    if sa is not None:
        sa.tasks.append(Task(TaskKind.NEW_CHILD, want=want))
        ctx.touch(sa)
    else:
        ends = _ends(ctx, want)
        sa = resume.start(ctx, pad, *ends, want) or init.initiate(ctx, pad, *ends, want)
    soft.watch(ctx, sa, want)


def _ends(ctx: Context, want: Want) -> tuple[Endpoint, Endpoint]:
    """Where a new IKE SA begins. Behind a NAT the peer of the old one is found only where that is (RFC 7296 2.23)."""
    leaving = ctx.store.lineage_of(want.replaces) if want.replaces is not None else None
    old = leaving.current if leaving is not None else None
    if old is not None and old.lineage.nat.there:
        return old.local, old.remote
    return Endpoint(want.key.local, IKE_PORT), Endpoint(want.key.remote, IKE_PORT)


def _usable(ctx: Context, want: Want) -> IkeSa | None:
    """The IKE SA to use: one that will stay first, and an established one before one on its way. What is to be made
    anew because its IKE SA is to end is not made there, and nothing with a peer that has not proved its new address. Of
    several hosts behind one NAT that which has had this traffic before.
    """
    leaving = ctx.store.lineage_of(want.replaces) if want.replaces is not None else None
    found = [
        lineage.current
        for lineage in ctx.store.lineages(want.key.local, want.key.remote)
        if lineage.current is not None and lineage.current.lives and not _has_heir(lineage)
        if not (lineage.term.aging and lineage is leaving) and not mobike.unproven(lineage)
    ]
    usable = [sa for sa in found if _takes(sa)]
    if any(sa.lineage.nat.there for sa in usable):
        served = [sa for sa in usable if neighbours.serves(sa.lineage, want)]
        usable = served or usable
    return max(usable, key=_worth, default=None)


def _worth(sa: IkeSa) -> tuple[bool, bool, bool]:
    return not sa.lineage.term.aging, sa.state is IkeState.ESTABLISHED, not sa.lineage.doubtful


def _has_heir(lineage: Lineage) -> bool:
    heir = lineage.heir.current if lineage.heir is not None else None
    return heir is not None and heir.state is IkeState.ESTABLISHED


def _takes(sa: IkeSa) -> bool:
    """Will it take one more, those that wait for it counted?"""
    limit = sa.pad.main_mode.quick_modes
    waiting = sum(task.kind in (TaskKind.NEW_CHILD, TaskKind.AUTH) for task in sa.tasks)
    waiting += sa.handshake is not None and sa.handshake.want is not None
    return create_child.takes_children(sa) and (limit == 0 or sa.lineage.quick_modes + waiting < limit)


def prune(ctx: Context, lineage: Lineage) -> None:
    """End an IKE SA that we asked for when it takes no more child SAs and has none, or when it is one too many.

    Both ends begin at once now and then; of two such IKE SAs the one with the lowest nonce goes, as RFC 7296 2.8.1 has
    it for rekeys. Its child SAs are made anew under the other one first.
    """
    sa = lineage.current
    if sa is None or sa.state is not IkeState.ESTABLISHED:
        return
    if not lineage.children and _others(ctx, lineage):
        ctx.timers.set((TimerKind.EMPTY, sa), ctx.now + limits.EMPTY_IKE_SA)
    if not sa.initiator and not lineage.term.aging:
        return
    lineage.heir = next((other for other in _others(ctx, lineage) if _outdone(lineage, sa, other)), None)
    if lineage.heir is not None:
        for child in list(lineage.children.values()):
            if child.sends:
                lifecycle.hand_over(ctx, lineage, child)
    spent = lineage.heir is not None or lineage.term.aging or not create_child.takes_children(sa)
    if spent and not lineage.children and not sa.tasks and not sa.window.busy:
        lifecycle.delete(ctx, sa, "it is of no more use")


def empty(ctx: Context, sa: IkeSa) -> None:
    """An IKE SA had no child SA a while ago. If it still has none and there is another one, it goes."""
    if sa.state is IkeState.ESTABLISHED and not sa.lineage.children and _others(ctx, sa.lineage):
        lifecycle.delete(ctx, sa, "it is of no more use")


def soft_over(ctx: Context, clear: SoftSa) -> None:
    """The lifetime of a soft SA is over. Traffic that comes then negotiates from the start, with a peer's full time."""
    soft.close(ctx, clear, "its lifetime is over")
    want = ctx.demand.find(clear.key)
    if want is not None:
        ctx.demand.done(want)
        _leave_silent(ctx, clear.key.local, clear.key.remote)


def instead_of_soft(ctx: Context, sa: IkeSa) -> None:
    """An IKE SA with a peer stands. What goes to it in the clear gets child SAs, at once; or ends if it cannot."""
    found = [
        one
        for one in ctx.store.soft.values()
        if (one.key.local, one.key.remote) == (sa.local.address, sa.remote.address)
    ]
    if found:
        _leave_silent(ctx, sa.local.address, sa.remote.address)
    for clear in found:
        if not soft.ask(ctx, clear):
            soft.close(ctx, clear, "the peer has authenticated, and no SA can be negotiated now")


def _leave_silent(ctx: Context, local: Address, remote: Address) -> None:
    """Stop asking a peer that has not answered; what else waits for it starts anew."""
    for lineage in ctx.store.lineages(local, remote):
        sa = lineage.current
        if sa is not None and sa.state is IkeState.CONNECTING and not sa.greeting.answered:
            lifecycle.close(ctx, sa, linger=False, restart=True)


def _others(ctx: Context, lineage: Lineage) -> list[Lineage]:
    """The other lineages with the same peer."""
    found = ctx.store.lineages(lineage.local.address, lineage.remote.address)
    return [other for other in found if other is not lineage]


def _outdone(lineage: Lineage, sa: IkeSa, other: Lineage) -> bool:
    beside = other.current
    if beside is None or beside.state is not IkeState.ESTABLISHED or other.doubtful:
        return False
    if not neighbours.same_host(sa, beside):
        return False
    if lineage.term.aging != other.term.aging:
        return lineage.term.aging
    if sa.pad.main_mode.quick_modes or not create_child.takes_children(beside):
        return False
    return sa.lowest_nonce < beside.lowest_nonce or (bool(other.children) and not lineage.children)
