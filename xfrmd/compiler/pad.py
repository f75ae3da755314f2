# SPDX-License-Identifier: GPL-2.0-or-later
"""The PAD: main mode filters. Pairs of addresses that several rules share collapse into one entry."""

from __future__ import annotations

from collections.abc import Iterable

from xfrmd.model.addresses import Prefix
from xfrmd.model.pad import PadEntry
from xfrmd.model.source import Problem, Severity
from xfrmd.model.store import Store


def _by_pair(peers: Iterable[PadEntry]) -> dict[tuple[Prefix, Prefix], list[PadEntry]]:
    """For each pair of addresses the entries that want it, one per rule: by store, then by place in the file."""
    found: dict[tuple[Prefix, Prefix], dict[tuple[Store, str], PadEntry]] = {}
    for entry in peers:
        found.setdefault((entry.local, entry.remote), {}).setdefault((entry.store, entry.rule), entry)
    return {
        pair: sorted(rules.values(), key=lambda one: (one.store.rank, one.at, one.rule))
        for pair, rules in found.items()
    }


def entries(peers: Iterable[PadEntry]) -> tuple[PadEntry, ...]:
    """One entry per pair of addresses, the narrowest first. Where rules disagree the persistent policy's holds, then
    the first in the file.
    """
    chosen = [wanted[0] for wanted in _by_pair(peers).values()]
    return tuple(sorted(chosen, key=lambda one: (-one.local.length - one.remote.length, one.local, one.remote)))


def settings(entry: PadEntry) -> tuple[object, ...]:
    """How an entry authenticates."""
    return (entry.auth, entry.local_id, entry.remote_id, entry.ppk)


def conflicts(peers: Iterable[PadEntry]) -> tuple[Problem, ...]:
    """Rules that want different authentication for the same pair of addresses, each pair of rules told once.

    IKE authenticates a pair of hosts, not a port, so only one of them could hold.
    """
    told: dict[tuple[Store, str, Store, str], Problem] = {}
    for (local, remote), wanted in _by_pair(peers).items():
        first = wanted[0]
        for other in wanted[1:]:
            if settings(other) != settings(first):
                told.setdefault(
                    (first.store, first.rule, other.store, other.rule), _conflict(local, remote, first, other)
                )
    return tuple(told.values())


def _conflict(local: Prefix, remote: Prefix, first: PadEntry, other: PadEntry) -> Problem:
    pair = " and ".join("any" if end.length == 0 else str(end) for end in (local, remote))
    if first.store is not other.store:
        return Problem(
            Severity.WARNING,
            other.at,
            f"between {pair} traffic of rule {other.rule!r} is authenticated as the persistent policy's rule "
            f"{first.rule!r} ({first.at}) says",
            "give both rules the same authentication, if the peer does not expect that",
        )
    return Problem(
        Severity.ERROR,
        other.at,
        f"rules {first.rule!r} ({first.at}) and {other.rule!r} authenticate differently between {pair}",
        "give both rules the same authentication: IKE authenticates a pair of addresses once, for all ports",
    )
