# SPDX-License-Identifier: GPL-2.0-or-later
"""What everything of a policy is compiled on, whatever its filters say: the host's own addresses and what is exempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xfrmd.compiler.exempt import groups, groups_exempt, spd_selectors
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction


class Ground(NamedTuple):
    """The host's own addresses, multicast and broadcast, the `ipsecexempt`, whether blocks are mirrored in the SPD."""

    own: tuple[Address, ...]
    groups: tuple[Prefix, ...]
    level: int
    mirrors: bool

    @property
    def dropped(self) -> tuple[Prefix, ...]:
        """Destinations that a negotiate filter drops; none when they are exempt."""
        return () if groups_exempt(self.level) else self.groups

    def bypassing(self) -> Iterator[tuple[Direction, Selector]]:
        """What the SPD lets by before all filters."""
        return spd_selectors(self.own, self.level, self.groups)


def ground_of(facts: HostFacts, level: int, *, mirrors: bool) -> Ground:
    """The ground of a host with these facts, at this `ipsecexempt`."""
    return Ground(tuple(sorted(facts.own_addresses())), groups(facts), level, mirrors)
