# SPDX-License-Identifier: GPL-2.0-or-later
"""How one Plan becomes another: what the kernel must be told. Maps that are the same object in both cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from xfrmd.model.nft import ElementChange, ElementKey, NftMap, NftTable
from xfrmd.model.plan import Overlay, Plan, PlanDelta
from xfrmd.model.spd import SpdEntry


def element_change(old: NftMap, new: NftMap) -> ElementChange:
    """What becomes of the elements of a map, in the order of the maps."""
    return ElementChange((), ()) if old.elements is new.elements else _between(old.elements, new.elements)


def _between(before: Mapping[ElementKey, str], after: Mapping[ElementKey, str]) -> ElementChange:
    return ElementChange(
        tuple(key for key, verdict in before.items() if after.get(key) != verdict),
        tuple((key, verdict) for key, verdict in after.items() if before.get(key) != verdict),
    )


def same_kind(old: NftMap, new: NftMap) -> bool:
    """Can the elements of the new one stand in the old one?"""
    return old.typeof == new.typeof and old.counted == new.counted and not is_outgrown(old, new)


def is_outgrown(old: NftMap, new: NftMap) -> bool:
    """Is the old one too small for the elements of the new one?"""
    return 0 < old.size < len(new.elements)


def _common(old: Iterable[NftMap], new: Iterable[NftMap]) -> Iterator[tuple[NftMap, NftMap]]:
    before = {one.name: one for one in old}
    for one in new:
        other = before.get(one.name)
        if other is not None and same_kind(other, one):
            yield other, one


def element_changes(old: NftTable, new: NftTable) -> dict[str, ElementChange]:
    """Changes by the name of a map that both tables have with keys of one kind; only where there are any."""
    found = {after.name: element_change(before, after) for before, after in _common(old.maps, new.maps)}
    return {name: change for name, change in found.items() if any(change)}


def frame(table: NftTable) -> tuple[object, ...]:
    """What of a table is not its elements."""
    maps = frozenset((one.name, one.typeof, one.expression, one.counted) for one in table.maps)
    return maps, table.chains, table.counters


def _entries(old: Sequence[SpdEntry], new: Sequence[SpdEntry]) -> tuple[tuple[SpdEntry, ...], tuple[SpdEntry, ...]]:
    if old is new:
        return (), ()
    before, after = ({entry.key: entry for entry in entries} for entries in (old, new))
    gone = tuple(entry for key, entry in before.items() if key not in after)
    return gone, tuple(entry for key, entry in after.items() if before.get(key) != entry)


def plan_delta(old: Plan, new: Plan) -> PlanDelta:
    """What leads from `old` to `new`."""
    gone, fresh = _entries(old.spd, new.spd)
    return PlanDelta(
        elements=element_changes(old.nft, new.nft),
        structure=old.nft is not new.nft and frame(old.nft) != frame(new.nft),
        spd_gone=gone,
        spd_new=fresh,
        negotiates=old.protect != new.protect or old.pad != new.pad,
    )


def changed_keys(change: ElementChange) -> Iterator[ElementKey]:
    """The keys that a change speaks of, once each."""
    yield from change.removed
    gone = set(change.removed)
    yield from (key for key, _ in change.added if key not in gone)


def size(delta: PlanDelta) -> int:
    """How many requests a delta is."""
    elements = sum(len(removed) + len(added) for removed, added in delta.elements.values())
    return elements + len(delta.spd_gone) + len(delta.spd_new)


def with_overlays(delta: PlanDelta, old: Overlay, new: Overlay) -> PlanDelta:
    """The delta of two plans that have these overlays over them."""
    if old is new or old == new:
        return delta
    gone, fresh = _entries(old.spd, new.spd)
    written = {entry.key for entry in (*fresh, *delta.spd_new)}
    elements = dict(delta.elements)
    for name in old.elements.keys() | new.elements.keys():
        change = _between(old.elements.get(name, {}), new.elements.get(name, {}))
        removed, added = elements.get(name, ((), ()))
        elements[name] = ElementChange((*removed, *change.removed), (*added, *change.added))
    return replace(
        delta,
        elements={name: change for name, change in elements.items() if any(change)},
        spd_gone=tuple(entry for entry in (*delta.spd_gone, *gone) if entry.key not in written),
        spd_new=(*delta.spd_new, *fresh),
    )
