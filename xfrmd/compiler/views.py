# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of a Plan that are made when they are first asked for: of many a policy nobody ever wants the whole list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

Item_co = TypeVar("Item_co", covariant=True)


class View(Sequence[Item_co]):
    """A tuple that is made when it is first asked for, and anew after `renew`. It equals sequences of equal items."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], tuple[Item_co, ...]]) -> None:
        self._make = make
        self._made: tuple[Item_co, ...] | None = None

    def renew(self) -> None:
        """What it shows has changed."""
        self._made = None

    def _items(self) -> tuple[Item_co, ...]:
        if self._made is None:
            self._made = self._make()
        return self._made

    @overload
    def __getitem__(self, index: int) -> Item_co: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item_co, ...]: ...
    def __getitem__(self, index: int | slice) -> Item_co | tuple[Item_co, ...]:
        return self._items()[index]

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Item_co]:
        return iter(self._items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._items() == tuple(other)

    def __hash__(self) -> int:
        return hash(self._items())

    def __repr__(self) -> str:
        return repr(self._items())
