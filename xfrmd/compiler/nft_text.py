# SPDX-License-Identifier: GPL-2.0-or-later
"""An NftTable as nft commands: whole, for a file, or as the step from another table that the kernel has.

Where the old table is known, its base chains stay and get new rules. When a base chain goes, the kernel drops what all
nfqueues of the network namespace hold: our packets that wait for an SA, and those of other programs.

Maps whose kind is the same stay as well, with what their elements have counted. New maps are made and filled before
anybody asks them (`prepared`), so that the exchange itself is small, and one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from xfrmd import limits
from xfrmd.compiler.delta import is_outgrown, same_kind
from xfrmd.model.nft import Counted, ElementKey, NftChain, NftMap, NftTable, TableChange

_HEAD: Final = (
    "# Compiled from a policy: edit that, not this.",
    "# In a map, accept and drop are final; return means negotiate: the packet meets the fence behind the maps, which",
    "# lets pass what is on an SA.",
)
NOTHING: Final = MappingProxyType[Any, Any]({})
_TABLE: Final = f"inet {limits.NFT_TABLE}"


Counts = Mapping[str, Mapping[ElementKey, Counted]]
"""What elements have counted, by map."""


def _map(one: NftMap, counts: Mapping[ElementKey, Counted] = NOTHING, *, filled: bool = True) -> Iterator[str]:
    yield f"  {one.kind} {one.name} {{"
    yield f"    typeof {one.typeof}"
    yield f"    size {one.room}"
    if one.counted:
        yield "    counter"
    if one.elements and filled:
        yield "    elements = {"
        seen = {key: f" counter packets {found.packets} bytes {found.octets}" for key, found in counts.items()}
        yield ",\n".join(
            f"      {_element(one, key, verdict, seen.get(key, ''))}" for key, verdict in one.elements.items()
        )
        yield "    }"
    yield "  }"


def _element(one: NftMap, key: ElementKey, verdict: str, seen: str = "") -> str:
    return f"{one.key_text(key)}{seen} : {verdict}" if verdict else one.key_text(key)


def _chain(one: NftChain) -> Iterator[str]:
    yield f"  chain {one.name} {{"
    if one.hook:
        yield f"    {one.hook}"
    yield from (f"    {rule}" for rule in one.rules)
    yield "  }"


def _block(
    maps: Iterable[NftMap],
    chains: Iterable[NftChain],
    counters: Iterable[str],
    name: str = _TABLE,
    counts: Counts = NOTHING,
) -> Iterator[str]:
    yield f"table {name} {{"
    yield from (f"  counter {counter} {{ }}" for counter in counters)
    for one in maps:
        yield from _map(one, counts.get(one.name, NOTHING))
    for chain in chains:
        yield from _chain(chain)
    yield "}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def render(table: NftTable, name: str = _TABLE, head: Iterable[str] = _HEAD) -> str:
    """The text to hand to `nft -f`: the table in the place of whatever there is. The same table gives the same text."""
    block = _block(table.maps, table.chains, table.counters, name)
    return _text((*head, f"add table {name}", f"delete table {name}", *block))


def _is_plain(table: NftTable) -> bool:
    """Only what we make? What nft lists of other kinds is named by two words."""
    return not any(" " in chain.name for chain in table.chains)


def fresh_maps(change: TableChange) -> tuple[NftMap, ...]:
    """The maps that are made and filled before the exchange: those whose names are free."""
    if change.old is None:
        return change.new.maps
    if not _is_plain(change.old):
        return ()
    taken = {one.name for one in change.old.maps}
    return tuple(one for one in change.new.maps if one.name not in taken)


def prepared(change: TableChange) -> str:
    """What makes the fresh maps, empty; "" when there is nothing to make. No packet asks them yet."""
    maps = fresh_maps(change)
    if not maps and change.old is not None:
        return ""
    lines = (line for one in maps for line in _map(one, filled=False))
    return _text([f"table {_TABLE} {{", *lines, "}"])


def unprepared(change: TableChange) -> str:
    """What takes `prepared` back."""
    if change.old is None:
        return _text([f"delete table {_TABLE}"])
    return _text(f"delete {one.kind} {_TABLE} {one.name}" for one in fresh_maps(change))


def outgrown(change: TableChange) -> tuple[NftMap, ...]:
    """Maps that are made anew under their name as they are full: their elements go on counting where they stood."""
    there = {} if change.old is None else {one.name: one for one in change.old.maps}
    return tuple(
        one
        for one in change.new.maps
        if one.name in there and is_outgrown(there[one.name], one) and one.typeof == there[one.name].typeof
    )


def exchanged(change: TableChange, counts: Counts = NOTHING) -> str:
    """The exchange itself, when the fresh maps stand. One transaction. `counts`: of elements that go on counting."""
    old, new = change.old, change.new
    if old is not None and not _is_plain(old):
        return render(new)
    fresh = {one.name for one in fresh_maps(change)}
    there = {} if old is None else {one.name: one for one in old.maps}
    kept = {one.name for one in new.maps if one.name in there and same_kind(there[one.name], one)}
    anew = [one for one in new.maps if one.name not in fresh | kept]
    counters = () if old is None else old.counters
    lines = [*_HEAD]
    if old is not None:
        lines += _cleared(old, new, kept)
    lines += _block(anew, new.chains, [one for one in new.counters if one not in counters], counts=counts)
    for one in new.maps:
        lines += _changed(one, change) if one.name in kept else ()
    return _text(lines)


def _cleared(old: NftTable, new: NftTable, kept: set[str]) -> Iterator[str]:
    """Empty the old table of all but the chains, maps and counters that the new one has too."""
    hooks = {chain.name: chain.hook for chain in new.chains}
    yield f"flush table {_TABLE}"
    yield from (f"delete chain {_TABLE} {one.name}" for one in old.chains if hooks.get(one.name) != one.hook)
    yield from (f"delete {one.kind} {_TABLE} {one.name}" for one in old.maps if one.name not in kept)
    yield from (f"delete counter {_TABLE} {counter}" for counter in old.counters if counter not in new.counters)


def _changed(one: NftMap, change: TableChange) -> Iterator[str]:
    removed, added = change.elements.get(one.name, ((), ()))
    if removed:
        yield f"delete element {_TABLE} {one.name} {{ {', '.join(map(one.key_text, removed))} }}"
    if added:
        pairs = ", ".join(_element(one, key, verdict) for key, verdict in added)
        yield f"add element {_TABLE} {one.name} {{ {pairs} }}"
