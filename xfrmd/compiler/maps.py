# SPDX-License-Identifier: GPL-2.0-or-later
"""Layers to verdict maps: one hash table per direction, class and shape, asked in the order of their weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from xfrmd.compiler.actions import BY_VERDICT
from xfrmd.compiler.blocks import (
    DESTINATION_MASKS,
    SOURCE_MASKS,
    Shape,
    fields_of,
    packer,
    possible,
    shaped,
)
from xfrmd.compiler.known import Known, KnownKey, difference
from xfrmd.compiler.layers import Change, Layer
from xfrmd.compiler.runs import WORTH, Asked, Candidate, Planned, Run, Worth, planned
from xfrmd.model.addresses import BITS
from xfrmd.model.nft import ElementChange, ElementKey, NftMap
from xfrmd.model.plan import SpecificFilter

SIDES: Final = {True: "in", False: "out"}
NEGOTIATE: Final = "return"
SOFT: Final = "soft_"
"""What the names of soft filters' maps begin with."""
LayerKey = tuple[bool, int]
"""Direction (inbound?) and weight class."""


class MapKey(NamedTuple):
    """What tells the maps apart."""

    inbound: bool
    weight_class: int
    shape: Shape

    @property
    def order(self) -> tuple[object, ...]:
        """Sort key: the order in which the maps of a direction are asked."""
        shape = self.shape
        return (-self.weight_class, shape.family, shape.lengths, shape.protocol, shape.ports, shape.mask)

    @property
    def name(self) -> str:
        """The map's name in nftables."""
        return f"{SIDES[self.inbound]}{self.shape}_{self.weight_class:x}"


def element(one: SpecificFilter) -> str:
    """What a filter's element does. With `inpass` the inbound action is to let pass, on an SA or in the clear."""
    if one.inpass and one.inbound:
        return "accept"
    return BY_VERDICT[one.verdict].element


