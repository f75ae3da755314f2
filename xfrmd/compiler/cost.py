# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy costs each packet, where that is more than it needs to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from xfrmd.compiler.compile import Compilation
from xfrmd.model.source import Problem, Severity

WILDCARDS: Final = 200
"""SPD entries with the address any: from 6 us a packet on, as much as all else that is done with one."""
WILDCARD_NS: Final = 30
"""Each such entry is looked at for each packet (docs/performance.md)."""
MAPS: Final = 100
"""Maps asked for a packet that no filter matches: from 10 us on."""
MAP_NS: Final = 100


def costs(made: Compilation) -> Iterator[Problem]:
    """Warnings at the place of the policy."""
    wild = made.wildcards()
    if wild > WILDCARDS:
        yield Problem(
            Severity.WARNING,
            made.policies[0].at,
            f"{wild} security policies have the address any at one end: the kernel looks at each of them for every "
            f"packet, about {_microseconds(wild * WILDCARD_NS)} us",
            "name addresses or subnets in place of any in negotiate filters and in filters ahead of them, or ranges "
            "of ports in place of single ones",
        )
    maps = max(_maps(made).values(), default=0)
    if maps > MAPS:
        yield Problem(
            Severity.WARNING,
            made.policies[0].at,
            f"filters differ in so much that up to {maps} maps are asked for a packet, about "
            f"{_microseconds(maps * MAP_NS)} us: one for each pair of prefix lengths with a protocol, with ports, with "
            "neither",
            "write filters alike: the same few prefix lengths, single ports or ranges of a power of two",
        )


def _microseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1000:.0f}"


def _maps(made: Compilation) -> Counter[tuple[bool, int]]:
    """Maps that a packet may be looked up in, by direction and IP version."""
    return Counter((inbound, shape.family) for (inbound, _), layer in made.layers.items() for shape in layer.shapes())
