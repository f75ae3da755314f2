# SPDX-License-Identifier: GPL-2.0-or-later
"""Many specific filters at once into layers that are there, and out of them. Those that meet others go one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from xfrmd.compiler.blocks import Shape
from xfrmd.compiler.bulk import columns_of, sort_into_layers
from xfrmd.compiler.layers import Change, Layer
from xfrmd.compiler.maps import LayerKey, Maps
from xfrmd.compiler.weight import class_of
from xfrmd.model.plan import SpecificFilter

Table = dict[int, SpecificFilter]
"""Filters by the value of their block, of one shape."""


class Crowd(NamedTuple):
    """Filters that come or go. `tables` has those that meet no other, by their blocks; `single` the others."""

    tables: dict[LayerKey, dict[Shape, Table]]
    single: list[SpecificFilter]

    def parts(self) -> Iterator[tuple[LayerKey, Shape, Table]]:
        """Blocks of one layer and shape."""
        for key, tables in self.tables.items():
            yield from ((key, shape, table) for shape, table in tables.items() if table)

    def regions(self) -> Iterator[SpecificFilter]:
        """Each filter that meets no other, once: one with a port range has several blocks."""
        found: dict[int, SpecificFilter] = {}
        for _, _, table in self.parts():
            found.update(zip(map(id, table.values()), table.values(), strict=True))
        return iter(found.values())


def leaving(filters: Iterable[SpecificFilter], layers: Mapping[LayerKey, Layer]) -> Crowd:
    """Filters that go. What is not in its layer goes one by one, to no effect."""
    found, single = Crowd({}, []), dict[SpecificFilter, None]()
    for key, shapes in columns_of(filters).items():
        tables = found.tables[key] = {}
        there = layers.get(key)
        for shape, (values, ours) in shapes.items():
            known = there.whole.get(shape, {}) if there is not None else {}
            table = tables[shape] = {}
            for value, one in zip(values, ours, strict=True):
                stored = known.get(value)
                if stored == one:
                    table[value] = stored
                else:
                    single[one] = None
    return found._replace(single=list(single))


def arriving(filters: Iterable[SpecificFilter], layers: Mapping[LayerKey, Layer]) -> Crowd:
    """Filters that come, to layers that those have left already that go.

    Raises PolicyErrors when too many equally specific ones overlap.
    """
    found, single = Crowd({}, []), dict[SpecificFilter, None]()
    for key, fresh in sort_into_layers(filters).items():
        met = dict.fromkeys(fresh.contested)
        there = layers.get(key)
        if there is not None:
            for shape, table in fresh.whole.items():
                met.update(dict.fromkeys(there.met(shape, table)))
        tables = found.tables[key] = fresh.whole
        if met:
            tables.update({shape: _without(table, met) for shape, table in tables.items()})
        single.update(met)
    return found._replace(single=list(single))


def _without(table: Table, met: Mapping[SpecificFilter, None]) -> Table:
    return {value: one for value, one in table.items() if one not in met}


def cancel(going: dict[SpecificFilter, None], coming: dict[SpecificFilter, None]) -> None:
    """Leave out what goes and comes."""
    for one in [one for one in going if one in coming]:
        del going[one], coming[one]


def exchange(
    layers: dict[LayerKey, Layer], maps: Maps, leave: Crowd, enter: Crowd
) -> tuple[list[SpecificFilter], list[SpecificFilter]]:
    """Filters out of layers and maps, and others in. Which regions went, and which came."""
    net: Counter[SpecificFilter] = Counter()
    for key, shape, table in leave.parts():
        layers[key].release(shape, table)
        maps.drop(key, shape, table)
    _one_by_one(Layer.remove, leave.single, layers, maps, net)
    for key, shape, table in enter.parts():
        layers.setdefault(key, Layer()).take(shape, table)
        maps.put(key, shape, table)
    _one_by_one(Layer.add, enter.single, layers, maps, net)
    gone, new = [*leave.regions()], [*enter.regions()]
    if not net:
        return gone, new
    net.subtract(gone)
    net.update(new)
    gone, new = ([one for one, count in net.items() if count * sign > 0] for sign in (-1, 1))
    return gone, new


def _one_by_one(
    step: Callable[[Layer, SpecificFilter], Change],
    filters: Iterable[SpecificFilter],
    layers: dict[LayerKey, Layer],
    maps: Maps,
    net: Counter[SpecificFilter],
) -> None:
    for one in filters:
        key = (one.inbound, class_of(one.weight))
        change = step(layers.setdefault(key, Layer()), one)
        maps.change(key, change)
        net.subtract(change.gone)
        net.update(change.new)
