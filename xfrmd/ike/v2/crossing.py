# SPDX-License-Identifier: GPL-2.0-or-later
"""New child SAs into the kernel, and what to do when both ends have made one for the same traffic.

RFC 7296 2.8.1 says for rekeys: of two SAs made at once the one made with the lowest nonce goes, and its maker deletes
it. We hold to the same rule when both ends begin at once, so that one pair remains.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import lifecycle, notices, refusals, wants
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import InstallSa
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.journal import Count
from xfrmd.ike.v2.child import Made

Pair = tuple[InstallSa, InstallSa]


# rfc 7296: both-receive-first
def install(ctx: Context, sa: IkeSa, made: Made, pair: Pair) -> None:
    """A child SA that we asked for: the peer is ready, so inbound and outbound at once."""
    child = made.child
    twin = _twin(ctx, child)
    lifecycle.take_in(ctx, sa.lineage, child, pair[0])
    want = ctx.demand.find(wants.key_of(child))
    moved = want is not None and want.replaces is twin
    if twin is not None and not moved and _loses(child, twin):
        child.enter(ChildState.AWAITED)
        lifecycle.doom(ctx, sa.lineage, child)
        return
    _send_from_now(ctx, sa, child, pair[1])
    if want is not None and want.packet is not None and not child.carries(want.packet):
        ctx.tell(refusals.traffic_refused(sa, [want.packet], child.selectors), sa.remote.address)
        wants.fail(ctx, want, whole_peer=False)


def install_answer(ctx: Context, sa: IkeSa, made: Made, pair: Pair) -> None:
    """A child SA that the peer asked for. It sends before our response where no packet waits for it: the peer's first
    one may come while we are still busy with the response, and its answer must find an SA, as Linux itself does not
    hold its answers to an ICMPv6 echo. Where some wait, or go by an older SA, it sends when the peer has read the
    response and set up its end: a packet on it shows that (negotiate.acquire looks), and in the end time does.
    """
    child = made.child
    twin = _twin(ctx, child)
    lifecycle.take_in(ctx, sa.lineage, child, pair[0])
    mark = len(ctx.out)
    if ctx.demand.find(wants.key_of(child)) is None and not _carried(ctx, child):
        _send_from_now(ctx, sa, child, pair[1])
        mark += 1
    else:
        child.enter(ChildState.AWAITED)
        child.pending_out = pair[1].sa
        ctx.timers.set((TimerKind.SUCCESSOR, child), ctx.now + limits.PEER_READY)
        _stands(ctx, sa, child)
    if twin is not None and (_loses(twin, child) or ctx.now - twin.created > limits.CROSSING):
        _doom(ctx, twin)
    ctx.later += ctx.out[mark:]
    del ctx.out[mark:]


def _send_from_now(ctx: Context, sa: IkeSa, child: ChildSa, outbound: InstallSa) -> None:
    ctx.out.append(outbound)
    child.enter(ChildState.INSTALLED)
    _stands(ctx, sa, child)
    wants.release(ctx, child)


def _stands(ctx: Context, sa: IkeSa, child: ChildSa) -> None:
    """A child SA answers the demand for it, and takes the place of the one that it was to replace."""
    want = ctx.demand.find(wants.key_of(child))
    wants.answer(ctx, child)
    if want is not None and want.replaces is not None:
        _doom(ctx, want.replaces)
    ctx.journal.count(Count.CHILD_SAS)
    ctx.tell(notices.child_up(sa, child))


def _doom(ctx: Context, child: ChildSa) -> None:
    lineage = ctx.store.lineage_of(child)
    if lineage is not None:
        lifecycle.doom(ctx, lineage, child)


def _carried(ctx: Context, child: ChildSa) -> bool:
    """Does an older child SA carry this one's traffic?"""
    others = ctx.store.children(child.local, child.remote, child.reqid)
    return any(other.sends and other.selectors == child.selectors for other in others)


def _twin(ctx: Context, child: ChildSa) -> ChildSa | None:
    """A child SA for the same traffic that the other end asked for."""
    for other in ctx.store.children(child.local, child.remote, child.reqid):
        lives = other.sends or (other.pending_out is not None and other.predecessor is None)
        if lives and other.initiator != child.initiator and other.selectors == child.selectors:
            return other
    return None


# rfc 7296: lowest-nonce
def _loses(one: ChildSa, other: ChildSa) -> bool:
    """Is `one`, which we asked for, to go?"""
    return one.initiator and one.lowest_nonce < other.lowest_nonce
