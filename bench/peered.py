# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy of many peers that a running daemon takes over, ours and charon, in the lab's kernel.

Each begins with one rule and then is told, by the command that an operator uses, that there are many: `xfrmctl
reload` and `swanctl --load-all`. Ours answers when all is in force, proved equal in the kernel. Charon has its
connections then; policies come into the kernel with traps alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from bench.childless import until_idle
from bench.pair import PSK, Suite
from bench.report import Column, Row, Table, alternated, cpu_seconds, over, tell
from bench.responders import CASES, SETTINGS, charon_text, cpu_of, ours_text, resident
from lab import topology
from lab.netns import Host
from lab.strongswan import missing_packages, strongswan
from lab.xfrmd_host import xfrmd

_CASE: Final = "PSK, X25519"


class Daemon(NamedTuple):
    """A running one: its process, and how it is told of all rules."""

    pid: int
    load: Callable[[], object]


@contextlib.contextmanager
def _ours(host: Host, suite: Suite) -> Iterator[Daemon]:
    method = 'psk: {file: "{psk}"}'
    with xfrmd(host, ours_text(suite._replace(rules=1), method), secret=PSK.secret.reveal().decode()) as daemon:
        assert daemon.process is not None
        psk = f'psk: {{file: "{daemon.directory / "psk"}"}}'
        daemon.write_policy(ours_text(suite, psk))
        yield Daemon(daemon.process.pid, partial(daemon.ctl, "reload"))
        found = daemon.ask("status")
        if found["kernel"]["state"] != "equal":
            raise RuntimeError(f"ours has not taken the policy over: {found['kernel']}")


@contextlib.contextmanager
def _charon(host: Host, suite: Suite, *, traps: bool) -> Iterator[Daemon]:
    peer = "auth = psk\n id = %any"
    texts = [charon_text(suite._replace(rules=rules), "auth = psk", peer) for rules in (1, suite.rules)]
    if traps:
        # A trap needs a peer's address; a block of addresses is none.
        mode = "mode = transport"
        texts = [text.replace("/32\n", "\n").replace(mode, f"{mode}\n start_action = trap") for text in texts]
    with strongswan(host, texts[0], settings=SETTINGS) as daemon:
        yield Daemon(host.processes[-1].pid, partial(daemon.load, texts[1]))
        if len(daemon.vici.command("get-conns")["conns"]) != suite.rules:
            raise RuntimeError("charon has not taken the connections over")


KINDS: Final[dict[str, Callable[[Host, Suite], contextlib.AbstractContextManager[Daemon]]]] = {
    "ours": _ours,
    "charon": partial(_charon, traps=False),
    "traps": partial(_charon, traps=True),
}
"""`traps`: charon that puts a policy of each connection into the kernel, as ours does."""


def loaded(kind: str, rules: int) -> Row:
    """Seconds by the clock, of the daemon's CPU and of its command's; MB that the daemon has grown by."""
    suite = CASES[_CASE][0]._replace(rules=rules)
    with topology.two_hosts() as net, KINDS[kind](net.right, suite) as (pid, load):
        until_idle(pid)
        begun, cpu, commands, memory = time.monotonic(), cpu_of(pid), cpu_seconds(), resident(pid)
        load()
        taken = time.monotonic() - begun
        return {
            "s": taken, "cpu": cpu_of(pid) - cpu, "command": cpu_seconds() - commands,
            "mb": (resident(pid) - memory) / 1e6,
        }  # fmt: skip


def peered(rules: int, rounds: int) -> list[Row]:
    """A row for each: medians, and ours in terms of theirs. Ours alone where there is no charon."""
    kinds = [kind for kind in KINDS if kind == "ours" or not missing_packages()]
    jobs = {f"{rules} peers loaded, {kind}": partial(loaded, kind, rules) for kind in kinds}
    found = dict(zip(kinds, alternated(jobs, rounds, tell).values(), strict=True))
    rows: list[Row] = []
    for kind, one in found.items():
        both = float(one["cpu"]) + float(one["command"])
        row: Row = {"kind": _NAMES[kind], "rules": rules, "rounds": rounds, **one, "both": both}
        rows.append(
            row if not rows else {**row, **{f"{key}_ratio": over(rows[0], row, key) for key in ("s", "cpu", "both")}}
        )
    return rows


_NAMES: Final = {"ours": "ours", "charon": "charon", "traps": "charon, a trap for each"}


def peered_table(rows: list[Row]) -> Table:
    """What `peered` has measured."""
    columns = (
        Column("kind", "daemon"),
        Column("rules", "peers", ",d"),
        Column("rounds", "runs", ",d"),
        Column("s", "s until all are in force", ".2f"),
        Column("s_ratio", "ours / theirs", ".2f"),
        Column("cpu", "CPU s, daemon", ".2f"),
        Column("cpu_ratio", "ours / theirs", ".2f"),
        Column("command", "its command", ".2f"),
        Column("both_ratio", "ours / theirs, both", ".2f"),
        Column("mb", "MB more", ".1f"),
    )
    notes = (
        "In a kernel of the lab: a daemon with one peer is told of many by `xfrmctl reload` or `swanctl --load-all`, "
        "one secret. Ours has each peer's policies in the kernel then, proved, charon with traps alone. Medians."
    )
    return Table("peers", "A policy of many peers loaded", columns, tuple(rows), notes)
