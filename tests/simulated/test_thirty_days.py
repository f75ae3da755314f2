# SPDX-License-Identifier: GPL-2.0-or-later
"""Days of uptime with everything that happens to a host: restarts, crashes, reloads, address changes, rekeys.

XFRMD_DAYS says how many (`make soak` lives through thirty); without it all happens within three hours. A ping leaves
twice a minute, and at once after each happening; none may be lost, none seen in the clear, and what IKE keeps may not
grow.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from lab import topology
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from tests.simulated.happenings import changed, killed, memory, moved, pinged, rekeyed, reloaded, restarted

DAYS = int(os.environ.get("XFRMD_DAYS", "1"))
SLOT = 7200 if "XFRMD_DAYS" in os.environ else 900
"""Seconds from one happening to the next: each of the kinds at each end once a day."""
EVERY = 30
POLICY = e2e.policy(qm="ESP[AES128-GCM]:100000k/3600s")
HAPPENINGS: tuple[Callable[[XfrmdHost], None], ...] = (restarted, killed, reloaded, changed, moved, rekeyed)


def test_days_of_restarts_crashes_reloads_and_changes_lose_no_ping(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, POLICY, secret=e2e.SECRET, lasting=True) as left,
        xfrmd(net.right, POLICY, secret=e2e.SECRET, lasting=True) as right,
    ):
        assert pinged(net.left, net.right.v4, 0) == (1, 1), left.log + right.log
        begun, slots = memory(left), itertools.product(range(DAYS), HAPPENINGS, (left, right))
        sent = 0
        for day, happens, daemon in slots:
            happens(daemon)
            count, answered = pinged(net.left, net.right.v4, SLOT)
            assert answered == count, (day, happens.__name__, daemon.host.name, left.log[-3000:], right.log[-3000:])
            sent += count
            print(f"  day {day + 1}: {happens.__name__} at {daemon.host.name}, {sent} pings", flush=True)
        for each in (left, right):
            found = e2e.sas(each)
            assert (len(found["ike_sas"]), len(found["child_sas"])) == (1, 1), found
            assert each.ask("status")["kernel"]["state"] == "equal"
        assert sent >= DAYS * len(HAPPENINGS) * 2 * (SLOT // EVERY - 2)
        assert memory(left) < 1.2 * begun + 4096
        print(f"\n  {DAYS} days: {sent} pings, none lost, {memory(left)} KB at the end, {begun} KB at first")
    net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
