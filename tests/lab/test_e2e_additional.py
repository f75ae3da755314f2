# SPDX-License-Identifier: GPL-2.0-or-later
"""Two of us with ML-KEM beside X25519: what no peer of Debian has yet."""

from __future__ import annotations

from lab import topology
from lab.traffic import Flood, Ping, ping
from lab.xfrmd_host import xfrmd
from tests.lab import e2e


# rfc 9370: keys-updated
def test_hybrid_keys_and_their_rekeys_lose_no_packet(two_hosts: topology.TwoHosts, version: int) -> None:
    """IKE_INTERMEDIATE, then IKE_FOLLOWUP_KE for the child SA by one host and the IKE SA by the other, under a flood.

    ML-KEM-768 fits a datagram; ML-KEM-1024 goes in fragments of IP.
    """
    net = two_hosts
    there = net.right.address(version)
    kem = {4: "MLKEM768", 6: "MLKEM1024"}[version]
    text = e2e.policy(mm=f"AES256-GCM-SHA384-X25519+{kem}", action="action: negotiate\n    qmpfs: yes")
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as left,
        xfrmd(net.right, text, secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, there, 1).lost == 0, left.log + right.log
        (ike,) = e2e.sas(right)["ike_sas"]
        assert ike["transforms"][-2:] == ["X25519", kem]
        flood = Flood(net.left, Ping(there), rate=100).start()
        flood.wait_for(20)
        for asks, spis in ((left, e2e.child_spis), (right, e2e.ike_spis)):
            before = spis(asks)
            asks.ctl("rekey", "--wait", "20", *before)
            e2e.wait_until(lambda asks=asks, spis=spis, before=before: not before & spis(asks), "rekeyed")  # type: ignore[misc] # the defaults bind the loop's values
            flood.wait_for(50)
        (ike,) = [one for one in e2e.sas(left)["ike_sas"] if one["state"] == "established"]
        assert ike["transforms"][-2:] == ["X25519", kem]
        flood.stop().assert_none_lost()
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp" if version == 4 else "icmpv6"))
