# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody floods a host with first messages: others connect, SAs carry on and are rekeyed, memory stays.

All share one processor here, the attacker too: what rates a host stands is told by `python -m bench floods`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.netns import Host
from lab.traffic import Flood, Ping, ping
from lab.xfrmd_host import ROOT, XfrmdHost, xfrmd
from tests.lab import e2e
from xfrmd.limits import floods

SECONDS = 15
RATE = 20
"""Protected pings a second, beside the flood."""
ROOM = 16 * 1024
"""kB that a daemon may grow by: what waits and what is half-open is bounded by far less."""


@pytest.fixture
def net() -> Iterator[topology.Lan]:
    with topology.lan(4) as made:
        yield made


def flooding(host: Host, mode: str, target: Host, rate: int) -> subprocess.Popen[str]:
    """Begin; it ends by itself."""
    words = [mode, target.v4, str(SECONDS), str(rate), _link(target)]
    command = [sys.executable, "-m", "tests.lab.flooder", *words]
    return host.popen(*command, env={"PYTHONPATH": str(ROOT)})


def _link(host: Host) -> str:
    found: list[dict[str, Any]] = json.loads(host.run("ip", "-j", "link", "show", "eth0").stdout)
    return str(found[0]["address"])


def memory(daemon: XfrmdHost) -> int:
    """kB that are resident (proc_pid_status(5))."""
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def count(daemon: XfrmdHost, group: str, name: str) -> int:
    return int(daemon.ask("counters")["counters"][group].get(name, 0))


@pytest.mark.parametrize(("mode", "rate", "sign"), [("forged", 1000, "cookies"), ("cookies", 300, "dropped-suspect")])
def test_a_flood_harms_nobody_else(net: topology.Lan, mode: str, rate: int, sign: str) -> None:
    server, friend, newcomer, attacker = net.hosts
    server.run("ip", "route", "add", "198.18.0.0/15", "via", attacker.v4)  # answers to forged addresses go somewhere
    text = e2e.policy()
    with (
        xfrmd(server, text, secret=e2e.SECRET) as daemon,
        xfrmd(friend, text, secret=e2e.SECRET) as known,
        xfrmd(newcomer, text, secret=e2e.SECRET),
    ):
        assert ping(friend, server.v4, 2).lost == 0, daemon.log
        before = memory(daemon)
        running = Flood(friend, Ping(server.v4), rate=RATE).start()
        flood = flooding(attacker, mode, server, rate)
        e2e.wait_until(lambda: count(daemon, "ike", sign) > floods.HALF_OPEN_COOKIE, f"{mode}: {sign}", SECONDS + 10.0)
        asked = time.monotonic()
        assert ping(newcomer, server.v4, 1, wait=10).lost == 0, daemon.log
        took = time.monotonic() - asked
        spis = e2e.ike_spis(known) | e2e.child_spis(known)
        for spi in spis:
            known.ask("rekey", {"spi": spi, "wait": 20.0})
        assert flood.poll() is None, "it ended before all was tried"
        said, _ = flood.communicate(timeout=60)
        outcome = running.stop()
        grown = memory(daemon) - before
        counts = daemon.ask("counters")["counters"]
        print(
            f"{mode}: {said.strip()}; a newcomer waited {took:.2f} s; {grown} kB more; {counts['ike']}, {counts['udp']}"
        )
        assert outcome.lost == ()
        assert not spis & (e2e.ike_spis(known) | e2e.child_spis(known))
        assert grown < ROOM
    net.capture.assert_protected(topology.between(friend, server, "icmp"))
