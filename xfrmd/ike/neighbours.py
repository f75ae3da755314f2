# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind one NAT: one address for all, and now and then one identity (docs/decisions/0030, 0042).

An address and an identity do not tell whether a newcomer is a host that has started anew or another one beside it.
Where a NAT is there, the port tells; where that differs too, the one that we know is asked.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import lifecycle, notices
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.ike.narrow import Agreed


def behind_nat(one: IkeSa, other: IkeSa) -> bool:
    """May these two peers with the same address be two hosts? What a peer says of itself is not enough for that."""
    return one.lineage.nat.there or other.lineage.nat.there


def same_host(one: IkeSa, other: IkeSa) -> bool:
    """Are both with the same host for certain, as far as addresses, ports and identities tell?"""
    return one.remote_id == other.remote_id and (not behind_nat(one, other) or one.remote == other.remote)


# rfc 3948: two-behind-one-nat
def holder(ctx: Context, sa: IkeSa, agreed: Agreed) -> IkeSa | None:
    """With whom else behind the same NAT there is an SA for some of this traffic, None for nobody.

    Our packets to two hosts behind one address are the same to the kernel in transport mode, and so they are in tunnels
    whose networks overlap: the later SA would take those of the earlier one.
    """
    for child in ctx.store.children(sa.local.address, sa.remote.address, agreed.protect.reqid):
        lineage = ctx.store.lineage_of(child)
        beside = lineage.current if lineage is not None else None
        if lineage is sa.lineage or beside is None or beside.remote_id is None:
            continue
        if same_host(sa, beside) or not behind_nat(sa, beside):
            continue
        if any(ours.overlaps(theirs) for ours in agreed.traffic.outbound for theirs in child.selectors):
            return beside
    return None


def proven_beside(sa: IkeSa, other: IkeSa) -> bool:
    """Is `other` with another host than `sa`, beyond doubt: by its name, or as it has spoken since `sa` began?"""
    return sa.remote_id != other.remote_id or other.lineage.heard > sa.created


def ask(ctx: Context, sa: IkeSa) -> None:
    """Is the peer alive? Whatever else we say to it asks as well."""
    if not sa.window.busy and not sa.tasks and sa.state is IkeState.ESTABLISHED:
        sa.tasks.append(Task(TaskKind.LIVENESS))
        ctx.touch(sa)


# rfc 7296: initial-contact
def doubt(ctx: Context, sa: IkeSa) -> None:
    """Perhaps the peer of this IKE SA is no more: a newcomer says to be it, or it may have forgotten this one. If it
    answers, it is there; if not, this is over soon.
    """
    if sa.lineage.doubted + limits.CONTACT_WAIT > ctx.now:
        return
    sa.lineage.doubted, sa.lineage.doubtful = ctx.now, True
    ask(ctx, sa)
    ctx.timers.set((TimerKind.DOUBT, sa.lineage), ctx.now + limits.CONTACT_WAIT)


def decide(ctx: Context, lineage: Lineage) -> None:
    """The peer has had its time to answer."""
    sa = lineage.current
    if not lineage.doubtful or sa is None:
        return
    ctx.tell(notices.peer_down(sa), sa.remote.address)
    for one in list(lineage.ike_sas):
        lifecycle.close(ctx, one, linger=False, restart=True)


def serves(lineage: Lineage, want: Want) -> bool:
    """Is this the peer that had the traffic of this demand before?"""
    key, packet = want.key, want.packet
    return any(
        reqid == key.reqid and (selector.contains(packet) if packet is not None else selector.overlaps(key.region))
        for reqid, selector in lineage.served
    )
