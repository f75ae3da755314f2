# SPDX-License-Identifier: GPL-2.0-or-later
"""What a flood of first messages costs the host that it comes to, and honest peers beside it.

Three namespaces of this kernel: the host (`bench.guarded`), honest peers (`bench.visitors`) on one link, and somebody
who floods (`tests.lab.flooder`) on another. What is counted lies between two looks, while the flood goes on.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, NamedTuple

from bench.report import Column, Row, Table, tell
from bench.responders import CLIENTS, cpu_of, resident
from bench.visitors import LIMIT
from lab.netns import Host, ip_batch, namespaces
from tests.lab.injection import hardware_address
from xfrmd.limits import floods as bounds

TARGET, ATTACKER, SERVER, HONEST = "192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"
_ROOT: Final = Path(__file__).parents[1]
_BEHIND: Final = 30.0
"""Seconds that a flood would go on after what is measured under it, if it were not ended then."""
MODES: Final = {
    "": "none",
    "forged": "forged addresses",
    "cookies": "one address, with cookies",
    "nat": "none; all at once behind one NAT",
}
_LINES: Final = (
    "link set lo up",
    "link add eth0 type veth peer name eth0 netns {attacker}",
    "link add eth1 type veth peer name eth0 netns {honest}",
    f"addr add {TARGET}/24 dev eth0",
    f"addr add {SERVER}/24 dev eth1",
    "link set eth0 up",
    "link set eth1 up",
)
_FAR: Final = {
    "attacker": ("link set lo up", f"addr add {ATTACKER}/24 dev eth0", "link set eth0 up"),
    "honest": (
        "link set lo up",
        f"addr add {HONEST}/24 dev eth0",
        "link set eth0 up",
        f"route add local {CLIENTS} dev lo",
    ),
}
_NAT: Final = (
    "table ip nat { chain out { type nat hook postrouting priority srcnat;"
    f" ip saddr {CLIENTS} meta l4proto udp masquerade to :1024-65535; }}; }}"
)
_ROUTES: Final = (f"route add 198.18.0.0/15 via {ATTACKER}", f"route add {CLIENTS} via {HONEST}")


class Program:
    """One of ours in a host, spoken to line by line."""

    def __init__(self, host: Host, log: Any, *words: str) -> None:
        self.process = host.popen(
            sys.executable, "-m", *words, stdin=subprocess.PIPE, stderr=log, env={"PYTHONPATH": str(_ROOT)}
        )

    def hear(self) -> str:
        """Its next line. RuntimeError when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended with {self.process.wait()}")
        return line

    def say(self) -> None:
        """Have it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


class Look(NamedTuple):
    """At one moment."""

    at: float
    cpu: float
    memory: int
    lost: int
    """Datagrams for which the host's sockets had no room."""
    counters: dict[str, int]


def _look(host: Host, server: Program) -> Look:
    server.say()
    counters = json.loads(server.hear())
    pid = server.process.pid
    return Look(time.monotonic(), cpu_of(pid), resident(pid), _lost(host), counters)


def _lost(host: Host) -> int:
    """RcvbufErrors (proc_pid_net_snmp(5))."""
    text = host.inside(lambda: Path("/proc/thread-self/net/snmp").read_text())
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])


@contextlib.contextmanager
def _hosts() -> Iterator[dict[str, Host]]:
    with namespaces("server", "attacker", "honest") as made:
        hosts = dict(zip(("server", "attacker", "honest"), made, strict=True))
        names = {role: host.name for role, host in hosts.items()}
        ip_batch([line.format(**names) for line in _LINES], hosts["server"])
        for role, lines in _FAR.items():
            ip_batch(lines, hosts[role])
        ip_batch(_ROUTES, hosts["server"])
        ip_batch([f"route add {TARGET.rpartition('.')[0]}.0/24 via {SERVER}"], hosts["honest"])
        yield hosts


def _flood(hosts: dict[str, Host], mode: str, rate: int, seconds: float) -> subprocess.Popen[str]:
    """It goes on for longer than what is measured under it."""
    link = hardware_address(hosts["server"], "eth0").hex(":")
    words = ["tests.lab.flooder", mode, TARGET, str(seconds + _BEHIND), str(rate), link]
    environment = {"PYTHONPATH": str(_ROOT)}
    return hosts["attacker"].popen(sys.executable, "-m", *words, stderr=subprocess.DEVNULL, env=environment)


def _ended(flood: subprocess.Popen[str]) -> float:
    """End it; messages that it sent in a second. RuntimeError when it has ended before."""
    if flood.poll() is not None:
        raise RuntimeError("the flood ended before all was measured")
    flood.terminate()
    told = json.loads(flood.communicate(timeout=_BEHIND)[0])
    return float(told["sent"] / told["seconds"])


