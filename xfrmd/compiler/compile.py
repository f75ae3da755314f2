# SPDX-License-Identifier: GPL-2.0-or-later
"""From a policy and the host's facts to its Plan, whole or change by change. Equal input gives an equal Plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, NamedTuple

from xfrmd.compiler import mirroring, nft, pad, protect, spd
from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.bulk import sort_into_layers
from xfrmd.compiler.crowd import Crowd, arriving, cancel, exchange, leaving
from xfrmd.compiler.delta import element_changes
from xfrmd.compiler.expand import Expansion, Generic, generic_filters, unresolved_of
from xfrmd.compiler.ground import Ground, ground_of
from xfrmd.compiler.layers import Overlap, ranked
from xfrmd.compiler.maps import Maps
from xfrmd.compiler.reqids import Reqids
from xfrmd.compiler.runs import WORTH, Worth
from xfrmd.compiler.size import bounded, expanded
from xfrmd.compiler.speakers import Own, Speakers, changed_words, moves, speaking_of_me
from xfrmd.compiler.tunnels import Ends
from xfrmd.compiler.views import View
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import NftTable
from xfrmd.model.pad import PadEntry
from xfrmd.model.plan import Plan, PlanDelta, ProtectPolicy, SpecificFilter, Verdict
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import AddressWord, PolicySet

MOST_CHANGED: Final = 500
"""Generic filters that are changed one by one; with more of them, compiling anew is as quick."""


class Prospect(NamedTuple):
    """What new facts will change in a Compilation."""

    facts: HostFacts
    expansion: Expansion
    ground: Ground
    leave: Crowd
    enter: Crowd
    guards: bool
    """Filters that protect or block what speaks of `me` come or go."""


class Compilation:
    """Policies in force together on one host: its Plan, kept up to date as filters and facts change.

    The Plan is a view: after a change it shows what holds now. Whoever needs what held before, compiles it apart.
    """

    def __init__(
        self,
        policies: PolicySet,
        facts: HostFacts,
        known: Reqids | None = None,
        generics: Iterable[Generic] | None = None,
        *,
        worth: Worth = WORTH,
        mirrors: bool | None = None,
    ) -> None:
        """Compile. `known` gives filters that have reqids already the same again, so that their SAs stay. `generics`
        are compiled in the place of the policies' filters, if given. `worth`: when maps are asked about some packets
        only. `mirrors`: whether blocks stand in the SPD, if that was decided before; it holds for all changes.

        Conflicts are decided as documented and not told here: `check` tells them. Raises PolicyError when they
        have more negotiate filters than there are reqids, or more filters than a policy may become.
        """
        assert policies.in_force
        self.policies, self.facts = policies.in_force, facts
        self.ground = ground_of(facts, policies.config.ipsecexempt, mirrors=False)
        self.generics: dict[int, Generic] = {
            one.number: one for one in bounded(generic_filters(self.policies) if generics is None else generics)
        }
        self._expansion = Expansion(facts, unresolved_of(self.policies))
        self.reqids = Reqids() if known is None else known.copy()
        filters = expanded(self.generics.values(), self._expansion)
        numbered = self.reqids.give(filters, self.generics)
        answering = protect.default_names(self.policies)
        self.reqids.assign(answering.values())
        self._answering = {family: self.reqids[name] for family, name in answering.items()}
        self.reqids.keep([*(one.reqid for one in numbered), *self._answering.values()])
        self.layers = sort_into_layers(numbered)
        self.maps = Maps(worth)
        self.maps.fill(self.layers)
        self._speakers = Speakers(self.generics.values())
        self._spd: spd.Database | None = None
        self._fill(policies.config.mirror_blocks and mirroring.are_few(self.regions()) if mirrors is None else mirrors)
        if self.ground.mirrors and mirrors is None and not mirroring.is_cheap(self.wildcards()):
            self._fill(False)
        self.plan = self._plan(self._table())

    # What is in it

    def regions(self) -> Iterator[SpecificFilter]:
        """All regions, in the order of their layers."""
        return chain.from_iterable(layer.regions() for layer in self.layers.values())

    def negotiated(self) -> list[SpecificFilter]:
        """The regions of negotiate filters, heaviest first."""
        return ranked(filter(_protects, self.regions()))

    def filters(self) -> Iterator[SpecificFilter]:
        """All specific filters before cutting."""
        return chain.from_iterable(layer.filters() for layer in self.layers.values())

    def overlaps(self) -> Iterator[Overlap]:
        """Filters of one class that met."""
        return chain.from_iterable(layer.overlaps() for layer in self.layers.values())

    def peers(self) -> Iterator[PadEntry]:
        """PAD entries of all negotiate filters, with repeats."""
        return protect.peers(self.negotiated(), self.generics, self.ground.own)

    def tunnel(self, generic: Generic) -> Ends:
        """Where the tunnel of a tunnel rule's filter ends."""
        return self._expansion.tunnel(generic)

    def wildcards(self) -> int:
        """SPD entries with the address any, in the direction and IP version that has the most of them."""
        return self._spd.wildcards() if self._spd else 0

    # Making the Plan

    def _fill(self, mirrors: bool) -> None:
        self.ground, self._spd = self.ground._replace(mirrors=mirrors), None
        if any(
            map(self._stands_in_spd, self.filters())
        ):  # also such as heavier ones hide now, and a change may uncover
            self._spd = spd.filled(self.ground, self._regions_of)

    def _stands_in_spd(self, one: SpecificFilter) -> bool:
        return _protects(one) or (self.ground.mirrors and one.verdict is Verdict.BLOCK)

    def _table(self) -> NftTable:
        guarded = self.ground.own if _restricts_me(self.generics.values()) else None
        responds = protect.responder(self.policies) is not None
        return nft.table(self.maps, self.ground.groups, guarded, self.ground.level, responds=responds)

    def _plan(self, table: NftTable) -> Plan:
        return Plan(
            policy=" + ".join(policy.name for policy in self.policies),
            filters=View(lambda: tuple(ranked(self.regions()))),
            nft=table,
            spd=View(lambda: self._spd.entries() if self._spd else ()),
            protect=View(self._protected),
            pad=View(lambda: (*pad.entries(self.peers()), *(entry for _, entry in self._answers()))),
            local=self.ground.own,
            groups=self.ground.groups,
            ipsecexempt=self.ground.level,
            mirrored=self.ground.mirrors,
        )

    def _protected(self) -> tuple[ProtectPolicy, ...]:
        found = protect.policies(self.negotiated(), self.generics, self.ground.own)
        return (*found, *(one for one, _ in self._answers()))

    def _answers(self) -> Iterator[tuple[ProtectPolicy, PadEntry]]:
        return protect.default_response(self.policies, self._answering)

    # Changing it

    def refresh(self, facts: HostFacts) -> PlanDelta | None:
        """Follow new facts, as far as that touches few filters. None: compile anew; nothing was changed.

        Raises TooMuchError: compile anew as well, and this Compilation is of no more use. PolicyErrors when the policy
        becomes too large; nothing was changed.
        """
        prospect = self.prospect(facts)
        return None if prospect is None else self.follow(prospect)

    def prospect(self, facts: HostFacts) -> Prospect | None:
        """The larger part of `refresh`: what will change. It may run beside whoever only looks at the Plan."""
        moved, ground = moves(self.facts, facts), ground_of(facts, self.ground.level, mirrors=self.ground.mirrors)
        tunnels = moved is not None or facts.redirects != self.facts.redirects
        touched = self._speakers.of(changed_words(self.facts, facts), moved=tunnels)
        if 2 * len(touched) > MOST_CHANGED:
            return None
        before, after = self._expansion, Expansion(facts, unresolved_of(self.policies))
        going, coming = (dict.fromkeys(self._specifics(expansion, touched.values())) for expansion in (before, after))
        cancel(going, coming)
        gone, new = list[SpecificFilter](), list[SpecificFilter]()
        if moved is not None:
            mine = [one for one in speaking_of_me(self.generics.values()) if one.number not in touched]
            gone, new = self._mine(before, moved.gone, mine), self._mine(after, moved.new, mine)
        leave, enter = leaving(chain(going, gone), self.layers), arriving(chain(coming, new), self.layers)
        if len(leave.single) + len(enter.single) > MOST_CHANGED * 4:
            return None
        return Prospect(facts, after, ground, leave, enter, _restricts_me(touched.values()))

    def follow(self, prospect: Prospect) -> PlanDelta:
        """The rest of `refresh`, to the facts of the prospect. Raises TooMuchError."""
        self.facts, self._expansion = prospect.facts, prospect.expansion
        return self._exchange(prospect.leave, prospect.enter, prospect.ground, guards=prospect.guards)

    def change(self, gone: Sequence[Generic], new: Sequence[Generic]) -> PlanDelta | None:
        """Take filters out of the policy and put others in, under numbers that no other has. As `refresh` otherwise."""
        if len(gone) + len(new) > MOST_CHANGED:
            return None
        going, coming = (dict.fromkeys(self._specifics(self._expansion, side)) for side in (gone, new))
        cancel(going, coming)
        for one in gone:
            del self.generics[one.number]
        self.generics.update((one.number, one) for one in new)
        self._speakers.leave(gone)
        self._speakers.enter(new)
        leave, enter = Crowd({}, list(going)), Crowd({}, list(coming))
        return self._exchange(leave, enter, self.ground, guards=_restricts_me((*gone, *new)))

    def _specifics(self, expansion: Expansion, generics: Collection[Generic]) -> list[SpecificFilter]:
        """The specific filters of some, with reqids."""
        found = (one for generic in generics for one in expansion.specifics(generic))
        return self.reqids.give(found, {generic.number: generic for generic in generics})

    def _mine(self, expansion: Expansion, own: Own, generics: Collection[Generic]) -> list[SpecificFilter]:
        """What filters of `me` have for these addresses."""
        return self._specifics(expansion.of_me(own), generics) if any(own.values()) else []

    def _exchange(self, leave: Crowd, enter: Crowd, ground: Ground, *, guards: bool) -> PlanDelta:
        """`guards`: filters that protect or block what speaks of `me` come or go."""
        if self._spd is None and any(map(self._stands_in_spd, chain(enter.single, enter.regions()))):
            self._spd = spd.filled(self.ground, self._regions_of)
        self.maps.begin()
        if self._spd is not None:
            self._spd.begin(self._regions_of)
        gone, new = exchange(self.layers, self.maps, leave, enter)
        elements, structure = self.maps.end()
        spd_gone, spd_new = self._spd.change(gone, new, ground) if self._spd is not None else ((), ())
        moved, self.ground = ground != self.ground, ground
        for part in (self.plan.filters, self.plan.spd, self.plan.protect, self.plan.pad):
            assert isinstance(part, View)
            part.renew()
        if structure or guards or moved:
            table, before = self._table(), self.plan.nft
            structure = structure or table.chains != before.chains
            elements |= element_changes(before, table)
            if structure or moved:
                self.plan = replace(self.plan, nft=table, local=ground.own, groups=ground.groups)
        negotiates = moved or any(map(_protects, chain(gone, new)))
        return PlanDelta(elements, structure, spd_gone, spd_new, negotiates)

    def _regions_of(self, inbound: bool) -> Iterator[SpecificFilter]:
        """The regions of one direction, lightest first."""
        layers = sorted(key for key in self.layers if key[0] == inbound)
        return chain.from_iterable(self.layers[key].regions() for key in layers)


def _protects(one: SpecificFilter) -> bool:
    return one.verdict is Verdict.NEGOTIATE


def _restricts_me(generics: Iterable[Generic]) -> bool:
    """Does a filter that protects or blocks speak of `me`?"""
    return any(
        AddressWord.ME in (one.filter.src, one.filter.dst)
        for one in generics
        if BY_ACTION[one.rule.filter_action.action].verdict is not Verdict.PERMIT
    )


def compile_policy(policies: PolicySet, facts: HostFacts, *, worth: Worth = WORTH) -> Plan:
    """Compile the policies in force for a host with these facts; without any the Plan is empty.

    Conflicts are decided as documented and not told here: `check` tells them. Raises PolicyError when they have
    more negotiate filters than there are reqids.
    """
    if not policies.in_force:
        return NO_PLAN
    with collector_paused():
        return Compilation(policies, facts, worth=worth).plan


NO_PLAN: Final = Plan("", (), NftTable((), (), nft.COUNTERS), (), (), ())
"""Nothing is assigned, nothing is filtered."""
