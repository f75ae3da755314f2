# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters that the default response rule makes (Windows `<Dynamic>`, docs/decisions/0015).

The rule answers peers that no filter speaks of. What a peer has asked for is a filter from then on: answers to it never
leave in the clear. It stays while a child SA carries its traffic, and limits.DYNAMIC_IDLE longer.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import notices
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.effects import AddFilter, RemoveFilter
from xfrmd.ike.narrow import Agreed
from xfrmd.model.plan import ProtectPolicy
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode


def room(ctx: Context, agreed: Agreed) -> bool:
    """May a child SA for this be made? A filter of the default response rule needs room for one more, and no peer has
    that of all.
    """
    there, ends = ctx.store.dynamic, agreed.selector[:2]
    if not agreed.protect.responds or (agreed.protect.reqid, agreed.selector) in there:
        return True
    of_peer = sum(selector[:2] == ends for _, selector in there)
    return len(there) < limits.DYNAMIC_FILTERS and of_peer < limits.DYNAMIC_PER_PEER


def cover(ctx: Context, child: ChildSa) -> None:
    """A child SA is about to be installed: its filter first, if it is one of the default response rule."""
    if not child.agreed.protect.responds:
        return
    found = ctx.store.dynamic.get(_name(child))
    if found is None:
        found = DynamicFilter(child.reqid, child.agreed.selector, child.local, child.remote)
        ctx.store.dynamic[_name(child)] = found
        ctx.tell(notices.filter_added(child, round(limits.DYNAMIC_IDLE)))
    ctx.changed[found] = None
    ctx.timers.cancel((TimerKind.DYNAMIC_END, found))
    ctx.out.append(AddFilter(found.reqid, found.selector))


def left(ctx: Context, child: ChildSa) -> None:
    """A child SA is gone. If it was the last of its filter, that stays for a while."""
    found = ctx.store.dynamic.get(_name(child))
    if found is not None and not _carried(ctx, found):
        ctx.changed[found] = None
        ctx.timers.set((TimerKind.DYNAMIC_END, found), ctx.now + limits.DYNAMIC_IDLE)


def over(ctx: Context, found: DynamicFilter) -> None:
    """A filter has had no child SA for long."""
    if not _carried(ctx, found):
        close(ctx, found)


def close(ctx: Context, found: DynamicFilter) -> None:
    """Its traffic is as if it had never been asked for."""
    if ctx.store.dynamic.pop((found.reqid, found.selector), None) is not None:
        ctx.changed[found] = None
        ctx.timers.cancel((TimerKind.DYNAMIC_END, found))
        ctx.out.append(RemoveFilter(found.reqid, found.selector))


def region_of(ctx: Context, protect: ProtectPolicy, packet: Selector) -> Selector | None:
    """The selector of the dynamic filter that holds an outbound packet."""
    return next(
        (
            one.selector
            for one in ctx.store.dynamic.values()
            if one.reqid == protect.reqid and one.selector.contains(packet)
        ),
        None,
    )


def plan_changed(ctx: Context) -> None:
    """Filters whose rule is gone, or whose traffic a filter of the new plan speaks of, end. Child SAs go first."""
    for found in list(ctx.store.dynamic.values()):
        protect = ctx.index.protect(found.reqid)
        if protect is None or not protect.responds or taken(ctx, found.selector):
            close(ctx, found)


def taken(ctx: Context, selector: Selector) -> bool:
    """Does a negotiate filter speak of all this traffic between two hosts?"""
    regions = ctx.index.regions(selector.src.address, selector.dst.address, Mode.TRANSPORT)
    return any(region.selector.contains(selector) for region in regions)


def _name(child: ChildSa) -> tuple[int, Selector]:
    return (child.reqid, child.agreed.selector)


def _carried(ctx: Context, found: DynamicFilter) -> bool:
    children = ctx.store.children(found.local, found.remote, found.reqid)
    return any(child.agreed.selector == found.selector for child in children)
