# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines by name: set, moved and cancelled in logarithmic time, however many SAs there are."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SLACK = 64
"""Stale entries that are never worth a clean-up."""


class Timers(Generic[Key]):
    """One deadline per key. Moving one leaves a stale heap entry behind, which is skipped when it comes up."""

    __slots__ = ("_count", "_heap", "_when")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._when: dict[Key, tuple[float, int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: Key, when: float) -> None:
        """Give `key` the deadline `when`, in place of any it had."""
        self._count += 1  # deadlines of the same instant come in the order they were set
        self._when[key] = (when, self._count)
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 2 * len(self._when) + _SLACK:
            self._heap = [(at, count, name) for name, (at, count) in self._when.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Key) -> None:
        """Forget the deadline of `key`, if it has one."""
        self._when.pop(key, None)

    def deadline(self, key: Key) -> float | None:
        """When `key` is due, None if never."""
        entry = self._when.get(key)
        return None if entry is None else entry[0]

    def next(self) -> float | None:
        """The earliest deadline, None if there is none."""
        while self._heap:
            when, count, key = self._heap[0]
            if self._when.get(key) == (when, count):
                return when
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> Key | None:
        """Take out the earliest key whose deadline has come, None when there is none (left)."""
        when = self.next()
        if when is None or when > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._when[key]
        return key
