# SPDX-License-Identifier: GPL-2.0-or-later
"""Hourly rekeys with a strongSwan, for as long as a year: no ping lost, no SA left over, flat memory.

XFRMD_YEAR says how many days (`make soak` lives through 365); without it one. Both ends want to rekey each hour, child
SA and IKE SA, so that they meet at times.
"""

from __future__ import annotations

import os
from functools import partial

from lab import topology
from lab.netns import Host
from lab.strongswan import strongswan
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from tests.simulated.happenings import memory, pinged

DAYS = int(os.environ.get("XFRMD_YEAR", "1"))
DAY = 24 * 3600
EVERY = 120
LINGER = 60.0
"""Seconds in which a rekey that is under way must have ended; an SA that nobody removes would live on for minutes."""
POLICY = e2e.policy(qm="ESP[AES128-GCM]:100000k/3600s").replace(
    "    assign: yes\n", "    assign: yes\n    mmlifetime: 60\n"
)


def kernel_sas(host: Host) -> int:
    """SAs of the host's kernel, both ways, larval ones included."""
    return host.run("ip", "xfrm", "state").stdout.count("proto esp")


def settled(ours: XfrmdHost, net: topology.TwoHosts) -> bool:
    """Is there one IKE SA with one child SA, and none left over in either kernel?"""
    found = e2e.sas(ours)
    kernels = kernel_sas(net.left), kernel_sas(net.right)
    return (len(found["ike_sas"]), len(found["child_sas"]), *kernels) == (1, 1, 2, 2)


def test_a_year_of_hourly_rekeys_with_strongswan_loses_no_ping(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    flow = topology.between(net.left, net.right, "icmp")
    conf = e2e.charon(net.right.v4, net.left.v4, child="rekey_time = 1h\n        life_time = 70m").replace(
        "    version = 2\n", "    version = 2\n    rekey_time = 1h\n    over_time = 10m\n"
    )
    with xfrmd(net.left, POLICY, secret=e2e.SECRET) as ours, strongswan(net.right, conf) as theirs:
        assert pinged(net.left, net.right.v4, 0) == (1, 1), ours.log + theirs.log
        begun, sent = 0, 0
        for day in range(DAYS):
            count, answered = pinged(net.left, net.right.v4, DAY, EVERY)
            assert answered == count, (day, count - answered, ours.log[-3000:], theirs.log[-6000:])
            sent += count
            # A rekey may be under way, and charon takes what comes by a rekeyed SA for five seconds more
            # (delete_rekeyed_delay).
            e2e.wait_until(partial(settled, ours, net), f"one of each is left of day {day}", LINGER)
            net.capture.assert_protected(flow)
            net.capture.clear()
            begun = begun or memory(ours)
            print(f"  day {day + 1}: {sent} pings, {memory(ours)} KB", flush=True)
        counted = ours.ask("counters")["counters"]["ike"]
        assert counted["rekeyed-child-sas"] >= 20 * DAYS
        assert counted["rekeyed-ike-sas"] >= 20 * DAYS
        assert ours.ask("status")["kernel"]["state"] == "equal"
        assert memory(ours) < 1.1 * begun + 2048
    assert sent >= DAYS * (DAY // EVERY - 24)
