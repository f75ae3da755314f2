# SPDX-License-Identifier: GPL-2.0-or-later
"""Falling back to clear traffic (Windows `soft`, docs/decisions/0014): when, and when no longer.

Only a peer from which nothing at all has come for limits.SOFT_WAIT lets a soft filter fall back: any datagram for the
handshake, authentic or not, shows that somebody there speaks IKE, and then a failure stays a failure. We go on asking
the peer while the soft SA stands, and an IKE SA with it ends the soft SA: when the child SA in its place stands, or has
failed.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import notices
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want, WantKey
from xfrmd.ike.effects import CloseClear, DropHeld, OpenClear, ReleaseHeld
from xfrmd.ike.events import ClearOpened
from xfrmd.ike.ike_sa import IkeSa, IkeState
from xfrmd.ike.journal import Count
from xfrmd.ike.soft_sa import SoftSa
from xfrmd.model.plan import ProtectPolicy
from xfrmd.model.spd import Mode


def watch(ctx: Context, sa: IkeSa, want: Want) -> None:
    """An IKE SA is to fulfil a demand. If its filter is soft, see what the peer has said when its time is over."""
    if _soft_filter(ctx, want.key) is None:
        return
    due = sa.created + limits.SOFT_WAIT
    if due > ctx.now:
        ctx.timers.set((TimerKind.FALLBACK, sa), due)
    else:
        fall_back(ctx, sa)


def fall_back(ctx: Context, sa: IkeSa) -> None:
    """The peer's time is over. If it has been silent, what waits for it and is soft goes in the clear."""
    if sa.state is not IkeState.CONNECTING or sa.greeting.answered or _established(ctx, sa):
        return
    for want in (sa.greeting.want, *(task.want for task in sa.tasks)):
        protect = _soft_filter(ctx, want.key) if want is not None else None
        if want is not None and protect is not None and ctx.demand.find(want.key) is want:
            _open(ctx, want.key, protect)


def _soft_filter(ctx: Context, key: WantKey) -> ProtectPolicy | None:
    """The filter of a demand if it may fall back. A tunnel never does: its inner addresses mean nothing outside."""
    protect = ctx.index.protect(key.reqid)
    return protect if protect is not None and protect.soft and protect.mode is Mode.TRANSPORT else None


def _established(ctx: Context, sa: IkeSa) -> bool:
    lineages = ctx.store.lineages(sa.local.address, sa.remote.address)
    currents = [lineage.current for lineage in lineages]
    return any(current is not None and current.state is IkeState.ESTABLISHED for current in currents)


def _open(ctx: Context, key: WantKey, protect: ProtectPolicy) -> None:
    name, rule = (key.reqid, key.region), protect.origin.rule
    if name in ctx.store.soft:
        return
    if len(ctx.store.soft) >= limits.SOFT_SAS:
        ctx.tell(notices.soft_refused(key, rule, f"{limits.SOFT_SAS} peers do already"), key.remote)
        return
    clear = ctx.store.soft[name] = SoftSa(key, rule, ctx.now, ctx.now + protect.soft_seconds)
    ctx.timers.set((TimerKind.SOFT_END, clear), clear.until)
    ctx.out.append(OpenClear(key.reqid, key.region, clear.until))


def opened(ctx: Context, event: ClearOpened) -> None:
    """The kernel lets the traffic pass, or refuses to."""
    clear = ctx.store.soft.get((event.reqid, event.selector))
    if clear is None:
        return
    if event.refusal:
        _forget(ctx, clear)
        ctx.tell(notices.soft_refused(clear.key, clear.rule, event.refusal), clear.key.remote)
        ctx.out.append(DropHeld(event.reqid, event.selector))
        return
    ctx.journal.count(Count.SOFT_ASSOCIATIONS)
    ctx.tell(notices.soft_opened(clear.key, clear.rule, round(clear.until - clear.since)), clear.key.remote)
    ctx.out.append(ReleaseHeld(event.reqid, event.selector))


def close(ctx: Context, clear: SoftSa | None, why: str) -> None:
    """End a soft SA, if there is one."""
    if clear is not None and _forget(ctx, clear):
        ctx.out.append(CloseClear(clear.key.reqid, clear.key.region))
        ctx.tell(notices.soft_closed(clear.key, why))


def _forget(ctx: Context, clear: SoftSa) -> bool:
    ctx.timers.cancel((TimerKind.SOFT_END, clear))
    ctx.timers.cancel((TimerKind.SOFT_RETRY, clear))
    return ctx.store.soft.pop((clear.key.reqid, clear.key.region), None) is not None


def ask_later(ctx: Context, clear: SoftSa) -> None:
    """The peer of a soft SA was silent once more: ask again after a while."""
    ctx.timers.set((TimerKind.SOFT_RETRY, clear), ctx.now + limits.RETRY_AFTER_FAILURE)


def ask_again(ctx: Context, clear: SoftSa) -> None:
    """Does the peer of a soft SA speak IKE by now?"""
    if not ask(ctx, clear):
        ask_later(ctx, clear)


def ask(ctx: Context, clear: SoftSa) -> bool:
    """Negotiate what a soft SA lets pass, unless that is under way. False: a failure is too fresh for it."""
    if ctx.demand.find(clear.key) is not None:
        return True
    want = ctx.demand.add(clear.key, None, ctx.now)
    if want is not None:
        ctx.agenda.orphans.append(want)
    return want is not None


def plan_changed(ctx: Context) -> None:
    """A soft SA that the new plan would not open ends."""
    for clear in list(ctx.store.soft.values()):
        protect, region = _soft_filter(ctx, clear.key), clear.key.region
        if protect is None or not any(selector.contains(region) for selector in protect.selectors):
            close(ctx, clear, "the policy has changed")
