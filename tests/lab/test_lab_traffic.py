# SPDX-License-Identifier: GPL-2.0-or-later
"""The counters of traffic: nothing is lost on a quiet link, and what a filter eats is told by number."""

from __future__ import annotations

import pytest

from lab import topology
from lab.drops import dropped
from lab.traffic import Carrier, Flood, Ping, Tcp, Udp, ping, tcp_echo, udp_echo

DROP_SOME = """
table inet eat {
    counter eaten { }
    chain input {
        type filter hook input priority 0
        udp dport 7007 numgen inc mod 20 == 7 counter name "eaten" drop
    }
}
"""


def test_nothing_is_lost_on_a_quiet_link(two_hosts: topology.TwoHosts, version: int) -> None:
    net, there = two_hosts, two_hosts.right.address(version)
    carriers: tuple[Carrier, ...] = (Udp(there), Tcp(there), Ping(there))
    with udp_echo(net.right, there), tcp_echo(net.right, there):
        for carrier in carriers:
            outcome = Flood(net.left, carrier, rate=1000, count=100).start().finish()
            outcome.assert_none_lost()
            assert (outcome.sent, outcome.repeated) == (100, 0)
    assert ping(net.left, there, 2).lost == 0


def test_lost_packets_are_told_by_number(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    net.right.run("nft", "-f", "-", stdin=DROP_SOME)
    with udp_echo(net.right, net.right.v4):
        flood = Flood(net.left, Udp(net.right.v4), rate=500).start()
        flood.wait_for(20)
        outcome = flood.stop()
    assert outcome.lost == tuple(range(7, outcome.sent, 20))
    assert outcome.told[0].startswith("7 sent at ")
    assert dropped(net.right)["eat eaten"] == len(outcome.lost)
    with pytest.raises(AssertionError, match="packets lost: 7 sent at "):
        outcome.assert_none_lost()


def test_a_flood_at_nobody_loses_all(two_hosts: topology.TwoHosts) -> None:
    outcome = Flood(two_hosts.left, Udp(two_hosts.right.v6), rate=500, count=5).start().finish()
    assert len(outcome.lost) == outcome.sent == 5
