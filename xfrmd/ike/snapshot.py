# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's state as plain values."""

from __future__ import annotations

from collections.abc import Iterator

from xfrmd.credentials.names import spoken
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa, IkeState
from xfrmd.ike.views import ChildSaView, EngineView, FailureView, IkeSaView, SoftSaView
from xfrmd.model.addresses import Address


def take(ctx: Context) -> EngineView:
    """Everything."""
    return EngineView(
        ike_sas=ike_sas(ctx),
        counters=counters(ctx),
        failures=tuple(FailureView(*failure) for failure in ctx.journal.failures()),
        negotiating=len(ctx.demand),
        half_open=len(ctx.store.half_open),
    )


def ike_sas(ctx: Context) -> tuple[IkeSaView, ...]:
    """The IKE SAs that are not closed. Child SAs stand with the current one of their lineage."""
    return tuple(_ike_sa(ctx, sa) for sa in ctx.store.ike_sas())


def each_ike_sa(ctx: Context, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
    """The same one by one, each as it is when it is asked for: in between the engine may go on. Without those that have
    come or closed since, of which nothing is kept from their end. Those with a peer, or the one that has this SPI of
    ours or a child SA of that, where one of both is given.
    """
    held = ctx.store.holder(spi) if spi else None
    all_ = (held,) if held else () if spi else ctx.store.ike_sas()
    spis = [sa.spi for sa in all_ if remote in (None, sa.remote.address)]
    found = filter(None, map(ctx.store.ike_sa, spis))
    return (_ike_sa(ctx, sa) for sa in found if sa.state is not IkeState.CLOSED)


def totals(ctx: Context) -> tuple[int, int]:
    """How many IKE SAs and child SAs `ike_sas` has."""
    found = ctx.store.ike_sas()
    return len(found), sum(len(sa.lineage.children) for sa in found if sa.lineage.current is sa)


def soft_sas(ctx: Context) -> tuple[SoftSaView, ...]:
    """What passes in the clear because its peer does not speak IKE."""
    found = ctx.store.soft.values()
    return tuple(
        SoftSaView(k.reqid, s.rule, k.local, k.remote, k.region, s.since, s.until) for s in found for k in [s.key]
    )


def counters(ctx: Context) -> dict[str, int]:
    """What was counted, by name."""
    return {count.value: number for count, number in ctx.journal.counts.items()}


def _ike_sa(ctx: Context, sa: IkeSa) -> IkeSaView:
    current = sa.lineage.current is sa
    return IkeSaView(
        local_spi=sa.spi,
        remote_spi=sa.peer_spi,
        local=sa.local,
        remote=sa.remote,
        initiator=sa.initiator,
        state=sa.state.value,
        rule=sa.pad.rule,
        local_id=spoken(sa.local_id),
        remote_id=spoken(sa.remote_id),
        vendor=sa.lineage.vendor,
        transforms=sa.suite.transforms if sa.suite is not None else (),
        created=sa.created,
        rekey_at=ctx.timers.deadline((TimerKind.REKEY_IKE, sa)),
        reauth_at=ctx.timers.deadline((TimerKind.REAUTH, sa.lineage)) if current else None,
        children=tuple(map(_child, sa.lineage.children.values())) if current else (),
        nat=str(sa.lineage.nat),
        proofs=sa.lineage.proofs,
        extensions=_extensions(ctx, sa),
    )


def _extensions(ctx: Context, sa: IkeSa) -> tuple[str, ...]:
    found = {
        "moves": sa.lineage.moves,
        "follows": sa.lineage.follows,
        "fragments": sa.lineage.fragments,
        "crash-token": sa.peer_token,
        "ticket": sa.remote.address in ctx.store.tickets.held and sa.lineage.renews,
        "ticket-given": sa.lineage.ticket,
        "resumed": sa.lineage.resumed,
        "redirected": sa.remote.address in ctx.store.elsewhere.redirected,
    }
    return tuple(name for name, there in found.items() if there)


def _child(child: ChildSa) -> ChildSaView:
    return ChildSaView(
        protocol=child.protocol,
        spi_in=child.spi_in,
        spi_out=child.spi_out,
        reqid=child.reqid,
        selectors=child.selectors,
        state=child.state.value,
        created=child.created,
    )
