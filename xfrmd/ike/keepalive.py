# SPDX-License-Identifier: GPL-2.0-or-later
"""NAT keepalives (RFC 3948 4): whoever is behind a NAT and has been silent reminds it of its mapping."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import SendKeepalive
from xfrmd.ike.ike_sa import IkeState, Lineage


def watch(ctx: Context, lineage: Lineage) -> None:
    """Begin, if we are behind a NAT."""
    if lineage.nat.here:
        ctx.timers.set((TimerKind.KEEPALIVE, lineage), max(ctx.now, lineage.spoken) + limits.NAT_KEEPALIVE)


# rfc 7296: nat-keepalive
# rfc 3948: keepalive-when-silent
def due(ctx: Context, lineage: Lineage) -> None:
    """Remind the NAT unless something of ours has just passed it; over when the last IKE SA is."""
    sa = lineage.current
    if sa is None or sa.state is not IkeState.ESTABLISHED:
        return
    if ctx.now - lineage.spoken >= limits.NAT_KEEPALIVE:
        lineage.spoken = ctx.now
        ctx.out.append(SendKeepalive(sa.local, sa.remote))
    watch(ctx, lineage)
