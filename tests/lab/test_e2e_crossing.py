# SPDX-License-Identifier: GPL-2.0-or-later
"""xfrmd and strongSwan begin at once, and our IKE_AUTH is late: strongSwan forgets what it has made in that time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab import topology
from lab.strongswan import StrongSwan
from lab.traffic import Flood, Ping
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

Charon = Callable[..., AbstractContextManager[StrongSwan]]
LATE = """
table inet lab_loss {
    counter late { }
    chain out {
        type filter hook output priority -400;
        udp dport 500 @th,208,8 35 counter name late drop
    }
}
"""
"""Our IKE_AUTH is lost (exchange type: octet 18 of the IKE header, RFC 7296 3.1), and repeated, while this is there."""


# rfc 7296: initial-contact
@pytest.mark.parametrize("attempt", range(4))
def test_the_one_that_charon_keeps_carries_the_traffic(
    two_hosts: topology.TwoHosts, strongswan: Charon, attempt: int
) -> None:
    """Which of two IKE SAs we should keep is decided by nonces, so by lot: several attempts see both."""
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as ours,
        strongswan(net.right, e2e.charon(net.right.v4, net.left.v4)) as theirs,
    ):
        net.left.run("nft", "-f", "-", stdin=LATE)
        flood = Flood(net.left, Ping(net.right.v4), rate=100).start()

        def lost() -> bool:
            return "packets 0 " not in net.left.run("nft", "list", "counter", "inet", "lab_loss", "late").stdout

        e2e.wait_until(lost, "our IKE_AUTH is lost")
        theirs.initiate("all")
        net.left.run("nft", "delete", "table", "inet", "lab_loss")
        e2e.wait_until(lambda: "received INITIAL_CONTACT" in theirs.log, f"charon forgets: {theirs.log}")
        flood.wait_for(300)
        flood.stop()
        (kept,) = theirs.list_sas()
        assert not kept.initiator, f"attempt {attempt}: {theirs.log}"
        e2e.wait_until(lambda: len(e2e.ike_spis(ours)) == 1, f"what charon has forgotten is gone: {ours.log}")
        assert len(e2e.child_spis(ours)) == 1
        flow = topology.between(net.left, net.right, "icmp")
        net.capture.assert_seen_esp(flow)
        # charon answers an echo in the clear now and then, while it takes one policy away and sets the next.
        assert not [seen for seen in net.capture.clear_packets(flow) if str(seen.packet.source) == net.left.v4]
