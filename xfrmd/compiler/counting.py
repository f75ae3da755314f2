# SPDX-License-Identifier: GPL-2.0-or-later
"""What each filter of the policy has decided: the counts of its elements in the kernel, summed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.blocks import packer, possible
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.expand import Generic
from xfrmd.compiler.maps import MapKey
from xfrmd.model.nft import Counted, ElementKey
from xfrmd.model.plan import SpecificFilter, Weight
from xfrmd.policy.spoken import filter_text

Counts = Mapping[str, Mapping[ElementKey, Counted]]
"""Of each element, by the name of its map."""


@dataclass(slots=True)
class Tally:
    """A filter and what it has decided. `weight` is that of its heaviest specific filter, None when it has none now."""

    generic: Generic
    packets: int = 0
    octets: int = 0
    weight: Weight | None = None

    def to_json(self) -> dict[str, object]:
        """For programs."""
        one, action = self.generic.origin, self.generic.rule.filter_action.action
        return {
            "packets": self.packets,
            "octets": self.octets,
            "rule": one.rule,
            "filter_list": one.filter_list,
            "filter_action": one.filter_action,
            "action": BY_ACTION[action].verdict.value,
            "filter": filter_text(self.generic.filter),
            "weight": None if self.weight is None else list(self.weight),
            "at": str(one.at),
            "store": one.store.value,
        }


def _owners(made: Compilation) -> Iterator[tuple[str, Iterable[ElementKey], Iterable[SpecificFilter]]]:
    """By map: its name, its keys, and the filter of each."""
    for layer_key, layer in made.layers.items():
        for shape in layer.shapes():
            owners = layer.owners(shape)
            if shape.icmp:
                owners = {value: one for value, one in owners.items() if possible(shape, value)}
            yield MapKey(*layer_key, shape).name, packer(shape)(owners), owners.values()


def tally(made: Compilation, counts: Counts) -> list[Tally]:
    """All filters of the policies in force, in their order."""
    found = {number: Tally(generic) for number, generic in sorted(made.generics.items())}
    for name, keys, filters in _owners(made):
        seen = counts.get(name, {})
        for key, one in zip(keys, filters, strict=True):
            sums = found[one.number]
            if sums.weight is None or one.weight > sums.weight:
                sums.weight = one.weight
            counted = seen.get(key)
            if counted is not None:
                sums.packets += counted.packets
                sums.octets += counted.octets
    return list(found.values())


def tally_json(made: Compilation, counts: Counts, most: int, *, unused: bool) -> dict[str, Any]:
    """The filters that decided most packets, or those that decided none, and sums over all filters."""
    found = tally(made, counts)
    idle = [one for one in found if not one.packets]
    busy = heapq.nsmallest(most, found, key=lambda one: (-one.packets, -one.octets, one.generic.number))
    return {
        "filters": [one.to_json() for one in (idle[:most] if unused else busy)],
        "count": len(found),
        "unused": len(idle),
        "packets": sum(one.packets for one in found),
        "octets": sum(one.octets for one in found),
    }
