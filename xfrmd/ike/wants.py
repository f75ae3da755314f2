# SPDX-License-Identifier: GPL-2.0-or-later
"""How a demand ends: an SA carries its packets, or the packets are dropped and the peer is left alone for a while."""

from __future__ import annotations

from xfrmd.ike import soft
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context
from xfrmd.ike.demand import Want, WantKey
from xfrmd.ike.effects import DropHeld, ReleaseHeld
from xfrmd.model.plan import ProtectPolicy


def key_of(child: ChildSa) -> WantKey:
    """The demand that a child SA answers."""
    return WantKey(child.reqid, child.local, child.remote, child.agreed.selector)


def release(ctx: Context, child: ChildSa) -> None:
    """The outbound SA of a child SA stands: let its packets go."""
    ctx.out.extend(ReleaseHeld(child.reqid, selector) for selector in child.selectors)
    answer(ctx, child)


def answer(ctx: Context, child: ChildSa) -> None:
    """A child SA is what was asked for: clear traffic ends. What is not for it needs one of its own."""
    soft.close(ctx, ctx.store.soft.get((child.reqid, child.agreed.selector)), "its traffic is protected now")
    want = ctx.demand.find(key_of(child))
    if want is None:
        return
    packets = [packet for packet in (want.packet, *want.packets) if packet is not None and not child.covers(packet)]
    if not packets:
        ctx.demand.done(want)
    elif packets[0] != want.packet:  # the first one is served: the others start anew
        ctx.demand.done(want)
        again = ctx.demand.add(want.key, packets[0], ctx.now)
        if again is not None:
            again.packets = dict.fromkeys(packets[1:])
            ctx.agenda.orphans.append(again)


def move(ctx: Context, child: ChildSa) -> None:
    """Have another IKE SA make a child SA for this traffic; this one ends when that one stands."""
    key = key_of(child)
    want = ctx.demand.find(key) or ctx.demand.add(key, None, ctx.now)
    if want is not None and want.replaces is not child:
        want.replaces = child
        ctx.agenda.orphans.append(want)


def follow(ctx: Context, want: Want, protect: ProtectPolicy) -> None:
    """Its tunnel ends elsewhere now: its packets wait for an SA with that end."""
    if protect.tunnel is None or not any(whole.contains(want.key.region) for whole in protect.selectors):
        fail(ctx, want, whole_peer=False)
        return
    ctx.demand.done(want)
    again = ctx.demand.add(WantKey(want.key.reqid, *protect.tunnel, want.key.region), want.packet, ctx.now)
    if again is None:
        ctx.out.append(DropHeld(want.key.reqid, want.key.region))
    else:
        again.packets = want.packets
        ctx.agenda.orphans.append(again)


def fail(ctx: Context, want: Want, *, whole_peer: bool, silent: bool = False) -> None:
    """The demand cannot be met now. `whole_peer`: no filter of ours would fare better with this peer. `silent`: nothing
    at all came from it, so a soft SA may stand; a negotiation that failed in any other way ends it.
    """
    if not ctx.demand.done(want):
        return
    clear = ctx.store.soft.get((want.key.reqid, want.key.region))
    if clear is not None and silent:
        soft.ask_later(ctx, clear)
        return
    soft.close(ctx, clear, "the peer answers, and the negotiation has failed")
    ctx.demand.bar(want.key, ctx.now, whole_peer=whole_peer)
    ctx.out.append(DropHeld(want.key.reqid, want.key.region))
