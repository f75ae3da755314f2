# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Plan decides as layers of boxes, the first that holds a packet deciding it; and what two Plans' layers share.

A layer that both Plans have decides the same wherever it decides in both: two Plans can differ only where a packet
meets a layer that one of them alone has, so the others are left out where they meet none of those. Layers of equal
weight are disjoint, so the weight is all of the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.compiler.blocks import blocks_of
from xfrmd.compiler.boxes import Box, box_of
from xfrmd.compiler.exempt import Exemption, Near, exemptions
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import Plan, SpecificFilter, Verdict
from xfrmd.model.proposals import Proposal
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode


class Protection(NamedTuple):
    """What is negotiated for a packet."""

    proposals: tuple[Proposal, ...]
    pfs: bool
    mode: Mode
    tunnel: tuple[Address, Address] | None
    soft: bool
    soft_seconds: int
    """Lifetime of a soft SA; 0 unless `soft`."""


class Meaning(NamedTuple):
    """What happens to a packet, as far as the wire shows: permit and "no filter matches" are the same."""

    verdict: Verdict
    inpass: bool = False
    """In clear as well; inbound only."""
    protection: Protection | None = None
    """None for what this host does not negotiate: traffic that it only forwards."""

    @property
    def clear(self) -> bool:
        """May a packet pass in the clear?"""
        soft = self.protection is not None and self.protection.soft
        return self.verdict is Verdict.PERMIT or self.inpass or soft


CLEAR: Final = Meaning(Verdict.PERMIT)
BLOCKED: Final = Meaning(Verdict.BLOCK)


class Decided(NamedTuple):
    """What decides a packet, and how. Neither a filter nor an exemption: no filter matches."""

    meaning: Meaning
    verdict: Verdict = Verdict.PASS
    filter: SpecificFilter | None = None
    exemption: str = ""


PASSES: Final = Decided(CLEAR)


class Layer(NamedTuple):
    """A box and what is decided in it. `only`: the other Plan has no such layer."""

    box: Box
    decided: Decided
    only: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """The layers of two Plans in one direction and IP version, the first to decide first."""

    inbound: bool
    family: int
    old: tuple[Layer, ...]
    new: tuple[Layer, ...]


Key = tuple[object, ...]
_Exempt = dict[tuple[str, Selector], Decided]


class _Side:
    """One of the two Plans: its filters, and what tells them apart from the other's."""

    def __init__(self, plan: Plan, known: dict[Protection, Protection], strange: tuple[Prefix, ...]) -> None:
        """`known` are the protections seen so far: one object stands for all that are alike. `strange` are multicast
        and broadcast destinations that one Plan alone has.
        """
        self.plan = plan
        self.filters = tuple(plan.filters)
        self._protections: dict[int, Protection] = {}
        self._strange = strange
        for one in plan.protect:
            seconds = one.soft_seconds if one.soft else 0
            made = Protection(one.proposals, one.pfs, one.mode, one.tunnel, one.soft, seconds)
            self._protections[one.reqid] = known.setdefault(made, made)
        self.keys: list[Key] = [*map(self._key, self.filters)]

    def _key(self, one: SpecificFilter) -> Key:
        """Filters with equal keys mean the same."""
        ours = one[:4]  # direction, selector, verdict, weight
        if one.verdict is not Verdict.NEGOTIATE:
            return ours
        if any(group.family == one.selector.family and group.overlaps(one.selector.dst) for group in self._strange):
            return (id(self), ours)
        # Comparing identities is enough, and quick.
        return (ours, one.inpass and one.inbound, id(self._protections.get(one.reqid)))

    def of(self, keys: AbstractSet[Key]) -> list[SpecificFilter]:
        """The filters that have one of these keys."""
        return [one for key, one in zip(self.keys, self.filters, strict=True) if key in keys] if keys else []

    def layers(self, one: SpecificFilter, *, only: bool) -> Iterator[Layer]:
        """What a filter decides, the first to decide first."""
        if one.verdict is not Verdict.NEGOTIATE:
            meaning = BLOCKED if one.verdict is Verdict.BLOCK else CLEAR
            yield Layer(box_of(one.selector), Decided(meaning, one.verdict, one), only)
            return
        inpass = one.inpass and one.inbound
        for group in self.plan.groups:
            if group.family == one.selector.family and group.overlaps(one.selector.dst):
                met = one.selector._replace(dst=max(group, one.selector.dst, key=lambda prefix: prefix.length))
                meaning = CLEAR if inpass else BLOCKED
                yield Layer(box_of(met), Decided(meaning, meaning.verdict, one), only)
        meaning = Meaning(Verdict.NEGOTIATE, inpass, self._protections.get(one.reqid))
        yield Layer(box_of(one.selector), Decided(meaning, one.verdict, one), only)

    def exempt(self, *, inbound: bool) -> _Exempt:
        """What exemptions decide; nothing without a policy."""
        found: _Exempt = {}
        for row in exemptions(self.plan.ipsecexempt, self.plan.groups) if self.plan.policy else ():
            if row.inbound == inbound:
                for selector in self._selectors(row):
                    found[row.name, selector] = Decided(CLEAR, Verdict.PERMIT, exemption=row.name)
        return found

    def _selectors(self, row: Exemption) -> Iterator[Selector]:
        for selector in row.selectors(self.plan.local):
            if row.near is not Near.DST:
                yield selector
                continue
            for address in self.plan.local:
                if address.family == selector.family:
                    yield selector._replace(dst=Prefix.host(address))


