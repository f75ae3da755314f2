# SPDX-License-Identifier: GPL-2.0-or-later
"""Days of a mesh of hosts that all talk to all, with faults: no packet lost outside them, no SA left over.

XFRMD_DAYS says how many days, of eight hosts; without it four live through all of it once, within three hours.
Everybody pings everybody, at once after each happening that may lose nothing, else when the fault is over, and then
every ten minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from lab import topology
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from tests.lab.test_mesh import kernel_spis, pairs, unanswered
from tests.simulated.happenings import killed, memory, moved, restarted

LONG = "XFRMD_DAYS" in os.environ
HOSTS = 8 if LONG else 4
ROUNDS = 12 * int(os.environ.get("XFRMD_DAYS", "0")) or 6
"""Happenings: one every two hours."""
SLOT = 7200 if LONG else 1800
EVERY = 600
OVER = 240.0
"""Seconds after which a fault may be felt no more: a silent peer is given up after a minute and a half, and asked
again."""
LINGER = 60.0
"""Seconds in which a rekey that is under way must have ended; an SA that nobody removes would live on for minutes."""
STEP = 5000
"""Seconds that the wall clock is put forward, and back the next time."""
POLICY = e2e.policy(qm="ESP[AES128-GCM]:100000k/3600s")


def rebooted(daemon: XfrmdHost) -> None:
    """A power cut: daemon and SAs are gone, and the network comes when the daemon has started."""
    host = daemon.host
    link = host.links[0]
    daemon.kill()
    host.run("ip", "link", "set", link.name, "down")
    host.run("ip", "xfrm", "state", "flush")
    host.run("ip", "xfrm", "policy", "flush")
    daemon.start()
    host.run("ip", "link", "set", link.name, "up")
    host.run("ip", "address", "replace", str(link.v6), "dev", link.name, "nodad")


def lossy(daemon: XfrmdHost) -> None:
    """A third of what the host sends is lost, for ten minutes of rekeys by hand."""
    host = daemon.host
    place = ("dev", host.links[0].name, "root", "netem")
    host.run("tc", "qdisc", "add", *place, "loss", "33%")
    for spi in (*e2e.child_spis(daemon), *e2e.ike_spis(daemon)):
        daemon.ask("rekey", {"spi": spi})
    time.sleep(600)  # how long the fault lasts
    host.run("tc", "qdisc", "del", *place)


class Clock:
    """The wall clock, which all hosts of the lab share: forward, back, forward."""

    def __init__(self) -> None:
        self._by = STEP

    def stepped(self, _: XfrmdHost) -> None:
        """Another step, the other way."""
        time.clock_settime(time.CLOCK_REALTIME, time.time() + self._by)
        self._by = -self._by


def settled(daemons: list[XfrmdHost]) -> bool:
    """Has each daemon one IKE SA and one child SA with each other one, and each kernel no SA more?"""
    wanted = Counter(daemon.host.v4 for daemon in daemons)
    return all(
        pairs(daemon) == (wanted - Counter([daemon.host.v4]),) * 2 and kernel_spis(daemon.host) == 2 * (HOSTS - 1)
        for daemon in daemons
    )


def test_days_of_a_mesh_with_faults_lose_no_ping_outside_them() -> None:
    steps: tuple[tuple[Callable[[XfrmdHost], None], bool], ...] = (
        (restarted, False),
        (killed, False),
        (rebooted, True),
        (moved, False),
        (lossy, True),
        (Clock().stepped, False),
    )
    with topology.lan(HOSTS) as net, contextlib.ExitStack() as stack:
        daemons = [stack.enter_context(xfrmd(host, POLICY, secret=e2e.SECRET, lasting=True)) for host in net.hosts]
        unanswered(net.hosts)
        e2e.wait_until(partial(settled, daemons), "a mesh at first", OVER)
        flow, rounds = topology.between(net.hosts, net.hosts, "icmp"), 0
        begun = {daemon.host.name: 0 for daemon in daemons}
        for number, (happens, faulty), daemon in zip(
            range(ROUNDS), itertools.cycle(steps), itertools.cycle(daemons), strict=False
        ):
            happens(daemon)
            if faulty:
                unanswered(net.hosts)
                time.sleep(OVER)  # within it packets may be lost; rekeys and liveness need simulated time, not ours
            for _ in range(SLOT // EVERY):
                lost = unanswered(net.hosts)
                assert not lost, (number, happens.__name__, daemon.host.name, lost, daemon.log[-3000:])
                rounds += 1
                time.sleep(EVERY)  # a mesh that lives on
            e2e.wait_until(partial(settled, daemons), f"no SA left over by {happens.__name__}", LINGER)
            net.capture.assert_protected(flow)
            net.capture.clear()
            if number == len(steps):
                begun = {each.host.name: memory(each) for each in daemons}
            print(f"  {number + 1}: {happens.__name__} at {daemon.host.name}, {rounds} rounds of pings", flush=True)
        for each in daemons:
            assert each.ask("status")["kernel"]["state"] == "equal"
            assert not LONG or memory(each) < 1.2 * begun[each.host.name] + 4096
        print(f"\n  {ROUNDS} happenings, {rounds * HOSTS * (HOSTS - 1)} pings, none lost outside faults", flush=True)
