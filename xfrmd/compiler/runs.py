# SPDX-License-Identifier: GPL-2.0-or-later
"""Which maps are asked together, and what is asked first to spare a packet the large ones among them.

A map that is larger than the processor's caches costs a packet a look at far memory, also when the packet is not in it,
and a packet that no filter matches asks all maps. So maps that lie behind one another and speak of addresses in the
same way are a *run*. If it is large, its maps are asked only for ports that some map knows, and where that pays, all of
it only for addresses that some map knows (docs/decisions/0027). Small policies have no sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

from xfrmd.compiler.known import KnownKey, parts
from xfrmd.model.nft import KeyField, NftMap


class Worth(NamedTuple):
    """When a run gets sets. The defaults are where measurements showed a gain."""

    elements: int = 2048
    """Fewest elements of its maps: fewer stay in the processor's caches. What follows is about sets of addresses."""
    maps: int = 4
    """Fewest maps that the one look-up spares."""
    price: int = 16
    """The set may have at most a sixteenth as many elements as the maps have, times their number: its elements take
    time to load, and what it spares grows with the maps.
    """
    runs: int = 4
    """Most runs of a direction. A run is followed by two rules that go to the next chain, and the kernel, when it
    checks the rules, follows each of them: its work doubles with each run.
    """


WORTH: Final = Worth()
_MOST_PORTS: Final = 4096
"""The kernel puts ports into a bitmap, and goes through all that are there for each that comes."""
_TELLING: Final = 1 << 15
"""Ports that a set covers, at most: one that covers more seldom spares anything."""


class Asked(NamedTuple):
    """A map, and sets that a packet's ports must be in."""

    one: NftMap
    ports: tuple[NftMap, ...] = ()

    @property
    def rule(self) -> str:
        """The rule that asks it."""
        tests = "".join(f"{_within(test)} @{test.name} " for test in self.ports)
        return f"{tests}{self.one.expression} vmap @{self.one.name}"


def _within(test: NftMap) -> str:
    """The left side of a match, as nft prints it."""
    (field,) = test.fields
    return str(field) if field.is_whole else f"{field} =="


class Run(NamedTuple):
    """Maps that are asked one after the other."""

    asked: tuple[Asked, ...]
    hosts: NftMap | None = None
    """The set that a packet's addresses must be in, or the whole run is left out; None: asked for all packets."""

    @property
    def sets(self) -> Iterator[NftMap]:
        """All sets that are asked."""
        if self.hosts is not None:
            yield self.hosts
        for asked in self.asked:
            yield from asked.ports


class Candidate(NamedTuple):
    """A map that is asked, in its place."""

    one: NftMap
    always: bool
    """It is asked about all packets: soft filters have elements of their own that come and go at run time."""


class Planned(NamedTuple):
    """A run by its names: equal ones make equal rules."""

    maps: tuple[str, ...]
    hosts: KnownKey | None
    ports: tuple[tuple[KnownKey, ...], ...]
    """For each map the ports that are asked about."""


def planned(
    inbound: bool, order: Iterable[Candidate], count: Callable[[KnownKey], int], worth: Worth
) -> tuple[Planned, ...]:
    """The runs of a direction. `count` tells how many values its maps have in some fields."""
    groups = [(fields, [one.one for one in group]) for fields, group in groupby(order, _shared)]
    sizes = [_elements(maps) if fields else 0 for fields, maps in groups]
    worth_hosts = [
        at
        for at, (fields, maps) in enumerate(groups)
        if len(maps) >= worth.maps and sizes[at] >= worth.elements
        if fields and count(KnownKey(inbound, fields)) * worth.price <= sizes[at] * len(maps)
    ]
    best = set(sorted(worth_hosts, key=lambda at: -sizes[at])[: worth.runs])
    found = []
    for at, (fields, maps) in enumerate(groups):
        large = fields and sizes[at] >= worth.elements
        ports = tuple(_telling(inbound, one, count) if large else () for one in maps)
        found.append(Planned(tuple(one.name for one in maps), KnownKey(inbound, fields) if at in best else None, ports))
    return tuple(found)


def _shared(one: Candidate) -> tuple[KeyField, ...]:
    """The addresses that a run's maps have in common; () where there are none, or the map is asked anyhow."""
    first = () if one.always else parts(one.one.fields)[:1]
    return () if not first or first[0].is_port else first[0].fields


def _elements(maps: Iterable[NftMap]) -> int:
    return sum(len(one.elements) for one in maps)


def _telling(inbound: bool, one: NftMap, count: Callable[[KnownKey], int]) -> tuple[KnownKey, ...]:
    """Ports that a map's key has and many packets do not."""
    found = []
    for part in parts(one.fields):
        if part.is_port:
            key = KnownKey(inbound, part.fields)
            values, width = count(key), 0x10000 >> part.fields[0].mask.bit_count()
            if values <= _MOST_PORTS and values * width <= _TELLING:
                found.append(key)
    return tuple(found)