def flooded(mode: str, rate: int, seconds: float) -> Row:
    """One flood, none where `mode` is "". `rate`: messages a second, 0 for as many as the sender can; with "nat", how
    many honest peers begin at once.
    """
    crowd, mode = (rate, "") if mode == "nat" else (0, mode)
    with _hosts() as hosts, TemporaryFile("w+") as log:
        server = Program(hosts["server"], log, "bench.guarded")
        server.hear()
        if crowd:
            hosts["honest"].run("nft", _NAT)
        honest = Program(hosts["honest"], log, "bench.visitors", CLIENTS, SERVER, str(seconds), str(crowd))
        honest.hear()
        idle = _look(hosts["server"], server)
        flood = _flood(hosts, mode, rate, seconds) if mode else None
        first = _under_way(hosts["server"], server, idle) if mode else idle
        honest.say()
        told = json.loads(honest.hear())
        last = _look(hosts["server"], server)
        sent = _ended(flood) if flood else 0.0
        if last.counters["faults"]:
            raise RuntimeError(f"{last.counters['faults']} internal errors")
    row = _row(idle, first, last, told)
    asked = (f"{rate:,}" if rate else "all it can") if mode else ""
    return {"mode": MODES["nat" if crowd else mode], "asked": asked, "sent": sent, **row}


def _under_way(host: Host, server: Program, idle: Look) -> Look:
    """Wait until cookies are asked for. RuntimeError when they are not in time."""
    end = time.monotonic() + _BEHIND
    while time.monotonic() < end:
        look = _look(host, server)
        if look.counters["cookies"] > idle.counters["cookies"] + bounds.HALF_OPEN_COOKIE:
            return look
        time.sleep(0.05)
    raise RuntimeError("no cookie was asked for")


def _row(idle: Look, first: Look, last: Look, told: dict[str, list[float]]) -> dict[str, float]:
    """What became of the host from the first look to the last, and of its peers."""
    lasted = last.at - first.at
    grown = {name: value - first.counters.get(name, 0) for name, value in last.counters.items()}
    heard = grown["udp-received"] - grown["no-room"]
    row: dict[str, float] = {
        "heard": heard / lasted,
        "cookies": grown["cookies"] / lasted,
        "suspect": grown["dropped-suspect"] / lasted,
        "lost": (last.lost - first.lost) / lasted,
        "no_room": grown["no-room"] / lasted,
        "cpu": 100 * (last.cpu - first.cpu) / lasted,
        "us": 1e6 * (last.cpu - first.cpu) / max(heard, 1),
        "mb": last.memory / 1e6,
        "mb_more": (last.memory - idle.memory) / 1e6,
    }
    for name, taken in told.items():
        row |= {name: len(taken), f"{name}_s": statistics.median(taken), f"{name}_most": max(taken)}
        row[f"{name}_never"] = sum(one >= LIMIT for one in taken)
    return row


def flooding(floods: Sequence[tuple[str, int]], seconds: float) -> list[Row]:
    """A row for each flood."""
    rows = []
    for mode, rate in floods:
        tell(f"flood: {MODES[mode]}, {rate or 'all it can'}")
        rows.append(flooded(mode, rate, seconds))
    return rows


_NOTES: Final = """\
On this machine's kernel, which need not have ESP: the daemon's sockets, inbox, engine, timers and journal in a process,
without what speaks to the kernel; IKE SAs alone (RFC 6023). Honest peers come one after the other, one that is there
rekeys its IKE SA; one process is all of them, also of those that come at once. CPU is the daemon's, in terms of one
core, and of each message that it hears with what it drops for want of room. Turned away: with a valid cookie, from a
host of whose negotiations nothing comes. Never: not in 20 s."""


def flood_table(rows: Sequence[Row]) -> Table:
    """What `flooding` has measured."""
    columns = (
        Column("mode", "flood"),
        Column("asked", "messages/s"),
        Column("sent", "sent/s", ",.0f"),
        Column("heard", "heard/s", ",.0f"),
        Column("cookies", "told a cookie/s", ",.0f"),
        Column("suspect", "turned away/s", ",.0f"),
        Column("lost", "no room in sockets/s", ",.0f"),
        Column("no_room", "in the inbox/s", ",.0f"),
        Column("cpu", "CPU %", ".0f"),
        Column("us", "us each", ".0f"),
        Column("connects", "peers", ",d"),
        Column("connects_s", "connected in s", ".3f"),
        Column("connects_most", "worst", ".3f"),
        Column("connects_never", "never", ",d"),
        Column("rekeys", "rekeys", ",d"),
        Column("rekeys_s", "done in s", ".3f"),
        Column("rekeys_most", "worst", ".3f"),
        Column("rekeys_never", "never", ",d"),
        Column("mb", "MB", ".1f"),
        Column("mb_more", "more", ".1f"),
    )
    return Table("floods", "Floods of first messages", columns, tuple(rows), _NOTES.replace("\n", " "))
