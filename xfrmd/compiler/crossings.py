# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of filters of which one decides what leaves and the other what comes back.

Where the ends of two filters are equally narrow, each in another place, the source decides: the weight of a filter and
that of its mirror differ. If such filters negotiate, the SA of one carries packets whose answers the other expects on
its own, and the kernel drops them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, permutations
from typing import Final

from xfrmd.compiler.blocks import packet_value
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.layers import Layer
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.plan import SpecificFilter, Verdict, Weight
from xfrmd.model.selector import Ports, Selector
from xfrmd.model.source import Problem, Severity

_TOLD: Final = 20
"""Pairs that are told of one policy: who has more has one habit, not many mistakes."""
_LOOKED_AT: Final = 10_000
"""Pairs of which a packet is looked at, about a second at the most."""
_ODD_PROTOCOL: Final = 255


def crossings(made: Compilation) -> Iterator[Problem]:
    """Filters that negotiate, or that others negotiate in the face of, in one direction only."""
    yield from islice(_found(made), _TOLD)


def _found(made: Compilation) -> Iterator[Problem]:
    told: set[frozenset[tuple[int, int]]] = set()
    for ahead, behind in islice(_pairs(made), _LOOKED_AT):
        names = (_name(ahead), _name(behind))
        if names[0] == names[1] or frozenset(names) in told:
            continue
        there = _last_packet(_both(ahead.selector, behind.selector))
        out, back = _decides(made, there, inbound=False), _decides(made, there.reversed, inbound=True)
        if out is not None and back is not None and (_name(out), _name(back)) == names:
            told.add(frozenset(names))
            yield _problem(out, back)


def _name(one: SpecificFilter) -> tuple[int, int]:
    """What two filters have alike that are one: both halves of a tunnel share their SAs."""
    return (one.reqid, 0) if one.verdict is Verdict.NEGOTIATE else (0, one.number)


def _problem(out: SpecificFilter, back: SpecificFilter) -> Problem:
    return Problem(
        Severity.WARNING,
        out.origin.at,
        f"some packets that this filter of rule {out.origin.rule!r} decides on their way out ({out.verdict.value}) are "
        f"decided on their way back by the one at {back.origin.at} of rule {back.origin.rule!r} "
        f"({back.verdict.value}), as the two are equally narrow, each at another end",
        "add a filter that is as narrow as both at both ends, for what they have in common",
    )


def _pairs(made: Compilation) -> Iterator[tuple[SpecificFilter, SpecificFilter]]:
    """Overlapping outbound filters of which one negotiates, the heavier first, whose mirrors weigh the other way."""
    layers = [(next(layer.filters(), None), layer) for (inbound, _), layer in made.layers.items() if not inbound]
    weighed = [(one.weight, layer) for one, layer in layers if one is not None]
    for (weight, ahead), (other, behind) in permutations(weighed, 2):
        if weight > other and _mirrored(weight) < _mirrored(other):
            for negotiates, rest, swap in ((ahead, behind, False), (behind, ahead, True)):
                for one, met in _meetings(negotiates, rest):
                    yield (met, one) if swap else (one, met)


def _mirrored(weight: Weight) -> Weight:
    """The weight of the filter with both ends exchanged."""
    both = weight.ports_named == 2
    other_port = both or (weight.ports_named == 1 and not weight.destination_port_named)
    return weight._replace(
        source_prefix=weight.prefix_sum - weight.source_prefix, destination_port_named=int(other_port)
    )


def _meetings(negotiates: Layer, rest: Layer) -> Iterator[tuple[SpecificFilter, SpecificFilter]]:
    """Each negotiate filter of one layer with the filters of another that overlap it."""
    index: OverlapIndex[SpecificFilter] = OverlapIndex()
    ours = [one for one in negotiates.filters() if one.verdict is Verdict.NEGOTIATE]
    for one in ours:
        index.add(one.selector, one)
    for other in rest.filters() if ours else ():
        for one in index.find(other.selector):
            yield one, other


def _both(one: Selector, other: Selector) -> Selector:
    """What two overlapping selectors have in common."""
    return Selector(
        _narrower(one.src, other.src),
        _narrower(one.dst, other.dst),
        one.protocol or other.protocol,
        Ports(max(one.sport.first, other.sport.first), min(one.sport.last, other.sport.last)),
        Ports(max(one.dport.first, other.dport.first), min(one.dport.last, other.dport.last)),
    )


def _narrower(one: Prefix, other: Prefix) -> Prefix:
    return one if one.length >= other.length else other


def _last_packet(selector: Selector) -> Selector:
    """The packet with the highest addresses and ports, and a protocol that nobody names where any will do."""
    src, dst = (p._replace(value=p.last, length=BITS[p.family]) for p in (selector.src, selector.dst))
    sport, dport = (Ports(ports.last, ports.last) for ports in (selector.sport, selector.dport))
    return Selector(src, dst, selector.protocol or _ODD_PROTOCOL, sport, dport)


def _decides(made: Compilation, packet: Selector, *, inbound: bool) -> SpecificFilter | None:
    """The filter that decides a packet; exemptions are not asked."""
    value = packet_value(packet)
    for key in sorted((key for key in made.layers if key[0] == inbound), reverse=True):
        layer = made.layers[key]
        for tables in (layer.whole, layer.cut):
            for shape, table in tables.items():
                found = table.get(value & shape.mask) if shape.family == packet.family else None
                if found is not None:
                    return found
    return None
