# SPDX-License-Identifier: GPL-2.0-or-later
"""New child SAs into the kernel, and what to do when both ends have made one for the same traffic.

RFC 7296 2.8.1 says for rekeys: of two SAs made at once the one made with the lowest nonce goes, and its maker deletes
it. We hold to the same rule when both ends begin at once, so that one pair remains.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import lifecycle, neighbours, notices, refusals, wants
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import InstallSa
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage
from xfrmd.ike.journal import Count
from xfrmd.ike.v2.child import Made

Pair = tuple[InstallSa, InstallSa]


# rfc 7296: both-receive-first
def install(ctx: Context, sa: IkeSa, made: Made, pair: Pair) -> None:
    """A child SA that we asked for: the peer is ready, so inbound and outbound at once."""
    child = made.child
    twins = [one for one in _twins(ctx, child) if not _outlived(ctx, one)]
    lifecycle.take_in(ctx, sa.lineage, child, pair[0])
    want = ctx.demand.find(wants.key_of(child))
    moved = want.replaces if want is not None else None
    if any(one is not moved and _loses(child, one) for one in twins):
        child.enter(ChildState.AWAITED)
        lifecycle.doom(ctx, sa.lineage, child)
        wants.answer(ctx, child)  # what stays carries the same
    else:
        _send_from_now(ctx, sa, child, pair[1])
    if want is not None and want.packet is not None and not child.covers(want.packet):
        ctx.tell(refusals.traffic_refused(sa, [want.packet], child.selectors), sa.remote.address)
        wants.fail(ctx, want, whole_peer=False)


def install_answer(ctx: Context, sa: IkeSa, made: Made, pair: Pair) -> None:
    """A child SA that the peer asked for. It sends before our response where no packet waits for it: the peer's first
    one may come while we are still busy with the response, and its answer must find an SA, as Linux itself does not
    hold its answers to an ICMPv6 echo. Where some wait, or go by an older SA, it sends when the peer has read the
    response and set up its end: a packet on it shows that (negotiate.acquire looks), and in the end time does. One
    that is to be replaced goes then too.
    """
    child = made.child
    twins = _twins(ctx, child)
    lifecycle.take_in(ctx, sa.lineage, child, pair[0])
    mark = len(ctx.out)
    carried = _carried(ctx, child)
    if ctx.demand.find(wants.key_of(child)) is None and not carried:
        _send_from_now(ctx, sa, child, pair[1])
        mark += 1
    else:
        child.enter(ChildState.AWAITED)
        child.pending_out = pair[1].sa
        crossed = any(not _outlived(ctx, one) for one in twins)
        wait = limits.SUCCESSOR_WAIT if carried and not crossed else limits.PEER_READY
        ctx.timers.set((TimerKind.SUCCESSOR, child), ctx.now + wait)
        _stands(ctx, sa, child)
    for twin in twins:
        if _loses(twin, child) or _outlived(ctx, twin):
            _make_way(ctx, twin, child)
    ctx.later += ctx.out[mark:]
    del ctx.out[mark:]


# rfc 7296: initial-contact
def doubt_others(ctx: Context, sa: IkeSa) -> None:
    """The peer has answered our INITIAL_CONTACT. What it has begun itself in the meantime it may have forgotten when it
    read that, without a word (strongSwan does): it is asked, and counts for nothing until it answers.
    """
    for lineage in ctx.store.lineages(sa.local.address, sa.remote.address):
        beside = lineage.current
        if beside is None or beside is sa or beside.state is not IkeState.ESTABLISHED:
            continue
        neighbours.doubt(ctx, beside)
        for child in lineage.children.values():
            if child.state is ChildState.AWAITED and child.predecessor is None:
                ctx.timers.set((TimerKind.SUCCESSOR, child), ctx.now + limits.CONTACT_WAIT)


def believe(ctx: Context, lineage: Lineage) -> None:
    """The peer has answered after all: of what was made at once one goes, now."""
    lineage.doubtful = False
    for child in list(lineage.children.values()):
        if child.predecessor is None:
            lifecycle.promote(ctx, child)
    for beside in ctx.store.lineages(lineage.local.address, lineage.remote.address):
        ctx.agenda.idle[beside] = None
        for child in list(beside.children.values()):
            if child.sends and any(_loses(child, one) and not _outlived(ctx, one) for one in _twins(ctx, child)):
                lifecycle.doom(ctx, beside, child)


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
        _make_way(ctx, want.replaces, child)
    ctx.journal.count(Count.CHILD_SAS)
    ctx.tell(notices.child_up(sa, child))


def _make_way(ctx: Context, old: ChildSa, new: ChildSa) -> None:
    """`old` goes as soon as `new` sends."""
    lineage = ctx.store.lineage_of(old)
    if new.state is ChildState.AWAITED and old.sends and new.predecessor in (None, old):
        new.predecessor = old
    elif lineage is not None:
        lifecycle.doom(ctx, lineage, old)


def _carried(ctx: Context, child: ChildSa) -> bool:
    """Does an older child SA carry this one's traffic?"""
    others = ctx.store.children(child.local, child.remote, child.reqid)
    return any(other.sends and other.selectors == child.selectors for other in others)


def _twins(ctx: Context, child: ChildSa) -> list[ChildSa]:
    """Child SAs for the same traffic that the other end asked for."""
    found = []
    for other in ctx.store.children(child.local, child.remote, child.reqid):
        rekeyed = other.predecessor is not None and other.predecessor.successor is other
        lives = other.sends or (other.pending_out is not None and not rekeyed)
        home = ctx.store.lineage_of(other)
        if home is not None and home.doubtful:
            continue
        if lives and other.initiator != child.initiator and other.selectors == child.selectors:
            found.append(other)
    return found


def _outlived(ctx: Context, twin: ChildSa) -> bool:
    """Was it there before, so that it is no crossing? Then it is to be replaced."""
    lineage = ctx.store.lineage_of(twin)
    return ctx.now - twin.created > limits.CROSSING or (lineage is not None and lineage.term.aging)


# rfc 7296: lowest-nonce
def _loses(one: ChildSa, other: ChildSa) -> bool:
    """Is `one`, which we asked for, to go?"""
    return one.initiator and one.lowest_nonce < other.lowest_nonce
