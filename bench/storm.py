# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of peers that all rekey at once, and what ours and charon take for it, on this machine's kernel.

As in `bench.childless`, with IKE SAs alone: a rekey is CREATE_CHILD_SA with a key exchange and the deletion of the old
IKE SA. The peers' engine is one process beside the daemon's.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.childless import KINDS, SERVER, hosts
from bench.clients import Work
from bench.pair import Suite
from bench.report import Column, Row, Table, Value, alternated, over, tell
from bench.responders import CASES, CLIENTS, WARM_UP, WINDOW, connect, cpu_of, resident
from lab.strongswan import missing_packages

_CASE: Final = "PSK, X25519"
_AT_ONCE: Final = 64
"""Rekeys under way: each peer that is done has another one begin."""


def rekeyed(kind: str, suite: Suite, count: int) -> Row:
    """A fresh daemon with so many peers that rekey when all are there."""
    with hosts() as (server, clients), KINDS[kind](server, suite, None) as pid:
        connect(clients, Work(suite, CLIENTS, 1, WARM_UP, WINDOW, SERVER, childless=True))
        before = cpu_of(pid)
        told = connect(
            clients, Work(suite, CLIENTS, 1 + WARM_UP, count, WINDOW, SERVER, childless=True, storm=_AT_ONCE)
        )
        if told["rekeyed"] != count:
            raise RuntimeError(f"of {count} peers: {told}")
        return {
            "connected": told["seconds"],
            "storm": told["storm"],
            "cpu": cpu_of(pid) - before,
            "mb": resident(pid) / 1e6,
            "repeated": told["sent"] - 4 * count,
        }


def storm(count: int) -> list[Row]:
    """One row: both daemons. Ours alone where there is no charon."""
    suite, _ = CASES[_CASE]
    kinds = [kind for kind in KINDS if kind == "ours" or not missing_packages()]
    jobs = {f"{count} peers rekey, {kind}": partial(rekeyed, kind, suite, count) for kind in kinds}
    found = dict(zip(kinds, alternated(jobs, 1, tell).values(), strict=True))
    row: dict[str, Value] = {"peers": count}
    for kind, one in found.items():
        row |= {f"{kind}_{key}": value for key, value in one.items()}
    if "charon" in found:
        row |= {f"{key}_ratio": over(found["ours"], found["charon"], key) for key in ("storm", "cpu", "mb")}
    return [row]


def storm_table(rows: list[Row]) -> Table:
    """What `storm` has measured."""
    columns = (
        Column("peers", "peers", ",d"),
        Column("ours_storm", "all rekeyed in s", ".1f"),
        Column("charon_storm", "charon", ".1f"),
        Column("storm_ratio", "ratio", ".2f"),
        Column("ours_cpu", "CPU s, connecting and rekeying", ".1f"),
        Column("charon_cpu", "charon", ".1f"),
        Column("cpu_ratio", "ratio", ".2f"),
        Column("ours_mb", "MB", ".0f"),
        Column("charon_mb", "charon", ".0f"),
        Column("mb_ratio", "ratio", ".2f"),
        Column("ours_repeated", "datagrams sent again", ",.0f"),
        Column("charon_repeated", "to charon", ",.0f"),
    )
    notes = (
        "On this machine's kernel, IKE SAs alone (RFC 6023), a pre-shared key and X25519. All peers rekey their IKE "
        f"SAs, {_AT_ONCE} at a time; the next begins when one is done. Both daemons as in `childless`."
    )
    return Table("storm", "All peers rekey at once", columns, tuple(rows), notes)
