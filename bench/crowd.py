# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of peers of one daemon, ours and charon, in the lab's kernel: memory for each, and how long our answers
about all of them take.

Clients come by the batch, each with an IKE SA and a child SA pair in the kernel, and then fall silent. Ours keeps its
state for the next run, as under a service manager.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.clients import Work
from bench.pair import PSK, Suite
from bench.report import Column, Row, Table, Value, alternated, over, tell
from bench.responders import CASES, CLIENTS, KINDS, WARM_UP, WINDOW, Pki, connect, ours_text, resident
from lab import topology
from lab.netns import Host
from lab.strongswan import missing_packages
from lab.xfrmd_host import xfrmd
from xfrmd.control.client import ask

_CASES: Final = ("PSK, X25519", "RSA 2048, MODP2048")
_BATCH: Final = 500
_QUESTIONS: Final = ("status", "sas", "counters")
_PATIENCE: Final = 120.0

Asker = Callable[[str], float]
"""Asks the daemon for something; seconds until all of the answer is read."""


def _established(ike_sas: list[dict[str, object]]) -> int:
    return sum(sa["state"] == "established" for sa in ike_sas)


@contextlib.contextmanager
def _ours(host: Host, suite: Suite, pki: Pki | None) -> Iterator[tuple[int, Asker]]:
    method = pki.method() if pki else 'psk: {file: "{psk}"}'
    with xfrmd(host, ours_text(suite, method), secret=PSK.secret.reveal().decode(), lasting=True) as daemon:
        assert daemon.process is not None
        control = str(daemon.control)

        def asked(command: str) -> float:
            begun = time.monotonic()
            answer = ask(command, {}, control, timeout=_PATIENCE)
            taken = time.monotonic() - begun
            # A late copy of a first message is a half-open IKE SA for a while.
            if command == "sas" and _established(answer["ike_sas"]) != len(answer["child_sas"]):
                raise RuntimeError("an IKE SA without its child SA")
            return taken

        yield daemon.process.pid, asked


@contextlib.contextmanager
def _charon(host: Host, suite: Suite, pki: Pki | None) -> Iterator[tuple[int, None]]:
    with KINDS["charon"](host, suite, pki) as pid:
        yield pid, None


_KINDS: Final = {"ours": _ours, "charon": _charon}


def gathered(kind: str, case: str, count: int) -> Row:
    """A fresh daemon with so many peers: kB for each, and seconds of our answers."""
    suite, keys = CASES[case]
    with topology.two_hosts() as net, TemporaryDirectory() as name:
        net.left.run("ip", "route", "add", "local", CLIENTS, "dev", "lo")
        net.right.run("ip", "route", "add", CLIENTS, "via", net.left.v4)
        pki = Pki.make(keys, Path(name)) if keys else None
        authority = name if keys else ""
        with _KINDS[kind](net.right, suite, pki) as (pid, asked):
            connect(net.left, Work(suite, CLIENTS, 1, WARM_UP, WINDOW, net.right.v4, authority))
            before = resident(pid)
            for come in range(0, count, _BATCH):
                number = min(_BATCH, count - come)
                connect(net.left, Work(suite, CLIENTS, 1 + WARM_UP + come, number, WINDOW, net.right.v4, authority))
            row: Row = {"kb": (resident(pid) - before) / count / 1e3}
            return row if asked is None else {**row, **{name: asked(name) for name in _QUESTIONS}}


def _row(case: str, count: int) -> Row:
    kinds = [kind for kind in _KINDS if kind == "ours" or not missing_packages()]
    jobs = {f"{count} peers, {case}, {kind}": partial(gathered, kind, case, count) for kind in kinds}
    found = dict(zip(kinds, alternated(jobs, 1, tell).values(), strict=True))
    row: dict[str, Value] = {"case": case, "peers": count, **{f"{kind}_kb": one["kb"] for kind, one in found.items()}}
    row |= {name: found["ours"][name] for name in _QUESTIONS}
    if "charon" in found:
        row["kb_ratio"] = over(found["ours"], found["charon"], "kb")
    return row


def crowd(count: int, most: int) -> list[Row]:
    """A row for each of the first cases: both daemons. Ours alone where there is no charon."""
    return [_row(case, count) for case in islice(_CASES, most)]


def crowd_table(rows: list[Row]) -> Table:
    """What `crowd` has measured."""
    columns = (
        Column("case", "handshake"),
        Column("peers", "peers", ",d"),
        Column("ours_kb", "kB per peer", ".1f"),
        Column("charon_kb", "charon", ".1f"),
        Column("kb_ratio", "ratio", ".2f"),
        Column("status", "`status`, s", ".2f"),
        Column("sas", "`sas`, s", ".2f"),
        Column("counters", "`counters`, s", ".2f"),
    )
    notes = (
        "In a kernel of the lab: growth of the daemon for each peer's IKE SA and child SA "
        "pair, ours with its state kept for the next run, and seconds from a question to all of its answer."
    )
    return Table("crowd", "Thousands of peers", columns, tuple(rows), notes)
