# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions to SPD entries: PROTECT for negotiate filters, and as much BYPASS and DISCARD ahead of them as is needed.

XFRM looks up an outgoing packet before nftables sees it, so whatever nftables decides ahead of a negotiate filter must
be known here as well, or an exempt packet would raise an ACQUIRE. A permit or block filter becomes an entry only where
it overlaps a lighter entry that would decide otherwise.

Where blocks are mirrored (docs/decisions/0025) all of them are entries, and so hold when somebody has flushed nftables.

FWD repeats IN: a forwarded packet is checked there by its addresses on the wire, then looked up in OUT.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from xfrmd.compiler import ports
from xfrmd.compiler.actions import BY_VERDICT
from xfrmd.compiler.ground import Ground
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.stacks import EntryStacks
from xfrmd.compiler.weight import AHEAD_GROUP, EXEMPT_PRIORITY, class_of, priority_of
from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.plan import SpecificFilter
from xfrmd.model.selector import ANY_PORT, Selector
from xfrmd.model.spd import Direction, Mode, SpdAction, SpdEntry

CASCADE: Final = 2000
"""Permit and block filters looked at again after one change; with more, compiling anew is quicker."""


class Candidate(NamedTuple):
    """Something that becomes an entry only where it overlaps a lighter one that decides otherwise."""

    priority: int
    selector: Selector
    action: SpdAction


class TooMuchError(Exception):
    """A change touches so much that compiling anew is quicker."""


def _dropping(entry: SpdEntry, groups: Iterable[Prefix]) -> Iterator[SpdEntry]:
    """What stands ahead of a negotiate filter's entry: the part of it that speaks of multicast and broadcast."""
    for group in groups if not entry.optional else ():
        dst = entry.selector.dst
        if group.overlaps(dst):
            part = entry.selector._replace(dst=max(group, dst, key=lambda prefix: prefix.length))
            yield SpdEntry(entry.direction, part, SpdAction.DISCARD, entry.priority - AHEAD_GROUP)


def _entries(direction: Direction, one: SpecificFilter, groups: tuple[Prefix, ...]) -> Iterator[SpdEntry]:
    """The entries of a negotiate filter's region; they depend on no other."""
    priority, optional = priority_of(class_of(one.weight)), one.inpass and one.inbound
    mode = Mode.TRANSPORT if one.tunnel is None else Mode.TUNNEL
    for block in ports.split(one.selector):
        how = (one.reqid, mode, optional, one.tunnel, one.protocol)
        entry = SpdEntry(direction, block, SpdAction.PROTECT, priority, *how)
        yield entry
        yield from _dropping(entry, groups)


def _candidate(one: SpecificFilter) -> Candidate:
    return Candidate(priority_of(class_of(one.weight)), one.selector, BY_VERDICT[one.verdict].spd)


def _protects(one: SpecificFilter) -> bool:
    return BY_VERDICT[one.verdict].spd is SpdAction.PROTECT


def _exempting(selectors: Iterable[Selector]) -> list[Candidate]:
    return [Candidate(EXEMPT_PRIORITY, selector, SpdAction.BYPASS) for selector in selectors]


