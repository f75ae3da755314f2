# SPDX-License-Identifier: GPL-2.0-or-later
"""From an agreed child SA to the two SAs that the kernel gets (RFC 7296 2.17)."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd import limits
from xfrmd.ike import lifecycle, narrow
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context
from xfrmd.ike.effects import InstallSa
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.model.proposals import Lifetime
from xfrmd.model.sad import SadEntry
from xfrmd.transforms.keymat import FlowKeys


@dataclass(frozen=True, slots=True, repr=False)
class Material:
    """What the keys of a child SA are made of; repr shows nothing."""

    ni: bytes
    nr: bytes
    shared: bytes | None
    by_us: bool
    """Did we initiate the exchange?"""
    more: bytes = b""
    """Secrets of additional key exchanges, one after the other (RFC 9370 2.2.4)."""


def sad_pair(ctx: Context, sa: IkeSa, child: ChildSa, material: Material) -> tuple[InstallSa, InstallSa]:
    """The inbound and the outbound SA of a child SA."""
    keys = sa.agreed_channel.child_keys(material.ni, material.nr, material.shared, child.suite, material.more)
    ours, theirs = (keys.initiator, keys.responder) if material.by_us else (keys.responder, keys.initiator)
    seconds, kilobytes = child.lifetime
    soft = Lifetime(int(lifecycle.soft(ctx, seconds)), int(lifecycle.soft(ctx, kilobytes)))
    return InstallSa(sad_entry(child, theirs, soft, inbound=True)), InstallSa(
        sad_entry(child, ours, soft, inbound=False)
    )


def sad_entry(child: ChildSa, keys: FlowKeys, soft: Lifetime, *, inbound: bool) -> SadEntry:
    """One of the two SAs."""
    outbound = narrow.cover(child.selectors)
    ports = child.ports
    return SadEntry(
        protocol=child.protocol,
        spi=child.spi_in if inbound else child.spi_out,
        src=child.remote if inbound else child.local,
        dst=child.local if inbound else child.remote,
        selector=outbound.reversed if inbound else outbound,
        reqid=child.reqid,
        inbound=inbound,
        mode=child.agreed.protect.mode,
        encryption=child.suite.encryption,
        encryption_key=keys.encryption,
        integrity=child.suite.integrity,
        integrity_key=keys.integrity,
        esn=child.suite.esn,
        replay_window=limits.REPLAY_WINDOW,
        soft=soft,
        hard=child.lifetime,
        encap_ports=ports if ports is None or not inbound else (ports[1], ports[0]),
    )
