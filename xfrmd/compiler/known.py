# SPDX-License-Identifier: GPL-2.0-or-later
"""Which values the maps of a direction have in some fields of their keys: a packet with others matches none of them.

Each value is counted, so that it goes with the last element that has it: a value that is missing would let packets past
the maps (docs/decisions/0027).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from xfrmd.model.nft import ElementChange, ElementKey, KeyField, NftMap


class Part(NamedTuple):
    """Some fields of a map's key."""

    fields: tuple[KeyField, ...]
    place: slice
    """Where they stand in the key."""

    @property
    def is_port(self) -> bool:
        """One of the ports, not the addresses."""
        return self.fields[0].words.startswith("th")


@lru_cache(maxsize=4096)
def parts(fields: tuple[KeyField, ...]) -> tuple[Part, ...]:
    """Of a key its addresses together, if it has any, and each port."""
    places: list[tuple[KeyField, int]] = []
    at = 0
    for field in fields:
        places.append((field, at))
        at += (field.size + 3) // 4 * 4
    hosts = [(field, start) for field, start in places if field.words.startswith("ip")]
    found = [Part((field,), slice(at, at + field.size)) for field, at in places if field.words.startswith("th")]
    if hosts:
        last, start = hosts[-1]
        found.insert(0, Part(tuple(field for field, _ in hosts), slice(hosts[0][1], start + last.size)))
    return tuple(found)


class KnownKey(NamedTuple):
    """What tells such sets of values apart."""

    inbound: bool
    fields: tuple[KeyField, ...]

    @property
    def name(self) -> str:
        """The set's name in nftables."""
        side = "in" if self.inbound else "out"
        kind = self.fields[0].words.split(" ")
        if kind[0] == "th":
            return f"{kind[1]}_{side}_{self.fields[0].mask:x}"
        masks = "_".join(f"{field.words[-5]}{field.mask.bit_count()}" for field in self.fields)
        return f"hosts_{side}{6 if kind[0] == 'ip6' else 4}_{masks}"


class Known:
    """Counted values, for as many fields as somebody asks about."""

    def __init__(self) -> None:
        self._counts: dict[KnownKey, Counter[ElementKey]] = {}
        self._sets: dict[KnownKey, NftMap] = {}
        self._touched: dict[KnownKey, dict[ElementKey, str | None]] = {}
        """Values that came or went since `begin`, with what they were before."""

    def count(self, key: KnownKey, maps: Iterable[NftMap]) -> int:
        """How many values there are. `maps`: all of the direction; they are looked at when nobody has asked before."""
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = Counter()
            for one in maps:
                for part in parts(one.fields):
                    if part.fields == key.fields:
                        place = part.place
                        counts.update([packed[place] for packed in one.elements])
        return len(counts)

    def set_of(self, key: KnownKey) -> NftMap:
        """The values as a set, which follows changes. Only for what was counted."""
        made = self._sets.get(key)
        if made is None:
            elements = dict.fromkeys(self._counts[key], "")
            made = self._sets[key] = NftMap(key.name, key.fields, elements, counted=False, is_set=True)
        return made

    def keep(self, keys: Iterable[KnownKey]) -> None:
        """Forget all but these."""
        kept = set(keys)
        for key in self._counts.keys() - kept:
            del self._counts[key]
            self._sets.pop(key, None)
            self._touched.pop(key, None)

    def begin(self) -> None:
        """Remember from here on what changes."""
        self._touched = {}

    def change(self, inbound: bool, one: NftMap, elements: Collection[ElementKey], step: int) -> None:
        """Elements of a map came (1) or went (-1)."""
        for part in parts(one.fields):
            key, place = KnownKey(inbound, part.fields), part.place
            counts = self._counts.get(key)
            if counts is None:
                continue
            values = [packed[place] for packed in elements]
            if step > 0:
                toggled = {value for value in values if value not in counts}  # never a walk through all that is there
                counts.update(values)
            else:
                counts.subtract(values)
                toggled = {value for value in values if not counts[value]}
                for value in toggled:
                    del counts[value]
            if key in self._sets:
                self._toggle(key, toggled, there=step > 0)

    def _toggle(self, key: KnownKey, values: Iterable[ElementKey], *, there: bool) -> None:
        """Values that were not there are now, or the other way round."""
        elements, touched = self._sets[key].elements, self._touched.setdefault(key, {})
        for value in values:
            touched.setdefault(value, None if there else "")
            if there:
                elements[value] = ""
            else:
                del elements[value]

    def end(self) -> dict[str, ElementChange]:
        """What changed in the sets since `begin`, by their names."""
        found = {key.name: difference(before, self._sets[key].elements) for key, before in self._touched.items()}
        return {name: change for name, change in found.items() if any(change)}


def difference(before: Mapping[ElementKey, str | None], now: Mapping[ElementKey, str]) -> ElementChange:
    """What became of elements that were so before."""
    differ = [(key, was, now.get(key)) for key, was in before.items() if was != now.get(key)]
    return ElementChange(
        tuple(key for key, was, _ in differ if was is not None),
        tuple((key, verdict) for key, _, verdict in differ if verdict is not None),
    )
