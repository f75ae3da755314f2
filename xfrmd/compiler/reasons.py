# SPDX-License-Identifier: GPL-2.0-or-later
"""Why one filter weighs more than another, in words: the first part of their weights that differs."""

from __future__ import annotations

from typing import Final

from xfrmd.model.plan import Weight

_ALL: Final = 65536
TIE: Final = "is as specific, and comes first in the file"
"""Between filters of equal weight the place decides."""
STORES: Final = "is as specific, and is of the persistent store"
"""Ahead of the place, the store."""


def _named_ports(weight: Weight) -> int:
    """The width of a filter's port ranges, summed; a side without ports is left out."""
    return 2 * _ALL - weight.port_precision - (2 - weight.ports_named) * _ALL


def reason(winner: Weight, loser: Weight) -> str:
    """What `winner` has over `loser`, as the end of a sentence about the winner."""
    if winner.prefix_sum != loser.prefix_sum:
        return f"has longer prefixes: {winner.prefix_sum} > {loser.prefix_sum} bits, both ends summed"
    if winner.longer_prefix != loser.longer_prefix:
        return f"has a longer prefix at one end: {winner.longer_prefix} > {loser.longer_prefix} bits"
    if winner.source_prefix != loser.source_prefix:
        return f"has a longer source prefix: {winner.source_prefix} > {loser.source_prefix} bits"
    if winner.protocol_named != loser.protocol_named:
        return "names a protocol"
    if winner.ports_named != loser.ports_named:
        return "names both ports" if winner.ports_named == 2 else "names a port, or an ICMP type"
    if winner.destination_port_named != loser.destination_port_named:
        return "names the destination port, not the source port"
    if winner.port_precision != loser.port_precision:
        return f"names fewer ports: {_named_ports(winner)} < {_named_ports(loser)}"
    return TIE
