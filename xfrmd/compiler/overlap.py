# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many selectors overlap a given one, without comparing all pairs.

Every field of a block selector is a prefix (of an address, of a port) or a value that may be left out (the protocol).
Two selectors overlap exactly when each field agrees in the bits that both fix. So selectors of one shape (which bits
they fix) are hashed by the bits that they share with the asker's shape: a question costs one hash lookup per shape.
"""

from __future__ import annotations

from collections.abc import Iterable
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

    __slots__ = ("entries", "views")

    def __init__(self) -> None:
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

    def add(self, selector: Selector, item: Item) -> None:
        """Put in a selector, whatever its ports."""
        for block in ports.split(selector):
            self._groups.setdefault(shape_of(block), _Group()).add(block, item)

    def find(self, selector: Selector) -> Iterable[Item]:
        """Items of all selectors that overlap this one, each once, in the order in which shapes and items came."""
        found: dict[Item, None] = {}
        for block in ports.split(selector):
            asked = shape_of(block)
            for shape, group in self._groups.items():
                if shape.family != asked.family:
                    continue
                shared = shape.shared(asked)
                found.update(dict.fromkeys(group.view(shared).get(key_of(block, shared), ())))
        return found
