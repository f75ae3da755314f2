# SPDX-License-Identifier: GPL-2.0-or-later
"""Our one nftables table as a value: maps with elements and chains with rules."""

from __future__ import annotations

from dataclasses import dataclass

ElementKey = tuple[str, ...]
"""The parts of a concatenated key as nft prints them, e.g. ("10.1.0.0", "10.2.0.5", "tcp", "445")."""


@dataclass(frozen=True, slots=True)
class NftMap:
    """A verdict map that is one hash table: exact keys over masked fields.

    `verdicts` are "accept", "drop" or "return"; "return" hands the packet to the rule behind the maps: the fence of
    negotiate filters.
    """

    name: str
    typeof: str
    expression: str
    """The left side of the rule that asks it, e.g. `ip saddr & 255.255.0.0 . ip daddr . meta l4proto`."""
    elements: dict[ElementKey, str]


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain; `hook` is "" for a chain that is only jumped to."""

    name: str
    hook: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NftTable:
    """The table `inet xfrmd`."""

    maps: tuple[NftMap, ...]
    chains: tuple[NftChain, ...]
    counters: tuple[str, ...] = ()
