# SPDX-License-Identifier: GPL-2.0-or-later
"""Two responders, ours and charon, on this machine's kernel, which need not have ESP: CPU that the same clients cost.

Every handshake is IKE_SA_INIT and IKE_AUTH without a child SA (RFC 6023). Both daemons run for the whole of a row, each
in a host of its own with its clients in another; new clients come to one and then to the other, after some that are not
counted. CPU is that of the daemon's process with all its threads, in user mode and in the kernel. Neither logs anything
but errors, neither asks for cookies or turns anybody away.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.clients import Work
from bench.pair import Suite
from bench.report import Column, Row, Table, alternated, over, tell
from bench.responders import CASES, CLIENTS, WARM_UP, Pki, charon, connect, cpu_of, ours
from lab.netns import Host, ip_batch, namespaces
from lab.strongswan import missing_packages
from lab.xfrmd_host import program

SERVER, THEIRS = "192.0.2.1", "192.0.2.2"
WINDOW: Final = 16
"""Clients at a time: no more are half-open than ours takes without asking for cookies."""
_LOOK: Final = 0.25
_IDLE: Final = 0.02
"""Part of a core that an idle daemon takes at most."""
_PATIENCE: Final = 60.0
_LINES: Final = {
    "server": (f"addr add {SERVER}/24 dev eth0", "link set eth0 up", f"route add {CLIENTS} via {THEIRS}"),
    "clients": (f"addr add {THEIRS}/24 dev eth0", "link set eth0 up", f"route add local {CLIENTS} dev lo"),
}

Responder = Callable[[Host, Suite, Pki | None], contextlib.AbstractContextManager[int]]
KINDS: Final[dict[str, Responder]] = {
    "ours": partial(ours, command=program("unprotecting", "bench")),
    "charon": charon,
}


@contextlib.contextmanager
def hosts() -> Iterator[tuple[Host, Host]]:
    """The responder's, and that where all clients' addresses are local."""
    with namespaces(*_LINES) as (server, clients):
        ip_batch(["link set lo up", f"link add eth0 type veth peer name eth0 netns {clients.name}"], server)
        ip_batch(["link set lo up"], clients)
        for host, lines in zip((server, clients), _LINES.values(), strict=True):
            ip_batch(lines, host)
        yield server, clients


def in_kernel(pid: int) -> tuple[float, float]:
    """CPU seconds of a process in user mode and in the kernel, in hundredths (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK"), int(fields[12]) / os.sysconf("SC_CLK_TCK")


def until_idle(pid: int) -> None:
    """Wait until a daemon has done what its start left to do. TimeoutError."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        before = cpu_of(pid)
        time.sleep(_LOOK)
        if cpu_of(pid) - before < _IDLE * _LOOK:
            return
    raise TimeoutError(f"process {pid} is not idle after {_PATIENCE} s")


@dataclass(slots=True)
class Running:
    """A daemon and the host that its clients come from."""

    pid: int
    clients: Host
    suite: Suite
    authority: str
    come: int = 0
    turns: list[float] = field(default_factory=list)
    """CPU of a client in each, in ms."""

    def connect(self, count: int) -> Row:
        """So many clients, new ones; CPU of each in ms, and how many datagrams it sent."""
        before = cpu_of(self.pid)
        work = Work(self.suite, CLIENTS, 1 + self.come, count, WINDOW, SERVER, self.authority, childless=True)
        told = connect(self.clients, work)
        self.come += count
        self.turns.append((cpu_of(self.pid) - before) / count * 1e3)
        return {"ms": self.turns[-1], "sent": told["sent"] / count}


@contextlib.contextmanager
def _running(kind: str, suite: Suite, pki: Pki | None) -> Iterator[Running]:
    with hosts() as (server, clients), KINDS[kind](server, suite, pki) as pid:
        running = Running(pid, clients, suite, str(pki.directory) if pki else "")
        running.connect(WARM_UP)
        until_idle(pid)
        running.turns.clear()
        yield running


def handshakes(case: str, suite: Suite, keys: str, count: int, rounds: int) -> Row:
    """A row: the medians of both, and what ours costs in terms of charon's. Ours alone where there is no charon."""
    kinds = [kind for kind in KINDS if kind == "ours" or not missing_packages()]
    with contextlib.ExitStack() as stack:
        pki = Pki.make(keys, Path(stack.enter_context(TemporaryDirectory()))) if keys else None
        running = {kind: stack.enter_context(_running(kind, suite, pki)) for kind in kinds}
        before = {kind: in_kernel(one.pid) for kind, one in running.items()}
        jobs = {f"{case}, {kind}": partial(one.connect, count) for kind, one in running.items()}
        found = dict(zip(kinds, alternated(jobs, rounds, tell).values(), strict=True))
        row: dict[str, float | str] = {"case": case, "clients": count, "rounds": rounds}
        for kind, one in running.items():
            user, system = (now - then for now, then in zip(in_kernel(one.pid), before[kind], strict=True))
            row |= {f"{kind}_{key}": value for key, value in found[kind].items()}
            row |= {f"{kind}_kernel": 100 * system / max(user + system, 1e-9), f"{kind}_best": min(one.turns)}
    if "charon" in found:
        row["ms_ratio"] = over(found["ours"], found["charon"], "ms")
        row["best_ratio"] = float(row["ours_best"]) / float(row["charon_best"])
    return row


def childless(count: int, rounds: int, rules: int, most: int) -> list[Row]:
    """A row for each of the first cases."""
    rows = []
    for name, (suite, keys) in islice(CASES.items(), most):
        one = suite._replace(rules=rules if "{}" in name else 1)
        rows.append(handshakes(name.format(f"{rules:,}"), one, keys, count, rounds))
    return rows


_NOTES: Final = """\
On this machine's kernel, which need not have ESP: IKE SAs alone (RFC 6023), the same clients by turns to both, 16 at a
time, each daemon with the SAs of the turns before. Ours is whole but for what holds packets. CPU is the daemon's, user
and system, median of the turns and the best. Neither logs, asks for cookies or blocks; charon has dos_protection off
and a table of 1,024 rows for its SAs. Two datagrams of each client, three where IKE_AUTH comes in fragments; what is
more was sent again."""


def childless_table(rows: list[Row]) -> Table:
    """What `childless` has measured."""
    columns = (
        Column("case", "handshake"),
        Column("clients", "clients a turn", ",d"),
        Column("rounds", "turns", ",d"),
        Column("ours_ms", "CPU ms", ".2f"),
        Column("charon_ms", "charon", ".2f"),
        Column("ms_ratio", "ratio", ".2f"),
        Column("ours_best", "best turn", ".2f"),
        Column("charon_best", "charon", ".2f"),
        Column("best_ratio", "ratio", ".2f"),
        Column("ours_kernel", "in the kernel, %", ".0f"),
        Column("charon_kernel", "charon", ".0f"),
        Column("ours_sent", "datagrams of a client", ".2f"),
        Column("charon_sent", "charon", ".2f"),
    )
    title = "Handshakes of a whole daemon, IKE SAs alone"
    return Table("childless", title, columns, tuple(rows), _NOTES.replace("\n", " "))
