# SPDX-License-Identifier: GPL-2.0-or-later
"""From wanted SPD entries to those that the kernel gets: one per selector, and as few as possible with `any` at an end.

Of several entries with one selector the first one asked stays, as no other could be reached. Policies with an address
of `any` are a linear list in the kernel, so ports that lie side by side are merged where nothing lies between: entries
of one filter's priority never overlap, so two halves of a larger block mean the same as the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from xfrmd.model.selector import ANY_PORT, Ports, Selector
from xfrmd.model.spd import SpdEntry

_Pair = tuple[Ports, Ports]


_Row = SpdEntry
"""Entries that differ in nothing but their ports: one of them with any ports."""


def _row(entry: SpdEntry) -> _Row:
    return replace(entry, selector=entry.selector._replace(sport=ANY_PORT, dport=ANY_PORT))


def _is_wild(selector: Selector) -> bool:
    named = not (selector.sport.is_any and selector.dport.is_any)
    return named and 0 in (selector.src.length, selector.dst.length)


class EntryStacks:
    """Entries of one direction by selector."""

    def __init__(self) -> None:
        self._stacks: dict[Selector, list[SpdEntry]] = {}
        self._rows: dict[_Row, set[_Pair]] = {}
        self._touched: dict[Selector, SpdEntry | None] = {}
        """Selectors that were touched since `begin`, with the entry that they had."""
        self._dirty: dict[_Row, tuple[_Pair, ...]] = {}
        """Rows whose ports were changed and not merged yet, with what was merged of them before."""

    def add(self, entry: SpdEntry) -> None:
        """Put in an entry."""
        if _is_wild(entry.selector):
            self._open(_row(entry)).add((entry.selector.sport, entry.selector.dport))
        else:
            self._push(entry)

    def remove(self, entry: SpdEntry) -> None:
        """Take out an entry."""
        if _is_wild(entry.selector):
            self._open(_row(entry)).discard((entry.selector.sport, entry.selector.dport))
        else:
            self._pull(entry)

    def entries(self) -> tuple[SpdEntry, ...]:
        """All entries, the first asked first."""
        self._settle()
        found = (stack[0] for stack in self._stacks.values())
        return tuple(sorted(found, key=lambda entry: (entry.priority, entry.selector)))

    def wildcards(self, family: int) -> int:
        """How many entries have the address any at one end: in the kernel a list that every packet goes along."""
        self._settle()
        return sum(
            selector.family == family and 0 in (selector.src.length, selector.dst.length) for selector in self._stacks
        )

    def begin(self) -> None:
        """Remember from here on what changes."""
        self._settle()
        self._touched = {}

    def end(self) -> list[tuple[SpdEntry | None, SpdEntry | None]]:
        """What changed since `begin`, by selector: the entry that it had, and the one that it has."""
        self._settle()
        pairs = ((before, self._stacks.get(selector)) for selector, before in self._touched.items())
        found = ((before, stack[0] if stack else None) for before, stack in pairs)
        return [(before, after) for before, after in found if before != after]

    def _open(self, row: _Row) -> set[_Pair]:
        pairs = self._rows.setdefault(row, set())
        if row not in self._dirty:
            self._dirty[row] = tuple(merged(pairs))
        return pairs

    def _settle(self) -> None:
        """Merge the ports of rows that were changed."""
        for row, before in self._dirty.items():
            after = merged(self._rows[row])
            for pair in sorted(set(before) - set(after)):
                self._pull(_with_ports(row, pair))
            for pair in sorted(set(after) - set(before)):
                self._push(_with_ports(row, pair))
            if not self._rows[row]:
                del self._rows[row]
        self._dirty = {}

    def _push(self, entry: SpdEntry) -> None:
        stack = self._stacks.get(entry.selector)
        self._touched.setdefault(entry.selector, stack[0] if stack else None)
        if stack is None:
            self._stacks[entry.selector] = [entry]
        else:
            stack.append(entry)
            stack.sort(key=lambda one: one.priority)

    def _pull(self, entry: SpdEntry) -> None:
        stack = self._stacks[entry.selector]
        self._touched.setdefault(entry.selector, stack[0])
        stack.remove(entry)
        if not stack:
            del self._stacks[entry.selector]


def _with_ports(row: _Row, pair: _Pair) -> SpdEntry:
    sport, dport = pair
    return replace(row, selector=row.selector._replace(sport=sport, dport=dport))


def merged(pairs: Iterable[_Pair]) -> list[_Pair]:
    """Disjoint pairs of port blocks as fewer, larger ones: two halves of a block become the block."""
    found = set(pairs)
    while True:
        before = len(found)
        found = {(sport, dport) for sport, dports in _by(found, 0) for dport in _halves_joined(dports)}
        found = {(sport, dport) for dport, sports in _by(found, 1) for sport in _halves_joined(sports)}
        if len(found) == before:
            return sorted(found)


def _by(pairs: Iterable[_Pair], side: int) -> Iterator[tuple[Ports, set[Ports]]]:
    """Pairs grouped by one side: that side, and the others that go with it."""
    groups: dict[Ports, set[Ports]] = {}
    for pair in pairs:
        groups.setdefault(pair[side], set()).add(pair[1 - side])
    return iter(groups.items())


def _halves_joined(blocks: set[Ports]) -> set[Ports]:
    waiting, left = sorted(blocks, key=lambda block: block.width), set(blocks)
    while waiting:
        block = waiting.pop()
        other = _sibling(block)
        if block in left and other in left and block != other:
            left -= {block, other}
            whole = Ports(min(block.first, other.first), max(block.last, other.last))
            left.add(whole)
            waiting.append(whole)
    return left


def _sibling(block: Ports) -> Ports:
    """The other half of the next larger block."""
    first = block.first ^ block.width
    return Ports(first, first + block.width - 1) if block.width < 65536 else block
