# SPDX-License-Identifier: GPL-2.0-or-later
"""An NftTable as the text of one `nft -f` transaction: the old table goes and the new one comes in one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xfrmd import limits
from xfrmd.model.nft import NftChain, NftMap, NftTable

_HEAD: Final = (
    "# Compiled from a policy: edit that, not this.",
    "# In a map, accept and drop are final; return means negotiate: the packet meets the fence behind the maps, which",
    "# lets pass what is on an SA.",
)


def _map(one: NftMap) -> Iterator[str]:
    yield f"  map {one.name} {{"
    yield f"    typeof {one.typeof}"
    if one.elements:
        yield "    elements = {"
        yield ",\n".join(f"      {' . '.join(key)} : {verdict}" for key, verdict in one.elements.items())
        yield "    }"
    yield "  }"


def _chain(one: NftChain) -> Iterator[str]:
    yield f"  chain {one.name} {{"
    if one.hook:
        yield f"    {one.hook}"
    yield from (f"    {rule}" for rule in one.rules)
    yield "  }"


def _lines(table: NftTable) -> Iterator[str]:
    name = f"inet {limits.NFT_TABLE}"
    yield from _HEAD
    yield f"add table {name}"
    yield f"delete table {name}"
    yield f"table {name} {{"
    yield from (f"  counter {counter} {{ }}" for counter in table.counters)
    for one in table.maps:
        yield from _map(one)
    for chain in table.chains:
        yield from _chain(chain)
    yield "}"


def render(table: NftTable) -> str:
    """The text to hand to `nft -f`. The same table gives the same text."""
    return "\n".join(_lines(table)) + "\n"
