# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters that never decide anything, because heavier ones take all of their packets.

Hardly any filter is one, so most are passed by with one question: does any heavier filter take the last packet of it,
with the highest addresses and ports and a protocol that nobody names? Only those are cut up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from xfrmd.compiler.blocks import DESTINATION, DPORT, NAMED, SOURCE, SPORT, WHOLE_PORT, Shape, packet_value
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.cut import subtract
from xfrmd.compiler.layers import Layer, Overlap
from xfrmd.model.addresses import BITS
from xfrmd.model.plan import SpecificFilter
from xfrmd.model.selector import Ports, Selector

_STEPS: Final = 64
"""Heavier filters that are cut out of one filter; what is left then counts as alive."""
_CUTS: Final = 10_000
"""Filters that are cut up: more of them are no oversight but a way of writing."""
_QUESTIONS: Final = 30_000_000
"""Filters asked, times heavier tables: about two seconds. Past it the lightest filters are not looked at."""
_ODD_PROTOCOL: Final = 255
_FULL: Final = {
    family: ((1 << bits) - 1) << SOURCE[family]
    | ((1 << bits) - 1) << DESTINATION
    | NAMED
    | WHOLE_PORT << SPORT
    | WHOLE_PORT << DPORT
    for family, bits in BITS.items()
}


class Shadow(NamedTuple):
    """A filter, by its number, that never decides anything, and one that takes packets from it."""

    number: int
    by: SpecificFilter
    twin: bool
    """`by` speaks of the same packets with the same weight, and comes first."""


class Shadows(NamedTuple):
    """What was found. `complete`: everything was looked at."""

    found: tuple[Shadow, ...]
    complete: bool


_Table = dict[int, SpecificFilter]


class _Search:
    """Looks through one direction and IP version, the heaviest layer first."""

    def __init__(self, family: int, budget: list[int]) -> None:
        self._family = family
        self._budget = budget
        self._above: list[tuple[int, _Table]] = []

    def taken(self, layers: Iterable[Layer]) -> Iterator[tuple[SpecificFilter, SpecificFilter]]:
        """Filters' regions that heavier ones take whole, each with one of those."""
        for layer in layers:
            ours = [
                (shape, table)
                for tables in (layer.whole, layer.cut)
                for shape, table in tables.items()
                if shape.family == self._family
            ]
            yield from self._layer(ours)
            self._above += [(shape.mask, table) for shape, table in ours]

    def _layer(self, ours: list[tuple[Shape, _Table]]) -> Iterator[tuple[SpecificFilter, SpecificFilter]]:
        seen: set[int] = set()  # a port range has several blocks
        for shape, table in ours:
            self._budget[0] -= len(table) * len(self._above)
            if self._budget[0] < 0:
                return
            for value in self._suspects(shape, table):
                one = table[value]
                if id(one) not in seen and self._budget[1] > 0:
                    seen.add(id(one))
                    self._budget[1] -= 1
                    by = self._takes(one)
                    if by is not None:
                        yield one, by

    def _suspects(self, shape: Shape, table: _Table) -> dict[int, None]:
        """Blocks whose last packet is taken by something heavier."""
        rest = _FULL[self._family] & ~shape.mask
        found: dict[int, None] = {}
        for mask, heavier in self._above:
            found.update(dict.fromkeys([value for value in table if (value | rest) & mask in heavier]))
        return found

    def _takes(self, one: SpecificFilter) -> SpecificFilter | None:
        """A heavier filter, if such take all of this one."""
        first, waiting = None, [one.selector]
        for _ in range(_STEPS):
            if not waiting:
                return first
            part = waiting.pop()
            by = self._at(_last_packet(part), one.number)
            if by is None:
                return None
            first = first or by
            waiting += subtract(part, by.selector)
        return None

    def _at(self, packet: Selector, number: int) -> SpecificFilter | None:
        """A heavier filter that takes a packet, and is not a part of the same filter."""
        value = packet_value(packet)
        found = (heavier.get(value & mask) for mask, heavier in self._above)
        return next((one for one in found if one is not None and one.number != number), None)


def _last_packet(selector: Selector) -> Selector:
    src, dst, protocol, sport, dport = selector
    ends = [prefix._replace(value=prefix.last, length=BITS[prefix.family]) for prefix in (src, dst)]
    ports = [Ports(each.last, each.last) for each in (sport, dport)]
    return Selector(ends[0], ends[1], protocol or _ODD_PROTOCOL, ports[0], ports[1])


def shadows(made: Compilation) -> Shadows:
    """All filters that never decide anything, in the order of their numbers."""
    lost: dict[int, Overlap] = {}
    for overlap in made.overlaps():
        if overlap.lost and overlap.winner.number != overlap.loser.number:
            lost.setdefault(overlap.loser.number, overlap)
    taken: Counter[int] = Counter()
    by: dict[int, SpecificFilter] = {}
    budget = [_QUESTIONS, _CUTS]
    for inbound in (True, False):
        layers = [made.layers[key] for key in sorted(made.layers, reverse=True) if key[0] == inbound]
        for family in BITS:
            for one, winner in _Search(family, budget).taken(layers):
                taken[one.number] += 1
                by.setdefault(one.number, winner)
    suspected = {*lost, *taken}
    regions = Counter(one.number for one in made.regions() if one.number in suspected) if suspected else Counter[int]()
    dead = sorted(number for number in suspected if regions[number] == taken[number])
    found = tuple(_shadow(number, lost.get(number), by.get(number)) for number in dead)
    return Shadows(found, complete=budget[0] >= 0 and budget[1] > 0)


def _shadow(number: int, lost: Overlap | None, by: SpecificFilter | None) -> Shadow:
    if lost is None:
        assert by is not None
        return Shadow(number, by, twin=False)
    alike = lost.winner.selector == lost.loser.selector and lost.winner.weight == lost.loser.weight
    return Shadow(number, lost.winner, twin=by is None and alike)
