# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wins between filters of one class: the exact weight, then the place in the file.

A layer holds the filters of one direction and class. What the winner takes is cut out of the loser, so that the regions
of a layer are disjoint and the order in which nftables and XFRM see them does not matter. Hardly any filter of a large
policy meets another of its class: those stay whole, in one hash table per shape, and cost no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from operator import attrgetter, itemgetter
from typing import NamedTuple

from xfrmd.compiler.blocks import Block, Shape, shaped
from xfrmd.compiler.cut import subtract_all
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.size import check_overlaps
from xfrmd.model.plan import SpecificFilter, Weight


class Overlap(NamedTuple):
    """Filters of one class that speak of the same packets; `lost` is all of the loser."""

    winner: SpecificFilter
    loser: SpecificFilter
    lost: bool


class Change(NamedTuple):
    """Regions that go and regions that come. One that only looks different may be in both."""

    gone: list[SpecificFilter]
    new: list[SpecificFilter]


def rank(one: SpecificFilter) -> tuple[object, ...]:
    """Sort key: heaviest first, then place in the file; the rest makes the order total."""
    return (tuple(-part for part in one.weight), one.number, one.inbound, one.selector)


def ranked(filters: Iterable[SpecificFilter]) -> list[SpecificFilter]:
    """Filters in the order of `rank`. Hundreds of thousands have a few dozen weights."""
    by_weight: dict[Weight, list[SpecificFilter]] = {}
    for one in filters:
        by_weight.setdefault(one.weight, []).append(one)
    found: list[SpecificFilter] = []
    for weight in sorted(by_weight, reverse=True):
        found += sorted(by_weight[weight], key=_place)
    return found


_place = attrgetter("number", "inbound", "selector")


def _heavier(one: SpecificFilter, index: OverlapIndex[SpecificFilter]) -> list[SpecificFilter]:
    """Those of an index that meet one and decide ahead of it, the heaviest first."""
    ours = rank(one)
    ranked = ((rank(other), other) for other in index.find(one.selector) if other is not one)
    return [other for _, other in sorted((pair for pair in ranked if pair[0] < ours), key=itemgetter(0))]


