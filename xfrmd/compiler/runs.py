# SPDX-License-Identifier: GPL-2.0-or-later
"""Which maps are asked together, and what is asked first to spare a packet the large ones among them.

A map that is larger than the processor's caches costs a packet a look at far memory, also when the packet is not in it,
and a packet that no filter matches asks all maps. So maps that lie behind one another and speak of addresses in the
same way are a *run*: it is asked only for addresses that some map knows, and each map of it only for ports that some
map knows (docs/decisions/0027). Small policies have no such runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from xfrmd.compiler.known import KnownKey, parts
from xfrmd.model.nft import KeyField, NftMap


class Worth(NamedTuple):
    """When a run gets a set of its addresses. The defaults are where measurements showed a gain."""

    elements: int = 2048
    """Fewest elements of its maps: fewer stay in the processor's caches."""
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
    gains = {
        at: _elements(maps)
        for at, (fields, maps) in enumerate(groups)
        if fields and _is_large(maps, worth)
        if count(KnownKey(inbound, fields)) * worth.price <= _elements(maps) * len(maps)
    }
    best = set(sorted(gains, key=lambda at: -gains[at])[: worth.runs])
    return tuple(
        _planned(inbound, fields if at in best else (), maps, count) for at, (fields, maps) in enumerate(groups)
    )


def _shared(one: Candidate) -> tuple[KeyField, ...]:
    """The addresses that a run's maps have in common; () where there are none, or the map is asked anyhow."""
    first = () if one.always else parts(one.one.fields)[:1]
    return () if not first or first[0].is_port else first[0].fields


def _elements(maps: Iterable[NftMap]) -> int:
    return sum(len(one.elements) for one in maps)


def _is_large(maps: Sequence[NftMap], worth: Worth) -> bool:
    return len(maps) >= worth.maps and _elements(maps) >= worth.elements


def _planned(
    inbound: bool, hosts: tuple[KeyField, ...], maps: Iterable[NftMap], count: Callable[[KnownKey], int]
) -> Planned:
    names = tuple(one.name for one in maps)
    if not hosts:
        return Planned(names, None, ((),) * len(names))

    def telling(one: NftMap) -> Iterator[KnownKey]:
        for part in parts(one.fields):
            if part.is_port:
                key = KnownKey(inbound, part.fields)
                values, width = count(key), 0x10000 >> part.fields[0].mask.bit_count()
                if values <= _MOST_PORTS and values * width <= _TELLING:
                    yield key

    return Planned(names, KnownKey(inbound, hosts), tuple(tuple(telling(one)) for one in maps))
