# SPDX-License-Identifier: GPL-2.0-or-later
"""What others do to the kernel under traffic lets nothing out in the clear, and is mended within a second."""

from __future__ import annotations

from lab import topology
from tests.lab import chaos, e2e, leaks

SOON = 3.0
"""Seconds until all of ours stands again: the daemon takes less than one, a guest that shares its processors more."""


def test_protected_traffic_while_others_flush_and_delete(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with leaks.daemons(net.left, net.right) as (left, right):
        flow = topology.between(net.left, net.right, "udp", port_b=7007)
        scene = chaos.Scene("protected", net, net.left, net.right, left, flow, (net.left.name, net.right.name))
        with scene.traffic():
            scene.flowing()
        for fault in (*chaos.FAULTS, *chaos.XFRM_FAULTS):
            row = scene.row(fault)
            assert row.clear == 0, row
            assert row.back < SOON, row
        leaks.put(e2e.NOTHING, left, right)
        assert scene.control() > 0
