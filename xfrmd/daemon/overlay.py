# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the kernel beside the Plan: soft SAs, and filters of the default response rule.

Parts are named by reqid and outbound selector. They are made anew from each Plan, so that they always fit its table and
weights; a part that a Plan has no place for is left out.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable

from xfrmd.compiler.dynamic import dynamic_part
from xfrmd.compiler.soft import soft_part
from xfrmd.errors import KernelError
from xfrmd.model.nft import ElementKey
from xfrmd.model.plan import NO_OVERLAY, Overlay, Plan, SpecificFilter
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry


class Kind(enum.Enum):
    """What a part does with its traffic."""

    SOFT = "soft"
    """It passes in the clear."""
    DYNAMIC = "dynamic"
    """It is protected."""


Name = tuple[Kind, int, Selector]
"""Kind, reqid of the filter, outbound selector."""


class Overlays:
    """The parts there are now. `enforce` makes the kernel carry their sum beside the Plan; KernelError when refused."""

    def __init__(self, plan: Plan, enforce: Callable[[Overlay], None]) -> None:
        self._plan = plan
        self._enforce = enforce
        self._parts: dict[Name, Overlay] = {}
        self._refused: set[Name] = set()
        self._behind = False
        """Did the kernel refuse the sum the last time?"""
        self._filters: dict[int, list[SpecificFilter]] = {}

    @property
    def sum(self) -> Overlay:
        """All parts as one."""
        return merged(self._parts.values())

    def add(self, kind: Kind, reqid: int, selector: Selector) -> None:
        """Have one part more. KernelError when the kernel refuses or the Plan has no place for it: all is as before."""
        name = (kind, reqid, selector)
        if name in self._parts:
            return
        self._refused.add(name)
        part = self._make(name)
        if not part.spd or not part.elements:
            raise KernelError("the policy has no such filter any more")
        self._parts[name] = part
        try:
            self._carry()
        except KernelError:
            del self._parts[name]
            with contextlib.suppress(KernelError):  # `catch_up` tries it again
                self._carry()  # it may have come to stand all the same
            raise
        self._refused.discard(name)

    def expect(self, kind: Kind, reqid: int, selector: Selector) -> None:
        """Have a part of an earlier run stand again with the first Plan, in the moment that Plan comes in force."""
        self._parts[kind, reqid, selector] = NO_OVERLAY

    def remove(self, kind: Kind, reqid: int, selector: Selector) -> None:
        """Have one part less; that it is not there is no error. KernelError when the kernel refuses: see `catch_up`."""
        self._refused.discard((kind, reqid, selector))
        if self._parts.pop((kind, reqid, selector), None) is not None:
            self._carry()

    def close(self, kind: Kind) -> None:
        """Have no part of a kind. KernelError when the kernel refuses."""
        for of, reqid, selector in list(self._parts):
            if of is kind:
                self.remove(of, reqid, selector)

    def catch_up(self) -> None:
        """Try once more what the kernel has refused, if there is such a thing. KernelError when it refuses again."""
        if self._behind:
            self._carry()

    def _carry(self) -> None:
        self._behind = True
        self._enforce(self.sum)
        self._behind = False

    def plan_changed(self, plan: Plan) -> Overlay:
        """Make all parts anew for another Plan. The sum, to be applied with the Plan."""
        self._plan, self._filters = plan, {}
        made = {name: self._make(name) for name in self._parts}
        self._parts = {name: part for name, part in made.items() if part.spd and part.elements}
        return self.sum

    def lacks(self, sa: SadEntry) -> bool:
        """Is this an SA of a dynamic filter that the kernel has refused?"""
        outbound = sa.selector.reversed if sa.inbound else sa.selector
        return any(
            kind is Kind.DYNAMIC and reqid == sa.reqid and selector.contains(outbound)
            for kind, reqid, selector in self._refused
        )

    def reqid(self, packet: Selector) -> int:
        """The reqid of the dynamic filter that holds an outbound packet, 0 when none does."""
        found = (reqid for kind, reqid, selector in self._parts if kind is Kind.DYNAMIC and selector.contains(packet))
        return next(found, 0)

    def out_entries(self, reqid: int, selector: Selector) -> list[SpdEntry]:
        """Dynamic out policies of this reqid that speak of traffic of `selector`."""
        return [
            entry
            for (kind, of, _), part in self._parts.items()
            if kind is Kind.DYNAMIC and of == reqid
            for entry in part.spd
            if entry.direction is Direction.OUT and entry.selector.overlaps(selector)
        ]

    def _make(self, name: Name) -> Overlay:
        kind, reqid, selector = name
        if kind is Kind.DYNAMIC:
            return dynamic_part(self._plan, reqid, selector)
        if not self._filters:
            for one in self._plan.filters:
                if one.reqid:
                    self._filters.setdefault(one.reqid, []).append(one)
        return soft_part(self._plan, self._filters.get(reqid, ()), selector)


def merged(parts: Iterable[Overlay]) -> Overlay:
    """Several parts as one. What two of them say alike stands once."""
    spd: dict[SpdEntry, None] = {}
    elements: dict[str, dict[ElementKey, str]] = {}
    for part in parts:
        spd.update(dict.fromkeys(part.spd))
        for name, ours in part.elements.items():
            elements.setdefault(name, {}).update(ours)
    return Overlay(tuple(spd), elements)
