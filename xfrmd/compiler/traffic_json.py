# SPDX-License-Identifier: GPL-2.0-or-later
"""A difference in traffic for programs, and for those who make text of it. Secrets never appear."""

from __future__ import annotations

from collections import Counter
from typing import Final

from xfrmd.compiler.boxes import ALL_PROTOCOLS
from xfrmd.compiler.decisions import Decided, Protection
from xfrmd.compiler.regions import Ranges, Region, numbers, region_text
from xfrmd.compiler.traffic import Change, Kind, Pair, Traffic
from xfrmd.model.addresses import Address
from xfrmd.transforms.catalog import name_of

SCHEMA: Final = 1
"""Version of the JSON form; it grows when a field changes its meaning."""
PEERS: Final = 100
"""Pairs of addresses that are listed; `more_peers` counts the others."""


def traffic_json(found: Traffic) -> dict[str, object]:
    """A JSON object; what does not apply is null."""
    counts = Counter(kind for one in found.changes for kind in one.kinds)
    return {
        "schema": SCHEMA,
        "equal": found.equal,
        "complete": found.complete,
        "kinds": {kind.value: counts[kind] for kind in Kind if counts[kind]},
        "changes": [*map(_change, found.changes)],
        "more_changes": found.more,
        "peers": [*map(_pair, found.peers[:PEERS])],
        "more_peers": max(len(found.peers) - PEERS, 0),
        "default_response": found.default_response,
        "exempt": [*found.apart],
        "unanswered": [*found.unanswered],
    }


def _pair(one: Pair) -> dict[str, str]:
    local, remote = (str(prefix) if prefix.length else "any" for prefix in one)
    return {"local": local, "remote": remote}


def _change(one: Change) -> dict[str, object]:
    return {
        "kinds": [kind.value for kind in one.kinds],
        "direction": "in" if one.inbound else "out",
        "traffic": region_text(one.family, one.region),
        "selector": _selector(one.family, one.region),
        "old": _decided(one.old),
        "new": _decided(one.new),
    }


def _selector(family: int, one: Region) -> dict[str, object]:
    """Ranges with both ends; of ICMP the source ports are types, the destination ports codes."""
    return {
        "family": family,
        "src": _addresses(family, one.src),
        "dst": _addresses(family, one.dst),
        "protocols": None if one.protocols == ALL_PROTOCOLS else numbers(one.protocols),
        "sports": [*map(list, one.sports)],
        "dports": [*map(list, one.dports)],
    }


def _addresses(family: int, ranges: Ranges) -> list[list[str]]:
    return [[str(Address(family, end)) for end in each] for each in ranges]


def _decided(one: Decided) -> dict[str, object]:
    origin, protection = (one.filter.origin if one.filter else None), one.meaning.protection
    return {
        "verdict": one.verdict.value,
        "rule": origin.rule if origin else one.exemption or None,
        "filter_list": origin.filter_list if origin else None,
        "filter_action": origin.filter_action if origin else None,
        "at": str(origin.at) if origin else None,
        "inpass": one.meaning.inpass,
        "protection": _protection(protection) if protection else None,
    }


def _protection(one: Protection) -> dict[str, object]:
    return {
        "mode": one.mode.name.lower(),
        "tunnel": [*map(str, one.tunnel)] if one.tunnel else None,
        "pfs": one.pfs,
        "soft": one.soft,
        "soft_seconds": one.soft_seconds or None,
        "methods": [
            {
                "protocol": method.protocol.name,
                "algorithms": [name_of(transform) for transform in method.transforms],
                "seconds": method.lifetime.seconds,
                "kilobytes": method.lifetime.kilobytes,
            }
            for method in one.proposals
        ],
    }
