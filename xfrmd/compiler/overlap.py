# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many selectors overlap a given one, without comparing all pairs.

Blocks of one mask are hashed by the bits that they share with the asker's mask: a question costs one hash lookup per
mask that is in the index.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from xfrmd.compiler.blocks import Block, blocks_of
from xfrmd.model.selector import Selector

Item = TypeVar("Item")
_View = dict[int, list[Item]]


class _Group(Generic[Item]):
    """Blocks of one mask, hashed by each set of bits that was asked for."""

    __slots__ = ("entries", "mask", "views")

    def __init__(self, mask: int) -> None:
        self.mask = mask
        self.entries: dict[int, list[Item]] = {}
        self.views: dict[int, _View[Item]] = {mask: self.entries}

    def add(self, value: int, item: Item) -> None:
        for shared, view in self.views.items():
            view.setdefault(value & shared, []).append(item)

    def remove(self, value: int, item: Item) -> None:
        for shared, view in self.views.items():
            key = value & shared
            left = [other for other in view.get(key, ()) if other is not item]
            if left:
                view[key] = left
            else:
                view.pop(key, None)

    def view(self, shared: int) -> _View[Item]:
        """The blocks by the bits of `shared`; made when it is first asked for."""
        found = self.views.get(shared)
        if found is None:
            found = {}
            for value, items in self.entries.items():
                found.setdefault(value & shared, []).extend(items)
            self.views[shared] = found
        return found


class OverlapIndex(Generic[Item]):
    """Selectors with an item each. Items are told apart by identity."""

    __slots__ = ("_asked", "_groups")

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], _Group[Item]] = {}
        self._asked: dict[tuple[int, int], list[tuple[int, _View[Item]]]] = {}
        """For each mask that was asked about, by IP version: the views to look into, with the bits of their keys."""

    def __bool__(self) -> bool:
        """Has anything ever been put in?"""
        return bool(self._groups)

    def add(self, selector: Selector, item: Item) -> None:
        """Put in a selector, whatever its ports."""
        for block in blocks_of(selector):
            self.add_block(selector.family, block, item)

    def add_block(self, family: int, block: Block, item: Item) -> None:
        """Put in one block."""
        group = self._groups.get((family, block.mask))
        if group is None:
            group = self._groups[family, block.mask] = _Group(block.mask)
            for (of, asked), views in self._asked.items():
                if of == family:
                    shared = asked & block.mask
                    views.append((shared, group.view(shared)))
        group.add(block.value, item)

    def remove(self, selector: Selector, item: Item) -> None:
        """Take out what `add` put in."""
        for block in blocks_of(selector):
            self.remove_block(selector.family, block, item)

    def remove_block(self, family: int, block: Block, item: Item) -> None:
        """Take out what `add_block` put in."""
        self._groups[family, block.mask].remove(block.value, item)

    def find(self, selector: Selector) -> list[Item]:
        """Items of all selectors that overlap this one, each once, in an order that is fixed."""
        found: dict[int, Item] = {}
        for block in blocks_of(selector):
            for item in self.find_block(selector.family, block):
                found[id(item)] = item
        return list(found.values())

    def find_block(self, family: int, block: Block) -> list[Item]:
        """Items of all blocks that overlap this one. An item with several blocks may come up several times."""
        value, found = block.value, list[Item]()
        for shared, view in self._views(family, block.mask):
            items = view.get(value & shared)
            if items:
                found += items
        return found

    def meets(self, family: int, block: Block) -> bool:
        """Is there any block that overlaps this one?"""
        value = block.value
        for shared, view in self._views(family, block.mask):  # noqa: SIM110 - asked for each of 100,000 filters
            if value & shared in view:
                return True
        return False

    def _views(self, family: int, asked: int) -> list[tuple[int, _View[Item]]]:
        views = self._asked.get((family, asked))
        if views is None:
            views = self._asked[family, asked] = [
                (asked & mask, group.view(asked & mask)) for (of, mask), group in self._groups.items() if of == family
            ]
        return views
