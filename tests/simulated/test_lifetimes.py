# SPDX-License-Identifier: GPL-2.0-or-later
"""Lifetimes in seconds, lived through: rekeys in time lose nothing, and what expires without one is not sent clear."""

from __future__ import annotations

from lab import topology
from lab.netns import Host
from lab.traffic import Flood, Ping
from lab.xfrmd_host import xfrmd
from tests.lab import e2e

LIFETIME = 300
"""Seconds of a child SA. The IKE SA lives 10 minutes."""
POLICY = e2e.policy(qm=f"ESP[AES128-GCM]:100000k/{LIFETIME}s").replace(
    "    assign: yes\n", "    assign: yes\n    mmlifetime: 10\n"
)


def answered(host: Host, address: str, count: int) -> int:
    """How many of `count` echo requests, one a second, were answered (ping itself does not wait in simulated time)."""
    outcome = Flood(host, Ping(address), rate=1, count=count, seconds=count + 10.0).start().finish()
    return outcome.sent - len(outcome.lost)


def kernel_sas(host: Host) -> str:
    return host.run("ip", "xfrm", "state").stdout


def test_half_an_hour_of_short_lifetimes_loses_no_ping(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, POLICY, secret=e2e.SECRET) as left,
        xfrmd(net.right, POLICY, secret=e2e.SECRET) as right,
    ):
        assert answered(net.left, net.right.v4, 1800) == 1800, left.log + right.log
        rekeyed = left.ask("counters")["counters"]["ike"]
        assert rekeyed["rekeyed-child-sas"] >= 1800 // LIFETIME - 1
        assert rekeyed["rekeyed-ike-sas"] >= 2
        for daemon in (left, right):
            found = e2e.sas(daemon)
            assert (len(found["ike_sas"]), len(found["child_sas"])) == (1, 1)
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_a_dead_peer_is_told_and_hard_expiry_ends_its_sas(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, POLICY, secret=e2e.SECRET) as left,
        xfrmd(net.right, POLICY, secret=e2e.SECRET) as right,
    ):
        assert answered(net.left, net.right.v4, 2) == 2
        right.kill()
        # Its kernel carries on until the SAs expire; the rekey that nobody answers is told.
        assert "spi" in kernel_sas(net.right)
        answered(net.left, net.right.v4, LIFETIME + 100)
        assert kernel_sas(net.right) == "", "the kernel drops SAs at their hard lifetime"
        assert not e2e.sas(left)["child_sas"]
        assert answered(net.left, net.right.v4, 100) == 0
        (peer,) = [one for one in left.ask("status")["peers"] if one["peer"] == net.right.v4]
        assert peer["code"] == "no-answer", peer
        assert peer["remedy"]
        right.start()
        assert answered(net.left, net.right.v4, 90) > 60, "the peer is tried again"
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_the_same_pings_without_a_policy_are_seen_in_the_clear(two_hosts: topology.TwoHosts) -> None:
    """The positive control of the tests above."""
    net = two_hosts
    with xfrmd(net.left, e2e.NOTHING, secret=e2e.SECRET), xfrmd(net.right, e2e.NOTHING, secret=e2e.SECRET):
        assert answered(net.left, net.right.v4, 60) == 60
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))
