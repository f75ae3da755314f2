# SPDX-License-Identifier: GPL-2.0-or-later
"""A NAT has given the peer another port: ESP in UDP follows (RFC 7296 2.23, last paragraphs).

Only authentic packets say so, and only who is not behind a NAT itself follows: else whoever replays a packet on the way
could lead us astray for good. A peer with another address is none that the policy speaks of here; it is asked whether
it is where it was.
"""

from __future__ import annotations

from dataclasses import replace

from xfrmd import limits
from xfrmd.ike import notices
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context
from xfrmd.ike.effects import RemapSa
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import Lineage


# rfc 7296: nat-remapped
def follow(ctx: Context, lineage: Lineage, remote: Endpoint) -> bool:
    """An authentic packet came from here. Child SAs send to this port from now on; False if they do not."""
    if lineage.nat.here or not lineage.nat.encapsulates:
        return False
    behind = [child for child in lineage.children.values() if _differs(child, remote)]
    if not behind or ctx.now - lineage.followed < limits.MAPPING_INTERVAL:
        return not behind
    lineage.followed = ctx.now
    ctx.changed[lineage] = None
    ctx.tell(notices.remapped(behind[0], remote))
    for child in behind:
        _move(ctx, child, remote.port)
    return True


def confirm(ctx: Context, child: ChildSa, *, inbound: bool) -> None:
    """Give one of the SAs that the kernel has of a child SA the ports that the child SA has."""
    if child.ports is None:
        return
    ours, theirs = child.ports
    if inbound:
        ctx.out.append(RemapSa(child.protocol, child.spi_in, child.local, (theirs, ours)))
    else:
        ctx.out.append(RemapSa(child.protocol, child.spi_out, child.remote, (ours, theirs)))


def _differs(child: ChildSa, remote: Endpoint) -> bool:
    return child.ports is not None and child.remote == remote.address and child.ports[1] != remote.port


def _move(ctx: Context, child: ChildSa, port: int) -> None:
    assert child.ports is not None
    child.ports = (child.ports[0], port)
    if child.pending_out is not None:
        child.pending_out = replace(child.pending_out, encap_ports=child.ports)
    confirm(ctx, child, inbound=True)
    if child.sends:
        confirm(ctx, child, inbound=False)
