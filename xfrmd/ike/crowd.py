# SPDX-License-Identifier: GPL-2.0-or-later
"""How much one host may have of us, once it has proved itself: IKE SAs and child SAs without end would fill our memory
and the kernel's. Hosts behind one NAT are told apart as elsewhere (see neighbours).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xfrmd import limits
from xfrmd.ike import neighbours
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa

_EVERY: Final = 64
"""Where hosts behind one NAT are many, all are looked at for so many new ones once."""


def surplus(ctx: Context, sa: IkeSa, most: int = limits.IKE_SAS_PER_ADDRESS) -> list[IkeSa]:
    """The peer has proved itself for one IKE SA more: the oldest of those that it has begun where it has too many, or
    else the oldest that any host has begun whose address is seen as this one's, where there are more than `most`.
    """
    there = ctx.store.crowd(sa.local.address, sa.remote.address)
    if len(there) <= min(limits.IKE_SAS_PER_PEER, most) or len(there) % _EVERY:
        return []
    own = [one for one in _of_host(ctx, sa) if not one.lineage.term.ours][: -limits.IKE_SAS_PER_PEER]
    if own or len(there) <= most:
        return own
    # Who takes another port for each pretends to be many hosts behind a NAT.
    begun = (one.current for one in there if not one.term.ours)
    return [one for one in begun if one is not None and one.channel is not None][: len(there) - most]


def room(ctx: Context, sa: IkeSa) -> bool:
    """May the peer have one child SA more?"""
    if len(sa.lineage.children) >= limits.CHILDREN_PER_IKE_SA:
        return False
    if ctx.store.children_between(sa.local.address, sa.remote.address) < limits.CHILDREN_PER_PEER:
        return True
    return sum(len(one.lineage.children) for one in _of_host(ctx, sa)) < limits.CHILDREN_PER_PEER


def _of_host(ctx: Context, sa: IkeSa) -> Iterator[IkeSa]:
    """The IKE SAs with the host of this one, of each lineage that is in use, oldest first."""
    for lineage in ctx.store.crowd(sa.local.address, sa.remote.address):
        beside = lineage.current
        if beside is not None and beside.channel is not None and neighbours.same_host(sa, beside):
            yield beside