class Side:
    """Entries of one direction, OUT or IN. `exempt`: what bypasses before all filters."""

    def __init__(
        self, direction: Direction, groups: tuple[Prefix, ...], exempt: Iterable[Selector], *, mirrors: bool
    ) -> None:
        self._mirrors = mirrors
        self.stacks = EntryStacks()
        self._direction = direction
        self._groups = groups
        self._exempt = _exempting(exempt)
        self._present: dict[SpdAction, OverlapIndex[SpdEntry]] = {action: OverlapIndex() for action in SpdAction}
        self._candidates: OverlapIndex[Candidate] | None = None
        """All that may become entries; made when the first change comes."""
        self._entered: dict[Candidate, tuple[SpdEntry, ...]] = {}
        self._moved: list[Selector] | None = None
        """Entries that came and went with `move`, until `change` has looked at what stands ahead of them."""

    def fill(self, lightest_first: Iterable[SpecificFilter]) -> None:
        """Put in all regions of this direction at once."""
        for one in lightest_first:
            if _protects(one):
                for entry in _entries(self._direction, one, self._groups):
                    self._enter(entry)
            else:
                candidate = _candidate(one)
                if self._needed(candidate):
                    self._enter_candidate(candidate)
        for candidate in self._exempt:
            if self._needed(candidate):
                self._enter_candidate(candidate)

    def prepare(self, regions: Iterable[SpecificFilter]) -> None:
        """To be called before the first change, with all regions of this direction as they are."""
        if self._candidates is None:
            self._candidates = OverlapIndex()
            for one in regions:
                if not _protects(one):
                    self._candidates.add(one.selector, _candidate(one))
            for candidate in self._exempt:
                self._candidates.add(candidate.selector, candidate)

    def move(self, groups: tuple[Prefix, ...], exempt: Iterable[Selector]) -> None:
        """Have other destinations dropped and other packets exempt; `change` comes next."""
        assert self._candidates is not None, "prepare() comes first"
        before, wanted, self._moved = self._groups, _exempting(exempt), []
        for others, ours, act in ((before, groups, self._enter), (groups, before, self._leave)):
            for group in ours:
                for entry in self._speaking_of(group) if group not in others else ():
                    for dropping in _dropping(entry, (group,)):
                        act(dropping)
                        self._moved.append(dropping.selector)
        for one in self._exempt:
            if one not in wanted:
                self._forget(self._candidates, one)
        for one in wanted:
            if one not in self._exempt:
                self._candidates.add(one.selector, one)
        self._groups, self._exempt = groups, wanted

    def _speaking_of(self, group: Prefix) -> list[SpdEntry]:
        """Entries of negotiate filters that speak of multicast or broadcast."""
        everybody = Prefix.any(group.family)
        return self._present[SpdAction.PROTECT].find(Selector(everybody, group, 0, ANY_PORT, ANY_PORT))

    def change(self, gone: Iterable[SpecificFilter], new: Iterable[SpecificFilter]) -> None:
        """Take regions out and put others in. Raises TooMuchError, after which this side is of no more use."""
        candidates = self._candidates
        assert candidates is not None, "prepare() comes first"
        ahead: dict[Candidate, None] = {} if self._moved is None else dict.fromkeys(self._exempt)
        touched, self._moved = self._moved or [], None
        for one in gone:
            touched.append(one.selector)
            if _protects(one):
                for entry in _entries(self._direction, one, self._groups):
                    self._leave(entry)
            else:
                self._forget(candidates, _candidate(one))
        for one in new:
            touched.append(one.selector)
            if _protects(one):
                for entry in _entries(self._direction, one, self._groups):
                    self._enter(entry)
            else:
                candidate = _candidate(one)
                candidates.add(candidate.selector, candidate)
                ahead[candidate] = None
        for selector in touched:
            ahead.update(dict.fromkeys(candidates.find(selector)))
        self._cascade(candidates, ahead)

    def _cascade(self, candidates: OverlapIndex[Candidate], ahead: Iterable[Candidate]) -> None:
        """Look at candidates again, the lightest first, and at those that depend on what came or went."""
        waiting = [(-one.priority, one) for one in ahead]
        heapq.heapify(waiting)
        seen: set[Candidate] = set()
        while waiting:
            _, one = heapq.heappop(waiting)
            if one in seen:
                continue
            seen.add(one)
            if len(seen) > CASCADE:
                raise TooMuchError
            needed, entered = self._needed(one), one in self._entered
            if needed == entered:
                continue
            if needed:
                self._enter_candidate(one)
            else:
                self._leave_candidate(one)
            for other in candidates.find(one.selector):
                if other.priority < one.priority:
                    heapq.heappush(waiting, (-other.priority, other))

    def _forget(self, candidates: OverlapIndex[Candidate], candidate: Candidate) -> None:
        stored = next(other for other in candidates.find(candidate.selector) if other == candidate)
        candidates.remove(candidate.selector, stored)
        if candidate in self._entered:
            self._leave_candidate(candidate)

    def _needed(self, one: Candidate) -> bool:
        """Does a lighter entry decide some of its packets otherwise, or is it a block that is mirrored?"""
        return (self._mirrors and one.action is SpdAction.DISCARD) or any(
            entry.priority > one.priority
            for action, present in self._present.items()
            if action is not one.action
            for entry in present.find(one.selector)
        )

    def _enter_candidate(self, one: Candidate) -> None:
        made = tuple(SpdEntry(self._direction, block, one.action, one.priority) for block in ports.split(one.selector))
        self._entered[one] = made
        for entry in made:
            self._enter(entry)

    def _leave_candidate(self, one: Candidate) -> None:
        for entry in self._entered.pop(one):
            self._leave(entry)

    def _enter(self, entry: SpdEntry) -> None:
        self._present[entry.action].add(entry.selector, entry)
        self.stacks.add(entry)

    def _leave(self, entry: SpdEntry) -> None:
        present = self._present[entry.action]
        stored = next(other for other in present.find(entry.selector) if other == entry)
        present.remove(entry.selector, stored)
        self.stacks.remove(entry)