class _Views:
    """Whole filters of a layer by the bits that their shape shares with one that was asked about."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[tuple[Shape, int], dict[int, list[SpecificFilter]]] = {}

    def of(self, shape: Shape, shared: int, table: dict[int, SpecificFilter]) -> dict[int, list[SpecificFilter]]:
        """The filters of a shape by these bits; made when first asked for."""
        view = self._made.get((shape, shared))
        if view is None:
            view = self._made[shape, shared] = {}
            for value, one in table.items():
                view.setdefault(value & shared, []).append(one)
        return view

    def add(self, shape: Shape, value: int, one: SpecificFilter) -> None:
        """Keep up with a filter that came."""
        for (of, shared), view in self._made.items():
            if of == shape:
                view.setdefault(value & shared, []).append(one)

    def remove(self, shape: Shape, value: int, one: SpecificFilter) -> None:
        """Keep up with a filter that went."""
        for (of, shared), view in self._made.items():
            if of == shape:
                view[value & shared] = [other for other in view[value & shared] if other != one]

    def forget(self, shape: Shape) -> None:
        """Many of a shape came or went: make its views anew when they are asked for."""
        for key in [key for key in self._made if key[0] == shape]:
            del self._made[key]


class Layer:
    """Filters of one direction and class, in the order in which they were put in. Filling it raises PolicyErrors."""

    __slots__ = ("_index", "_views", "contested", "cut", "whole")

    def __init__(self) -> None:
        self.whole: dict[Shape, dict[int, SpecificFilter]] = {}
        """Filters that meet no other, by their blocks."""
        self.cut: dict[Shape, dict[int, SpecificFilter]] = {}
        """What is left of the others, by its blocks."""
        self.contested: dict[SpecificFilter, tuple[SpecificFilter, ...]] = {}
        """Filters that meet others, and what is left of each."""
        self._index: OverlapIndex[SpecificFilter] = OverlapIndex()
        """The contested ones."""
        self._views = _Views()

    # In bulk

    def fill(self, blocks: Iterable[tuple[Shape, list[int], list[SpecificFilter]]]) -> None:
        """Put in all filters at once: blocks by shape, with the filter of each. Only for an empty layer."""
        met: dict[SpecificFilter, None] = {}
        for shape, values, filters in blocks:
            table = self.whole[shape] = dict(zip(values, filters, strict=True))
            if len(table) != len(values):
                _collisions(values, filters, table, met)
        for one, other in combinations(self.whole, 2):
            if one.family == other.family:
                self._meetings(one, other, met)
        if met:
            self._contest(met)

    def _meetings(self, one: Shape, other: Shape, met: dict[SpecificFilter, None]) -> None:
        """Filters of two shapes that overlap."""
        shared = one.mask & other.mask
        few, many = sorted((self.whole[one], self.whole[other]), key=len)
        asked: dict[int, list[SpecificFilter]] = {}
        for value, found in few.items():
            asked.setdefault(value & shared, []).append(found)
        for value, found in many.items():
            others = asked.get(value & shared)
            if others is not None:
                met.update(dict.fromkeys((found, *others)))

    def _contest(self, met: Iterable[SpecificFilter]) -> None:
        """Take filters out of the whole ones and settle them among themselves."""
        moved = list(met)
        for one in moved:
            self._drop_whole(one)
            self.contested[one] = ()
            self._index.add(one.selector, one)
        pairs = 0
        for one in moved:
            pairs += len(heavier := _heavier(one, self._index))
            check_overlaps(one, pairs)
            self._settle(one, heavier)

    def met(self, asked: Shape, table: dict[int, SpecificFilter]) -> Iterator[SpecificFilter]:
        """Those of a shape's filters that meet one of the layer's; one may come up again."""
        for shape, ours in self.whole.items():
            shared = shape.mask & asked.mask
            if shape.family == asked.family:
                known = ours if shared == shape.mask else self._views.of(shape, shared, ours)
                yield from (one for value, one in table.items() if value & shared in known)
        if self.contested:
            ask = self._index.meets
            yield from (one for value, one in table.items() if ask(asked.family, Block(value, asked.mask)))

    def take(self, shape: Shape, table: dict[int, SpecificFilter]) -> None:
        """Put in all blocks of filters that meet no other."""
        self.whole.setdefault(shape, {}).update(table)
        self._views.forget(shape)

    def release(self, shape: Shape, table: dict[int, SpecificFilter]) -> None:
        """Take out all blocks of filters that are whole."""
        for value in table:
            _without(self.whole, shape, value)
        self._views.forget(shape)

    # One by one

    def add(self, one: SpecificFilter) -> Change:
        """Put in one filter."""
        if self._has(one):
            return Change([], [])
        met = self._meets_whole(one)
        rivals = [*met, *self._index.find(one.selector)]
        if not rivals:
            for shape, value in shaped(one.selector):
                self.whole.setdefault(shape, {})[value] = one
                self._views.add(shape, value, one)
            return Change([], [one])
        change = Change(list(met), [])
        for other in (*met, one):
            self._drop_whole(other)
            self.contested[other] = ()
            self._index.add(other.selector, other)
        self._settle_again([other for other in (one, *rivals) if other is one or rank(other) > rank(one)], change)
        for other in met:
            if rank(other) < rank(one):
                self._settle_again([other], change)
        return change

    def remove(self, one: SpecificFilter) -> Change:
        """Take out a filter (equal to it is enough)."""
        if one not in self.contested:
            if not self._has(one):
                return Change([], [])
            self._drop_whole(one)
            return Change([one], [])
        change = Change(list(self.contested[one]), [])
        self._drop_pieces(one)
        stored = next(other for other in self._index.find(one.selector) if other == one)
        self._index.remove(one.selector, stored)
        del self.contested[one]
        self._settle_again([other for other in self._index.find(one.selector) if rank(other) > rank(one)], change)
        return change

    def _settle_again(self, filters: Iterable[SpecificFilter], change: Change) -> None:
        for one in filters:
            change.gone.extend(self.contested[one])
            self._drop_pieces(one)
            change.new.extend(self._settle(one, _heavier(one, self._index)))

    # What is left

    def regions(self) -> Iterator[SpecificFilter]:
        """Everything that decides packets, in an order that is fixed."""
        yield from self._whole_ones()
        for pieces in self.contested.values():
            yield from pieces

    def filters(self) -> Iterator[SpecificFilter]:
        """Every filter as it was put in."""
        yield from self._whole_ones()
        yield from self.contested

    def _whole_ones(self) -> Iterator[SpecificFilter]:
        seen: set[int] = set()  # a port range has several blocks
        for table in self.whole.values():
            for one in table.values():
                if id(one) not in seen:
                    seen.add(id(one))
                    yield one

    def shapes(self) -> Iterator[Shape]:
        """The shapes of its blocks."""
        return iter(dict.fromkeys((*self.whole, *self.cut)))

    def owners(self, shape: Shape) -> dict[int, SpecificFilter]:
        """The region of each block of a shape."""
        whole, cut = self.whole.get(shape), self.cut.get(shape)
        return whole or cut or {} if not (whole and cut) else whole | cut

    def overlaps(self) -> Iterator[Overlap]:
        """Which filters met, each pair once."""
        for one, pieces in self.contested.items():
            for other in _heavier(one, self._index):
                yield Overlap(other, one, not pieces)

    def _settle(self, one: SpecificFilter, heavier: list[SpecificFilter]) -> tuple[SpecificFilter, ...]:
        """Cut out what heavier ones take, and enter what is left."""
        left = subtract_all(one.selector, [other.selector for other in heavier])
        pieces = (one,) if left == (one.selector,) else tuple(one._replace(selector=piece) for piece in left)
        self.contested[one] = pieces
        for piece in pieces:
            for shape, value in shaped(piece.selector):
                self.cut.setdefault(shape, {})[value] = piece
        return pieces

    def _drop_pieces(self, one: SpecificFilter) -> None:
        for piece in self.contested[one]:
            for shape, value in shaped(piece.selector):
                if self.cut[shape].get(value) == piece:
                    _without(self.cut, shape, value)

    def _has(self, one: SpecificFilter) -> bool:
        shape, value = next(shaped(one.selector))
        return self.whole.get(shape, {}).get(value) == one or one in self.contested

    def _drop_whole(self, one: SpecificFilter) -> None:
        for shape, value in shaped(one.selector):
            if self.whole.get(shape, {}).get(value) == one:
                _without(self.whole, shape, value)
                self._views.remove(shape, value, one)

    def _meets_whole(self, one: SpecificFilter) -> list[SpecificFilter]:
        found: dict[SpecificFilter, None] = {}
        for asked, value in shaped(one.selector):
            for shape in self.whole:
                if shape.family == asked.family:
                    found.update(dict.fromkeys(self._look(shape, shape.mask & asked.mask, value)))
        return list(found)

    def _look(self, shape: Shape, shared: int, value: int) -> Sequence[SpecificFilter]:
        """Whole filters of a shape that agree with a value in these bits."""
        if shared == shape.mask:
            one = self.whole[shape].get(value & shared)
            return () if one is None else (one,)
        return self._views.of(shape, shared, self.whole[shape]).get(value & shared, ())


def _without(tables: dict[Shape, dict[int, SpecificFilter]], shape: Shape, value: int) -> None:
    del tables[shape][value]
    if not tables[shape]:
        del tables[shape]


def _collisions(
    values: list[int], filters: list[SpecificFilter], table: dict[int, SpecificFilter], met: dict[SpecificFilter, None]
) -> None:
    """Different filters with the same block. Of the table each such block has the last; equal ones are one filter."""
    for value, one in zip(values, filters, strict=True):
        other = table[value]
        if other is not one and other != one:
            met[one] = met[other] = None
