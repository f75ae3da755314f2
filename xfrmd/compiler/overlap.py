# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many selectors overlap a given one, without comparing all pairs.

Every field of a block selector is a prefix (of an address, of a port) or a value that may be left out (the protocol).
Two selectors overlap exactly when each field agrees in the bits that both fix. So selectors of one shape (which bits
they fix) are hashed by the bits that they share with the asker's shape: a question costs one hash lookup per shape.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from xfrmd.compiler import ports
from xfrmd.model.addresses import BITS
from xfrmd.model.selector import Selector

Item = TypeVar("Item")


class Shape(NamedTuple):
    """Which bits a block selector fixes: leading bits of addresses and ports, and whether the protocol is named."""

    family: int
    src: int
    dst: int
    protocol: int
    sport: int
    dport: int

    def shared(self, other: Shape) -> Shape:
        """The bits that both fix."""
        return Shape(*map(min, self, other))


Key = tuple[int, int, int, int, int]


def shape_of(block: Selector) -> Shape:
    """The shape of a selector whose ports are blocks."""
    return Shape(
        block.family,
        block.src.length,
        block.dst.length,
        int(block.protocol != 0),
        ports.length(block.sport),
        ports.length(block.dport),
    )


def key_of(block: Selector, shape: Shape) -> Key:
    """The bits of a selector that `shape` fixes; it must fix no more than the selector's own shape."""
    bits = BITS[shape.family]
    return (
        block.src.value >> (bits - shape.src),
        block.dst.value >> (bits - shape.dst),
        block.protocol if shape.protocol else 0,
        block.sport.first >> (16 - shape.sport),
        block.dport.first >> (16 - shape.dport),
    )


class _Group(Generic[Item]):
    """Selectors of one shape, hashed by each set of bits that was asked for."""

    __slots__ = ("entries", "shape", "views")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.entries: list[tuple[Selector, Item]] = []
        self.views: dict[Shape, dict[Key, list[Item]]] = {}

    def add(self, block: Selector, item: Item) -> None:
        self.entries.append((block, item))
        for shape, view in self.views.items():
            view.setdefault(key_of(block, shape), []).append(item)

    def view(self, shape: Shape) -> dict[Key, list[Item]]:
        """The selectors by the bits of `shape`; made when it is first asked for."""
        if shape not in self.views:
            made: dict[Key, list[Item]] = {}
            for block, item in self.entries:
                made.setdefault(key_of(block, shape), []).append(item)
            self.views[shape] = made
        return self.views[shape]


class OverlapIndex(Generic[Item]):
    """Selectors with an item each. Asking costs one hash lookup per shape that is in the index."""

    def __init__(self) -> None:
        self._groups: dict[Shape, _Group[Item]] = {}
        self._asked: dict[Shape, dict[Shape, list[dict[Key, list[Item]]]]] = {}
        """For each shape that was asked about: the views to look into, by the bits that their keys hold."""

    def add(self, selector: Selector, item: Item) -> None:
        """Put in a selector, whatever its ports."""
        for block in ports.split(selector):
            shape = shape_of(block)
            group = self._groups.get(shape)
            if group is None:
                group = self._groups[shape] = _Group(shape)
                for asked, views in self._asked.items():
                    self._look_into(group, asked, views)
            group.add(block, item)

    def find(self, selector: Selector) -> list[Item]:
        """Items of all selectors that overlap this one, each once (by identity), in an order that is fixed."""
        found: dict[int, Item] = {}
        for block in ports.split(selector):
            for shape, views in self._views(shape_of(block)).items():
                key = key_of(block, shape)
                for view in views:
                    for item in view.get(key, ()):
                        found[id(item)] = item
        return list(found.values())

    def _views(self, asked: Shape) -> dict[Shape, list[dict[Key, list[Item]]]]:
        if asked not in self._asked:
            views: dict[Shape, list[dict[Key, list[Item]]]] = {}
            for group in self._groups.values():
                self._look_into(group, asked, views)
            self._asked[asked] = views
        return self._asked[asked]

    @staticmethod
    def _look_into(group: _Group[Item], asked: Shape, views: dict[Shape, list[dict[Key, list[Item]]]]) -> None:
        if group.shape.family == asked.family:
            shared = group.shape.shared(asked)
            views.setdefault(shared, []).append(group.view(shared))
