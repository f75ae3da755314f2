# SPDX-License-Identifier: GPL-2.0-or-later
"""An NftTable as the text of one `nft -f` transaction: the old table goes and the new one comes in one step.

Where the old one is known, its base chains stay and get new rules. When a base chain goes, the kernel drops what all
nfqueues of the network namespace hold: our packets that wait for an SA, and those of other programs.
"""

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
        yield ",\n".join(f"      {one.key_text(key)} : {verdict}" for key, verdict in one.elements.items())
        yield "    }"
    yield "  }"


def _chain(one: NftChain) -> Iterator[str]:
    yield f"  chain {one.name} {{"
    if one.hook:
        yield f"    {one.hook}"
    yield from (f"    {rule}" for rule in one.rules)
    yield "  }"


def _afresh(name: str) -> Iterator[str]:
    yield f"add table {name}"
    yield f"delete table {name}"


def _cleared(name: str, old: NftTable, new: NftTable) -> Iterator[str]:
    """Empty the old table of all but the chains and counters that the new one has too."""
    hooks = {chain.name: chain.hook for chain in new.chains}
    yield f"flush table {name}"
    yield from (f"delete chain {name} {one.name}" for one in old.chains if hooks.get(one.name) != one.hook)
    yield from (f"delete map {name} {one.name}" for one in old.maps)
    yield from (f"delete counter {name} {counter}" for counter in old.counters if counter not in new.counters)


def _is_plain(table: NftTable) -> bool:
    """Only what we make? What nft lists of other kinds is named by two words."""
    return not any(" " in chain.name for chain in table.chains)


def _lines(table: NftTable, old: NftTable | None) -> Iterator[str]:
    name = f"inet {limits.NFT_TABLE}"
    yield from _HEAD
    yield from _cleared(name, old, table) if old is not None and _is_plain(old) else _afresh(name)
    yield f"table {name} {{"
    yield from (f"  counter {counter} {{ }}" for counter in table.counters)
    for one in table.maps:
        yield from _map(one)
    for chain in table.chains:
        yield from _chain(chain)
    yield "}"


def render(table: NftTable, old: NftTable | None = None) -> str:
    """The text to hand to `nft -f`. The same table gives the same text.

    `old`: the table as the kernel has it, when only that one is to be replaced; without it, whatever there is.
    """
    return "\n".join(_lines(table, old)) + "\n"
