# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators are told of IKE SAs that go on from tickets (RFC 5723)."""

from __future__ import annotations

from xfrmd.credentials.names import spoken
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.pad import PadEntry


def resumed(sa: IkeSa) -> Notice:
    """An IKE SA goes on from a ticket."""
    who = "our" if sa.initiator else "its"
    return Notice(
        Level.INFO,
        "resumed",
        f"the IKE SA with {spoken(sa.remote_id)} at {sa.remote.address} goes on from {who} ticket, without a key "
        f"exchange and a proof of identity (rule {sa.pad.rule!r})",
        {"peer": str(sa.remote.address), "local": str(sa.local.address), "rule": sa.pad.rule},
    )


def refused(sa: IkeSa) -> Notice:
    """The peer, or somebody in its name, does not take its ticket."""
    return Notice(
        Level.INFO,
        "ticket-refused",
        f"{sa.remote.address} does not take the ticket that it gave us; all is negotiated anew (rule {sa.pad.rule!r})",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule},
    )


def not_taken(pad: PadEntry, peer: Address, why: str) -> Notice:
    """We do not take a ticket."""
    return Notice(
        Level.INFO,
        "ticket-not-taken",
        f"{peer} shows a ticket that does not count (rule {pad.rule!r}): {why}; all is negotiated anew",
        {"peer": str(peer), "rule": pad.rule, "reason": why},
    )