class Maps:
    """The maps of both directions, and what is in them."""

    def __init__(self, worth: Worth = WORTH) -> None:
        """`worth`: when maps are asked for some packets only."""
        self._worth = worth
        self._maps: dict[MapKey, NftMap] = {}
        self._soft: Counter[MapKey] = Counter()
        """How many elements of soft filters a map has."""
        self._negotiating: Counter[bool] = Counter()
        """How many elements hand packets to the fence, by direction."""
        self._touched: dict[MapKey, dict[ElementKey, str | None]] = {}
        """Elements that were changed since `begin`, with what they were before."""
        self._known = Known()
        self._runs: dict[bool, tuple[Planned, ...]] = {}
        """What is asked, by direction; {} when elements have changed since it was planned."""
        self._frame: tuple[object, ...] = ()

    def fill(self, layers: dict[LayerKey, Layer]) -> None:
        """Make the maps of these layers. Only for empty maps."""
        for (inbound, weight_class), layer in layers.items():
            for shape in layer.shapes():
                owners = layer.owners(shape)
                if shape.icmp:
                    owners = {value: one for value, one in owners.items() if possible(shape, value)}
                if owners:
                    self._fill_map(MapKey(inbound, weight_class, shape), owners)

    def _fill_map(self, key: MapKey, owners: dict[int, SpecificFilter]) -> None:
        verdicts = list(map(element, owners.values()))
        elements = dict(zip(packer(key.shape)(owners), verdicts, strict=True))
        self._maps[key] = NftMap(key.name, fields_of(key.shape), elements)
        self._negotiating[key.inbound] += verdicts.count(NEGOTIATE)
        self._soft[key] = sum(one.soft for one in owners.values())

    # Asked by who writes the table

    def asked(self, inbound: bool) -> Iterator[NftMap]:
        """The maps of one direction in the order in which they are asked; soft filters' empty ones ahead of theirs."""
        for key in sorted((key for key in self._maps if key.inbound == inbound), key=lambda key: key.order):
            if self._soft[key]:
                yield soft_map(key)
            yield self._maps[key]

    def runs(self, inbound: bool) -> Iterator[Run]:
        """The same, with the sets that spare packets some maps."""
        maps = {one.name: one for one in self.asked(inbound)}
        for run in self._planned()[inbound]:
            asked = (
                Asked(maps[name], tuple(map(self._known.set_of, ports)))
                for name, ports in zip(run.maps, run.ports, strict=True)
            )
            yield Run(tuple(asked), None if run.hosts is None else self._known.set_of(run.hosts))

    def _planned(self) -> dict[bool, tuple[Planned, ...]]:
        if not self._runs:
            wanted: set[KnownKey] = set()

            def count(key: KnownKey) -> int:
                wanted.add(key)
                return self._known.count(key, (self._maps[one] for one in self._maps if one.inbound == key.inbound))

            self._runs = {inbound: planned(inbound, self._candidates(inbound), count, self._worth) for inbound in SIDES}
            self._known.keep(wanted)
        return self._runs

    def _candidates(self, inbound: bool) -> Iterator[Candidate]:
        soft = {self._maps[key].name for key, count in self._soft.items() if count and key in self._maps}
        for one in self.asked(inbound):
            yield Candidate(one, one.name in soft or one.name.startswith(SOFT))

    def negotiates(self, inbound: bool) -> bool:
        """Does any element hand packets to the fence?"""
        return self._negotiating[inbound] > 0

    # Changes

    def begin(self) -> None:
        """Remember from here on what changes."""
        self._touched = {}
        self._frame = self._outline()
        self._known.begin()

    def change(self, layer: LayerKey, change: Change) -> None:
        """Carry a change of a layer out."""
        for one in change.gone:
            self._each(layer, one, None)
        for one in change.new:
            self._each(layer, one, element(one))

    def _each(self, layer: LayerKey, one: SpecificFilter, verdict: str | None) -> None:
        for shape, value in shaped(one.selector):
            if not possible(shape, value):
                continue
            key = MapKey(*layer, shape)
            made = self._maps.get(key)
            if made is None:
                made = self._maps[key] = NftMap(key.name, fields_of(shape), {})
            (packed,) = packer(shape)((value,))
            before = made.elements.pop(packed, None)
            self._touched.setdefault(key, {}).setdefault(packed, before)
            if verdict is not None:
                made.elements[packed] = verdict
            step = (verdict is not None) - (before is not None)
            if step:
                self._known.change(key.inbound, made, (packed,), step)
            self._negotiating[key.inbound] += (verdict == NEGOTIATE) - (before == NEGOTIATE)
            self._soft[key] += one.soft * step
        self._runs = {}

    def put(self, layer: LayerKey, shape: Shape, owners: dict[int, SpecificFilter]) -> None:
        """Put in the blocks of a shape, none of which is there."""
        self._crowd(layer, shape, owners, 1)

    def drop(self, layer: LayerKey, shape: Shape, owners: dict[int, SpecificFilter]) -> None:
        """Take out the blocks of a shape, all of which are there."""
        self._crowd(layer, shape, owners, -1)

    def _crowd(self, layer: LayerKey, shape: Shape, owners: dict[int, SpecificFilter], sign: int) -> None:
        if shape.icmp:
            owners = {value: one for value, one in owners.items() if possible(shape, value)}
        key = MapKey(*layer, shape)
        made = self._maps.get(key)
        if made is None:
            made = self._maps[key] = NftMap(key.name, fields_of(shape), {})
        verdicts, known = list(map(element, owners.values())), made.elements
        changed = dict(zip(packer(shape)(owners), verdicts, strict=True))
        # A block is there at one time only, so that what is put in was not, and what is dropped was as it is.
        touched: dict[ElementKey, str | None] = dict.fromkeys(changed) if sign > 0 else {**changed}
        self._touched[key] = touched | self._touched.get(key, {})
        if sign > 0:
            known.update(changed)
        else:
            for packed in changed:
                del known[packed]
        self._negotiating[key.inbound] += sign * verdicts.count(NEGOTIATE)
        self._soft[key] += sign * sum(one.soft for one in owners.values())
        self._known.change(key.inbound, made, changed, sign)
        self._runs = {}

    def end(self) -> tuple[dict[str, ElementChange], bool]:
        """What changed since `begin`: elements by map, and whether maps came or went, or the fence did."""
        for key in self._touched:
            if not self._maps[key].elements:
                del self._maps[key]
        changed = {}
        for key, before in self._touched.items():
            made = self._maps.get(key)
            if made is not None:
                found = difference(before, made.elements)
                if found.removed or found.added:
                    changed[made.name] = found
        outline = self._outline()
        return self._known.end() | changed, outline != self._frame

    def _outline(self) -> tuple[object, ...]:
        soft = frozenset(key for key, count in self._soft.items() if count)
        negotiate = self.negotiates(inbound=True), self.negotiates(inbound=False)
        return (frozenset(self._maps), soft, negotiate, *self._planned().items())


def soft_map(key: MapKey) -> NftMap:
    """The empty map that is asked directly before a map with soft filters: for two hosts of theirs each."""
    shape = key.shape
    return NftMap(f"{SOFT}{key.name}", fields_of(whole_addresses(shape)), {})


def whole_addresses(shape: Shape) -> Shape:
    """The shape of the same filter between two hosts."""
    family, bits = shape.family, BITS[shape.family]
    return shape._replace(mask=shape.mask | SOURCE_MASKS[family][bits] | DESTINATION_MASKS[family][bits])