def scenes(old: Plan, new: Plan) -> Iterator[Scene]:
    """Both directions and IP versions. What is exempt in both Plans is left out, as no filter is asked about it; the
    same holds for what one Plan exempts where the other has no policy.
    """
    known: dict[Protection, Protection] = {}
    strange = tuple(set(old.groups) ^ set(new.groups))
    sides = (_Side(old, known, strange), _Side(new, known, strange))
    differing = set(sides[0].keys) ^ set(sides[1].keys)
    strange_ones = [side.of(differing) for side in sides]
    for inbound in (False, True):
        exempt = _exempt_by_one(sides, inbound=inbound)
        places: OverlapIndex[None] = OverlapIndex()
        for selector in _places(strange_ones, exempt, inbound=inbound):
            places.add(selector, None)
        layers = [
            _layers(side, ours, {*map(id, only)}, places, inbound=inbound)
            for side, ours, only in zip(sides, exempt, strange_ones, strict=True)
        ]
        for family in (4, 6):
            yield Scene(inbound, family, layers[0][family], layers[1][family])


def _exempt_by_one(sides: tuple[_Side, _Side], *, inbound: bool) -> tuple[_Exempt, _Exempt]:
    old, new = (side.exempt(inbound=inbound) for side in sides)
    if not old or not new:
        return {}, {}
    return (
        {key: decided for key, decided in old.items() if key not in new},
        {key: decided for key, decided in new.items() if key not in old},
    )


def _places(
    strange: Iterable[list[SpecificFilter]], exempt: tuple[_Exempt, _Exempt], *, inbound: bool
) -> Iterator[Selector]:
    """Where the Plans can differ."""
    for rows in exempt:
        yield from (selector for _, selector in rows)
    for filters in strange:
        yield from (one.selector for one in filters if one.inbound == inbound)


def _layers(
    side: _Side, exempt: _Exempt, only: AbstractSet[int], places: OverlapIndex[None], *, inbound: bool
) -> dict[int, tuple[Layer, ...]]:
    """The layers of one direction that meet a place where the Plans can differ, by IP version. `only`: identities of
    the filters that the other Plan does not have.
    """
    found: dict[int, list[Layer]] = {4: [], 6: []}
    for (_, selector), decided in exempt.items():
        found[selector.family].append(Layer(box_of(selector), decided, only=True))
    if places:
        meets = places.meets
        for one in side.filters:
            if one.inbound == inbound:
                family = one.selector.src.family
                for block in blocks_of(one.selector):
                    if meets(family, block):
                        found[family] += side.layers(one, only=id(one) in only)
                        break
    return {family: tuple(layers) for family, layers in found.items()}


def left_out(old: Plan, new: Plan) -> tuple[str, ...]:
    """Names of the exemptions that are left out, sorted."""
    rows = [{row.name for row in exemptions(plan.ipsecexempt, plan.groups)} for plan in (old, new) if plan.policy]
    return tuple(sorted(set.intersection(*rows))) if rows else ()
