# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic Selectors of transport mode across a NAT (RFC 7296 2.23.1).

Each end names the two hosts by the addresses that it sees itself, in requests and in answers. Whoever receives them
puts in their place those that it sees, and finds its filter by them. Only single hosts are exchanged, and only at an
end that is translated: nothing becomes wider than what was proposed.
"""

from __future__ import annotations

from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.narrow import Traffic
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Address


# rfc 7296: nat-transport
def seen(sa: IkeSa, told: Traffic, *, transport: bool) -> Traffic:
    """What the peer says of traffic, in the addresses that we see."""
    nat = sa.lineage.nat
    if not transport or not nat.translates:
        return told
    return Traffic(
        _put(told.local, sa.local.address) if nat.here else told.local,
        _put(told.remote, sa.remote.address) if nat.there else told.remote,
    )


def _put(side: tuple[TrafficSelector, ...], host: Address) -> tuple[TrafficSelector, ...]:
    """The one host that all these selectors speak of becomes this one; as they are when they speak of more."""
    hosts = {(one.family, one.first, one.last) for one in side}
    if len(hosts) != 1 or any(one.first != one.last or one.family != host.family for one in side):
        return side
    return tuple(one._replace(first=host.value, last=host.value) for one in side)
