# SPDX-License-Identifier: GPL-2.0-or-later
"""Days of uptime with everything that happens to a host: restarts, crashes, reloads, address changes, rekeys.

XFRMD_DAYS says how many (`make soak` lives through thirty); without it all happens within three hours. A ping leaves
twice a minute, and at once after each happening; none may be lost, none seen in the clear, and what IKE keeps may not
grow.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from lab import topology
from lab.netns import Host
from lab.traffic import Ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e

DAYS = int(os.environ.get("XFRMD_DAYS", "1"))
SLOT = 7200 if "XFRMD_DAYS" in os.environ else 900
"""Seconds from one happening to the next: each of the kinds at each end once a day."""
EVERY = 30
POLICY = e2e.policy(qm="ESP[AES128-GCM]:100000k/3600s")
MORE = "10.99.0.1/32"
"""An address that comes and goes."""


def pinged(host: Host, address: str, seconds: float) -> tuple[int, int]:
    """Pings sent twice a minute for so long, at least one, and how many were answered."""
    carrier, sent, answered, end = Ping(address), 0, 0, time.monotonic() + seconds
    with carrier.connect(host) as sock:
        sock.settimeout(10)
        while not sent or time.monotonic() + EVERY < end:
            sock.sendall(carrier.pack(sent))
            try:
                # Others' echo requests and answers come by as well.
                while carrier.take(sock.recv(65536))[0] != [sent]:
                    pass
                answered += 1
            except TimeoutError:
                pass
            sent += 1
            time.sleep(EVERY)
    return sent, answered


def restarted(daemon: XfrmdHost) -> None:
    assert daemon.stop() == 0
    daemon.start()


def killed(daemon: XfrmdHost) -> None:
    daemon.kill()
    daemon.start()


def reloaded(daemon: XfrmdHost) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def changed(daemon: XfrmdHost) -> None:
    """The policy names another lifetime, and the one before again."""
    text = daemon.policy.read_text()
    of, to = ("/3600s", "/3000s") if "/3600s" in text else ("/3000s", "/3600s")
    daemon.write_policy(text.replace(of, to))
    reloaded(daemon)


def moved(daemon: XfrmdHost) -> None:
    """Another address comes, or goes."""
    host = daemon.host
    there = MORE in host.run("ip", "-o", "address", "show").stdout
    host.run("ip", "address", "del" if there else "add", MORE, "dev", host.links[0].name)


def rekeyed(daemon: XfrmdHost) -> None:
    """By hand, between those that lifetimes bring."""
    for spi in (*e2e.child_spis(daemon), *e2e.ike_spis(daemon)):
        daemon.ask("rekey", {"spi": spi})


HAPPENINGS: tuple[Callable[[XfrmdHost], None], ...] = (restarted, killed, reloaded, changed, moved, rekeyed)


def memory(daemon: XfrmdHost) -> int:
    """Kilobytes that the daemon has in memory."""
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


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
