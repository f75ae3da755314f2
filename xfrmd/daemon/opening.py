# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking everything of ours out of the kernel: from then on nothing is filtered or protected any more.

SAs go first, then XFRM policies, the lightest first, and the tables last: until they go, what was protected is dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from typing import NamedTuple

from xfrmd import limits
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm import sockets
from xfrmd.adapters.xfrm.requests import GONE
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.daemon.ledger import SaKey
from xfrmd.errors import KernelError


class Removed(NamedTuple):
    """How much there was of it."""

    sas: int
    policies: int


def remove_sas(xfrm: XfrmSocket, known: Collection[SaKey] = ()) -> int:
    """Remove all SAs with a reqid of ours but those that are known, whoever installed them; how many. KernelError, when
    all others are removed.
    """
    ours = [sa for sa in xfrm.sas() if sa.ours and (sa.dst, sa.protocol, sa.spi) not in known]
    refusals: list[KernelError] = []
    for sa in ours:
        try:
            xfrm.remove_sa(sa.protocol, sa.spi, sa.dst)
        except KernelError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    return len(ours)


def remove_all(xfrm: XfrmSocket, spd: Spd, nft: NftLoader) -> Removed:
    """Remove SAs, policies, table and boot filter of ours. That some are gone already is no error. KernelError."""
    sas = remove_sas(xfrm)
    ours = sorted((one for one in spd.policies() if one.ours), key=lambda one: one.priority, reverse=True)
    requests = [sockets.delete_policy(one.direction, one.selector, one.index) for one in ours]
    for at in range(0, len(requests), limits.NETLINK_BULK):
        for refusal in spd.submit(requests[at : at + limits.NETLINK_BULK]):
            if refusal.errno not in GONE:
                raise KernelError(refusal.message, refusal.errno)
    nft.load(
        "".join(f"add table inet {name}\ndelete table inet {name}\n" for name in (limits.NFT_TABLE, limits.BOOT_TABLE))
    )
    return Removed(sas, len(ours))


def open_host() -> Removed:
    """The same without a daemon. Raises KernelError."""
    with closing(XfrmSocket()) as xfrm, closing(Spd()) as spd, closing(NftLoader()) as nft:
        return remove_all(xfrm, spd, nft)
