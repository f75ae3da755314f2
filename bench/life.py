# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon's life in the lab: from its start to a policy in force, and what flows lose while it is restarted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import filters, rulesets
from bench.report import Row, medians, tell
from lab import topology
from lab.netns import Host
from lab.strongswan import missing_packages, strongswan
from lab.traffic import Carrier, Flood, Ping, Udp, udp_echo
from lab.xfrmd_host import XfrmdHost, xfrmd

RATE: Final = 1000.0
SETTLE: Final = 200
"""Messages answered before the first restart, and after each."""
_SECRET: Final = "a secret of the bench"
_PAIR: Final = """\
version: 1
filterlists:
  - name: protected
    filters:
      - {srcaddr: me, dstaddr: any, protocol: icmp}
  - name: permitted
    filters:
      - {srcaddr: me, dstaddr: any, protocol: udp}
filteractions:
  - {name: require, action: negotiate, qmsecmethods: ["ESP[AES128-GCM]"]}
  - {name: permit, action: permit}
policies:
  - name: Bench
    assign: yes
    mmsecmethods: ["AES128GCM-SHA256-X25519"]
    rules:
      - {name: protect, filterlist: protected, filteraction: require, psk: {file: "{psk}"}}
      - {name: pass, filterlist: permitted, filteraction: permit}
"""


def _timed(step: Callable[[], object]) -> float:
    begun = time.monotonic()
    step()
    return time.monotonic() - begun


def _started(host: Host, text: str, ruleset: Path) -> Row:
    """Seconds of each start, one after the other in one host."""
    row: dict[str, float] = {"nft": _timed(lambda: host.run("nft", "-f", ruleset))}
    host.run("nft", "flush", "ruleset")
    if not missing_packages():
        begun = time.monotonic()
        with strongswan(host, ""):
            row["charon"] = time.monotonic() - begun
    row["imports"] = _timed(lambda: subprocess.run([sys.executable, "-c", "import xfrmd.daemon.main"], check=True))
    begun = time.monotonic()
    with xfrmd(host, text, lasting=True) as daemon:
        row["first"] = time.monotonic() - begun
        daemon.stop()
        row["again"] = _timed(daemon.start)
    host.run("nft", "flush", "ruleset")
    return row


def started(sizes: Sequence[tuple[int, int]]) -> list[Row]:
    """Seconds from the start of a program to its policy in force; numbers of filters, each with its number of runs."""
    return [_with_filters(count, runs) for count, runs in sizes]


def _with_filters(count: int, runs: int) -> Row:
    rows, found = list(filters.hosts(count)), list[Row]()
    with TemporaryDirectory() as name:
        ruleset = Path(name) / "ruleset.nft"
        ruleset.write_text(rulesets.by_hand(rows))
        for run in range(runs):
            tell(f"start with {count} filters, run {run + 1} of {runs}")
            with topology.two_hosts() as net:
                found.append(_started(net.left, filters.policy_text(rows), ruleset))
    return {"filters": count, **medians(found)}


def _stopped(daemon: XfrmdHost) -> None:
    daemon.stop()
    daemon.start()


def _killed(daemon: XfrmdHost) -> None:
    daemon.kill()
    daemon.start()


WAYS: Final[dict[str, Callable[[XfrmdHost], None]]] = {"stop and start": _stopped, "kill -9 and start": _killed}


def restarted(times: int) -> list[Row]:
    """What a flow with an SA and a permitted one lose, at RATE each, while the daemon of one end is restarted."""
    with (
        topology.two_hosts() as net,
        xfrmd(net.left, _PAIR, secret=_SECRET, lasting=True) as left,
        xfrmd(net.right, _PAIR, secret=_SECRET, lasting=True),
        udp_echo(net.right, net.right.v4),
    ):
        carriers: dict[str, Carrier] = {"with an SA": Ping(net.right.v4), "permitted": Udp(net.right.v4)}
        rows: list[Row] = []
        for way in WAYS:
            for flow, carrier in carriers.items():
                lost = _lost(net.left, carrier, left, WAYS[way], times)
                rows.append({"way": way, "flow": flow, "times": times, **lost})
                net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))
                if flow == "with an SA":
                    net.capture.assert_seen_esp()
                net.capture.clear()  # tens of thousands, twice each: of all flows together the lab has no room
    return rows


def _lost(host: Host, carrier: Carrier, daemon: XfrmdHost, restart: Callable[[XfrmdHost], None], times: int) -> Row:
    begun, away = time.monotonic(), 0.0
    flood = Flood(host, carrier, rate=RATE, seconds=600).start()
    for _ in range(times):
        flood.wait_for(SETTLE)
        away += _timed(lambda: restart(daemon))
    flood.wait_for(SETTLE)
    lasted = time.monotonic() - begun
    told = flood.stop()
    return {
        "away": away / times,
        "sent": told.sent,
        "rate": told.sent / lasted,
        "lost": len(told.lost),
        "longest": 1000 * told.longest,
    }
