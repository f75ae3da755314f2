# SPDX-License-Identifier: GPL-2.0-or-later
"""The IKE engine: events and the time go in, effects come out. It opens no socket, reads no clock, draws no lots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from xfrmd.ike import (
    adopting,
    dynamic,
    enquiries,
    keepalive,
    kernel_events,
    lifecycle,
    negotiate,
    neighbours,
    renewal,
    resumable,
    snapshot,
    soft,
)
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.cookies import CookieJar
from xfrmd.ike.effects import Effect
from xfrmd.ike.events import (
    Acquire,
    Adopt,
    ClearOpened,
    CrashSecrets,
    DatagramReceived,
    Delete,
    Event,
    Goodbye,
    Initiate,
    InitiateIke,
    PlanChanged,
    Rekey,
    Remapped,
    RevocationKept,
    RevocationLearnt,
    SaExpired,
    SaFailed,
    SaUsed,
    TicketKeys,
    TimerFired,
)
from xfrmd.ike.gate import Gate
from xfrmd.ike.lookup import PlanIndex
from xfrmd.ike.saved import Record
from xfrmd.ike.saving import Recorder
from xfrmd.ike.v2 import create_child, exchange, mobike, rekey_ike
from xfrmd.ike.views import EngineView, IkeSaView, SoftSaView
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan

# Timer keys and events carry the type that their function takes; the tables pair them, so Any is exact here.
_EVENTS: Final[dict[type, Callable[[Context, Any], None]]] = {
    Acquire: negotiate.acquire,
    Initiate: negotiate.initiate,
    InitiateIke: negotiate.initiate_ike,
    SaExpired: kernel_events.expired,
    SaFailed: kernel_events.failed,
    SaUsed: kernel_events.used,
    Remapped: kernel_events.remapped,
    ClearOpened: soft.opened,
    Rekey: kernel_events.rekey,
    Delete: kernel_events.delete,
    Goodbye: lambda ctx, _: kernel_events.goodbye(ctx),
    Adopt: adopting.adopt,
    RevocationLearnt: enquiries.learnt,
    RevocationKept: enquiries.kept,
    CrashSecrets: lambda ctx, event: ctx.store.tickets.tokens.know(event.secrets),
    TicketKeys: lambda ctx, event: ctx.store.tickets.know(event.keys),
}
_TIMERS: Final[dict[TimerKind, Callable[[Context, Any], None]]] = {
    TimerKind.STATE: exchange.deadline,
    TimerKind.RETRANSMIT: exchange.retransmit,
    TimerKind.REKEY_IKE: rekey_ike.order,
    TimerKind.EMPTY: negotiate.empty,
    TimerKind.RETRY: create_child.retry,
    TimerKind.SUCCESSOR: lifecycle.promote,
    TimerKind.LINGER: lifecycle.drop_inbound,
    TimerKind.REAUTH: renewal.due,
    TimerKind.KEEPALIVE: keepalive.due,
    TimerKind.DOUBT: neighbours.decide,
    TimerKind.HOMELESS: mobike.homeless,
    TimerKind.TICKET: resumable.over,
    TimerKind.DYNAMIC_END: dynamic.over,
    TimerKind.REVOCATION: enquiries.late,
    TimerKind.FALLBACK: soft.fall_back,
    TimerKind.SOFT_END: negotiate.soft_over,
    TimerKind.SOFT_RETRY: soft.ask_again,
}


def _no_clock() -> float:
    """Without a clock it is 1970, and no certificate is valid yet."""
    return 0.0


class Engine:
    """Negotiates what `plan` wants. `entropy(n)` gives n unpredictable octets; seeded, it gives a fixed transcript (but
    for signatures, which the library randomizes by itself). `wall()`: seconds since 1970, which certificates need.
    """

    __slots__ = ("_ctx", "_gate", "_recorder")

    def __init__(self, plan: Plan, entropy: Callable[[int], bytes], wall: Callable[[], float] = _no_clock) -> None:
        self._ctx = Context(PlanIndex(plan), entropy, wall)
        self._gate = Gate(CookieJar(entropy))
        self._recorder = Recorder()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What follows from an event at `now` (seconds, never going back). To be carried out in this order."""
        ctx = self._ctx
        ctx.now, ctx.out = now, []
        if isinstance(event, DatagramReceived):
            self._gate.receive(ctx, event)
        elif isinstance(event, TimerFired):
            self._fire()
        elif isinstance(event, PlanChanged):
            ctx.index = PlanIndex(event.plan)
            kernel_events.plan_changed(ctx)
        else:
            _EVENTS[type(event)](ctx, event)
        self._settle()
        return ctx.out

    def changes(self) -> list[Record]:
        """What has changed of that which outlives the process. Keep it before effects are carried out (see saving)."""
        return self._recorder.changes(self._ctx)

    def forget_changes(self) -> None:
        """Nothing is kept."""
        self._ctx.changed.clear()

    def next_deadline(self) -> float | None:
        """When handle(TimerFired()) is due, in the time of `now`; None while nothing is waited for."""
        return self._ctx.timers.next()

    def snapshot(self) -> EngineView:
        """All SAs, counters and last failures; no keys."""
        return snapshot.take(self._ctx)

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        """The IKE SAs with their child SAs, without those that are only remembered to repeat a response."""
        return snapshot.ike_sas(self._ctx)

    def each_ike_sa(self, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
        """The same one by one, all or some: however many there are, the engine can go on in between (see snapshot)."""
        return snapshot.each_ike_sa(self._ctx, remote, spi)

    def own_spi(self, spi: bytes) -> bytes:
        """Our SPI of the IKE SA or child SA that has this one at either end; b"" when there is none."""
        return self._ctx.store.own_spi(spi)

    def totals(self) -> tuple[int, int]:
        """How many IKE SAs and child SAs there are."""
        return snapshot.totals(self._ctx)

    def suspect(self, remote: Address, now: float) -> bool:
        """Does nothing come of what this host, or its network, begins?"""
        return self._ctx.store.half_open.suspect(remote, now)

    def soft_sas(self) -> tuple[SoftSaView, ...]:
        """What passes in the clear because its peer does not speak IKE."""
        return snapshot.soft_sas(self._ctx)

    def counters(self) -> dict[str, int]:
        """What was done and what was dropped, by name."""
        return snapshot.counters(self._ctx)

    def _fire(self) -> None:
        while (due := self._ctx.timers.pop_due(self._ctx.now)) is not None:
            kind, subject = due
            _TIMERS[kind](self._ctx, subject)

    def _settle(self) -> None:
        """Find an IKE SA for demands that have lost theirs, send the requests that wait, end what is redundant."""
        ctx, agenda = self._ctx, self._ctx.agenda
        while agenda.orphans or agenda.touched or agenda.idle or agenda.pace.due:
            if agenda.orphans:
                negotiate.start(ctx, agenda.orphans.pop(0))
            elif agenda.touched:
                exchange.pump(ctx, agenda.touched.popitem()[0])
            elif agenda.pace.due:
                exchange.pump(ctx, agenda.pace.next())
            else:
                negotiate.prune(ctx, agenda.idle.popitem()[0])