def _forwarded(entry: SpdEntry | None) -> SpdEntry | None:
    """What an entry of IN means to packets that are forwarded."""
    if entry is None or entry.priority == EXEMPT_PRIORITY:
        return None
    return replace(entry, direction=Direction.FWD)


def _by_direction(ground: Ground) -> dict[Direction, list[Selector]]:
    """What bypasses before all filters."""
    found: dict[Direction, list[Selector]] = {direction: [] for direction in Direction}
    for direction, selector in ground.bypassing():
        found[direction].append(selector)
    return found


class Database:
    """The SPD: OUT, IN and FWD."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        exempt = _by_direction(ground)
        self._sides = {
            inbound: Side(direction, ground.dropped, exempt[direction], mirrors=ground.mirrors)
            for inbound, direction in ((False, Direction.OUT), (True, Direction.IN))
        }

    def fill(self, regions: Callable[[bool], Iterable[SpecificFilter]]) -> None:
        """Put in all regions at once. `regions` gives those of one direction, lightest first."""
        for inbound, side in self._sides.items():
            side.fill(regions(inbound))

    def entries(self) -> tuple[SpdEntry, ...]:
        """All entries, each direction in the order in which it is asked."""
        out, inward = (self._sides[inbound].stacks.entries() for inbound in (False, True))
        return out + inward + tuple(entry for entry in map(_forwarded, inward) if entry is not None)

    def wildcards(self) -> int:
        """Entries with the address any, in the direction and IP version that has the most of them."""
        return max(side.stacks.wildcards(family) for side in self._sides.values() for family in BITS)

    def begin(self, regions: Callable[[bool], Iterable[SpecificFilter]]) -> None:
        """To be called before regions change, with all as they are."""
        for inbound, side in self._sides.items():
            side.prepare(regions(inbound))
            side.stacks.begin()

    def change(
        self, gone: Iterable[SpecificFilter], new: Iterable[SpecificFilter], ground: Ground
    ) -> tuple[tuple[SpdEntry, ...], tuple[SpdEntry, ...]]:
        """Take regions out and put others in: entries that go, and that come or change. Raises TooMuchError; after that
        this SPD is of no more use.
        """
        if ground != self._ground:
            self._ground, exempt = ground, _by_direction(ground)
            self._sides[False].move(ground.dropped, exempt[Direction.OUT])
            self._sides[True].move(ground.dropped, exempt[Direction.IN])
        changed: list[tuple[SpdEntry | None, SpdEntry | None]] = []
        for inbound, side in self._sides.items():
            side.change([one for one in gone if one.inbound == inbound], [one for one in new if one.inbound == inbound])
            found = side.stacks.end()
            changed += found
            if inbound:
                changed += [(_forwarded(before), _forwarded(after)) for before, after in found]
        going = tuple(before for before, after in changed if before is not None and after is None)
        return going, tuple(after for before, after in changed if after is not None and after != before)


def filled(ground: Ground, regions: Callable[[bool], Iterable[SpecificFilter]]) -> Database:
    """The SPD of these regions; `regions` gives those of one direction, lightest first."""
    found = Database(ground)
    found.fill(regions)
    return found
