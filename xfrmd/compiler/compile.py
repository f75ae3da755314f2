# SPDX-License-Identifier: GPL-2.0-or-later
"""From a policy and the host's facts to its Plan, whole or change by change. Equal input gives an equal Plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, NamedTuple

from xfrmd.compiler import nft, pad, protect, spd
from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.bulk import sort_into_layers
from xfrmd.compiler.exempt import groups, groups_exempt, spd_selectors
from xfrmd.compiler.expand import Expansion, Generic, generic_filters, unresolved_of
from xfrmd.compiler.layers import Layer, Overlap, rank
from xfrmd.compiler.maps import Maps
from xfrmd.compiler.reqids import Reqids
from xfrmd.compiler.size import bounded, expanded
from xfrmd.compiler.tunnels import Ends
from xfrmd.compiler.views import View
from xfrmd.compiler.weight import class_of
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, InterfaceAddress, InterfaceKind
from xfrmd.model.nft import NftTable
from xfrmd.model.pad import PadEntry
from xfrmd.model.plan import Plan, PlanDelta, ProtectPolicy, SpecificFilter, Verdict
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import AddressSpec, AddressWord, PolicySet

_FACTS: Final = frozenset(AddressWord) - {AddressWord.ME, AddressWord.ANY}
"""Words whose addresses change while the host's own stay."""
MOST_CHANGED: Final = 500
"""Generic filters that are changed one by one; with more of them, compiling anew is as quick."""


class Ground(NamedTuple):
    """What everything is compiled on: this host's addresses, multicast and broadcast, and the `ipsecexempt`."""

    own: tuple[Address, ...]
    groups: tuple[Prefix, ...]
    level: int

    @property
    def exempting(self) -> tuple[tuple[Address, ...], int, tuple[Prefix, ...]]:
        """What says which packets are exempt: addresses, level, groups."""
        return self.own, self.level, self.groups


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
    ) -> None:
        """Compile. `known` gives filters that have reqids already the same again, so that their SAs stay. `generics`
        are compiled in the place of the policies' filters, if given.

        Conflicts are decided as documented and not told here: `check` tells them. Raises PolicyError when they
        have more negotiate filters than there are reqids, or more filters than a policy may become.
        """
        assert policies.in_force
        self.policies, self.facts = policies.in_force, facts
        self.ground = Ground(tuple(sorted(facts.own_addresses())), groups(facts), policies.config.ipsecexempt)
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
        self.maps = Maps()
        self.maps.fill(self.layers)
        self._by_word: dict[object, dict[int, Generic]] = {}
        _enter(self._by_word, self.generics.values())
        self._spd: spd.Database | None = None
        if any(map(_protects, self.filters())):  # also such as heavier filters hide now, and a change may uncover
            dropped = () if groups_exempt(self.ground.level) else self.ground.groups
            self._spd = spd.Database(dropped, spd_selectors(*self.ground.exempting))
            self._spd.fill(self._regions_of)
        self.plan = self._plan(self._table())

    # What is in it

    def regions(self) -> Iterator[SpecificFilter]:
        """All regions, in the order of their layers."""
        return chain.from_iterable(layer.regions() for layer in self.layers.values())

    def negotiated(self) -> list[SpecificFilter]:
        """The regions of negotiate filters, heaviest first."""
        return sorted(filter(_protects, self.regions()), key=rank)

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

    def _table(self) -> NftTable:
        guarded = self.ground.own if _restricts_me(self.generics.values()) else None
        responds = protect.responder(self.policies) is not None
        return nft.table(self.maps, self.ground.groups, guarded, self.ground.level, responds=responds)

    def _plan(self, table: NftTable) -> Plan:
        return Plan(
            policy=" + ".join(policy.name for policy in self.policies),
            filters=View(lambda: tuple(sorted(self.regions(), key=rank))),
            nft=table,
            spd=View(lambda: self._spd.entries() if self._spd else ()),
            protect=View(self._protected),
            pad=View(lambda: (*pad.entries(self.peers()), *(entry for _, entry in self._answers()))),
            local=self.ground.own,
            groups=self.ground.groups,
            ipsecexempt=self.ground.level,
        )

    def _protected(self) -> tuple[ProtectPolicy, ...]:
        found = protect.policies(self.negotiated(), self.generics, self.ground.own)
        return (*found, *(one for one, _ in self._answers()))

    def _answers(self) -> Iterator[tuple[ProtectPolicy, PadEntry]]:
        return protect.default_response(self.policies, self._answering)

    # Changing it

    def refresh(self, facts: HostFacts) -> PlanDelta | None:
        """Follow new facts, as far as that touches few filters. None: compile anew; nothing was changed.

        Raises TooMuchError: compile anew as well, and this Compilation is of no more use.
        """
        if _addressed(facts) != _addressed(self.facts):
            return None
        touched = self._speaking_of(changed_words(self.facts, facts))
        before, after = self._expansion, Expansion(facts, unresolved_of(self.policies))
        delta = self._exchange(touched, before, touched, after)
        if delta is not None:
            self.facts, self._expansion = facts, after
        return delta

    def change(self, gone: Sequence[Generic], new: Sequence[Generic]) -> PlanDelta | None:
        """Take filters out of the policy and put others in, under numbers that no other has. As `refresh` otherwise."""
        for one in new:
            self.generics[one.number] = one
        delta = self._exchange(gone, self._expansion, new, self._expansion)
        if delta is None:
            for one in new:
                del self.generics[one.number]
        else:
            for one in gone:
                for word in _words(one):
                    del self._by_word[word][one.number]
            _enter(self._by_word, new)
        return delta

    def _speaking_of(self, words: Iterable[AddressSpec]) -> list[Generic]:
        """Filters with one of these words; of a tunnel both, as an end of it may have moved."""
        found: dict[int, Generic] = {}
        for word in words:
            found |= self._by_word.get(word, {})
        return list(found.values())

    def _exchange(
        self, gone: Sequence[Generic], before: Expansion, new: Sequence[Generic], after: Expansion
    ) -> PlanDelta | None:
        if len(gone) + len(new) > MOST_CHANGED:
            return None
        going, coming = (
            dict.fromkeys(self.reqids.give(chain.from_iterable(map(expansion.specifics, side)), self.generics))
            for side, expansion in ((gone, before), (new, after))
        )
        for one in [one for one in going if one in coming]:
            del going[one], coming[one]
        if self._spd is None and any(map(_protects, coming)):
            return None
        for number in {one.number for one in gone} - {one.number for one in new}:
            del self.generics[number]
        return self._carry_out(list(going), list(coming), guards=_restricts_me((*gone, *new)))

    def _carry_out(self, going: list[SpecificFilter], coming: list[SpecificFilter], *, guards: bool) -> PlanDelta:
        """`guards`: filters that protect or block what speaks of `me` come or go."""
        self.maps.begin()
        if self._spd is not None:
            self._spd.begin(self._regions_of)
        net: Counter[SpecificFilter] = Counter()
        for step, filters in ((Layer.remove, going), (Layer.add, coming)):
            for one in filters:
                key = (one.inbound, class_of(one.weight))
                change = step(self.layers.setdefault(key, Layer()), one)
                self.maps.change(key, change)
                net.subtract(change.gone)
                net.update(change.new)
        gone, new = ([one for one, count in net.items() if count * sign > 0] for sign in (-1, 1))
        elements, structure = self.maps.end()
        spd_gone, spd_new = self._spd.change(gone, new) if self._spd is not None else ((), ())
        negotiates = any(map(_protects, (*gone, *new)))
        structure = self._renew(structure, guards)
        return PlanDelta(elements, structure, spd_gone, spd_new, negotiates)

    def _regions_of(self, inbound: bool) -> Iterator[SpecificFilter]:
        """The regions of one direction, lightest first."""
        layers = sorted(key for key in self.layers if key[0] == inbound)
        return chain.from_iterable(self.layers[key].regions() for key in layers)

    def _renew(self, structure: bool, guards: bool) -> bool:
        """Show in the Plan what holds now. Has the frame of the table changed?"""
        for part in (self.plan.filters, self.plan.spd, self.plan.protect, self.plan.pad):
            assert isinstance(part, View)
            part.renew()
        if not (structure or guards):
            return False
        table, before = self._table(), self.plan.nft
        self.plan = replace(self.plan, nft=table)
        return structure or table.chains != before.chains


def _words(one: Generic) -> Iterator[object]:
    """What a filter says that facts give a meaning, once each."""
    for word in {one.filter.src, one.filter.dst, one.rule.tunnel, one.back}:
        if word in _FACTS or isinstance(word, str):
            yield word


def _enter(by_word: dict[object, dict[int, Generic]], generics: Iterable[Generic]) -> None:
    for one in generics:
        ends = (one.filter.src, one.filter.dst)
        if one.rule.tunnel is None and all(type(end) is tuple or end is AddressWord.ME for end in ends):
            continue  # as nearly all of a hundred thousand are
        for word in _words(one):
            by_word.setdefault(word, {})[one.number] = one


def _addressed(facts: HostFacts) -> list[tuple[InterfaceKind, tuple[InterfaceAddress, ...]]]:
    """What of the interfaces has a meaning: those without addresses, such as a container's, come and go."""
    return [(one.kind, one.addresses) for one in facts.interfaces if one.addresses]


def changed_words(before: HostFacts, after: HostFacts) -> list[AddressSpec]:
    """What policies can say that stands for other addresses now."""
    pairs = (
        (AddressWord.DNS_SERVERS, before.dns_servers, after.dns_servers),
        (AddressWord.WINS_SERVERS, before.wins_servers, after.wins_servers),
        (AddressWord.DHCP_SERVER, before.dhcp_servers, after.dhcp_servers),
        (AddressWord.DEFAULT_GATEWAY, before.default_gateways, after.default_gateways),
    )
    names = {*before.names, *after.names}
    return [
        *(word for word, old, new in pairs if old != new),
        *sorted(name for name in names if before.names.get(name) != after.names.get(name)),
    ]


def _protects(one: SpecificFilter) -> bool:
    return one.verdict is Verdict.NEGOTIATE


def _restricts_me(generics: Iterable[Generic]) -> bool:
    """Does a filter that protects or blocks speak of `me`?"""
    return any(
        AddressWord.ME in (one.filter.src, one.filter.dst)
        for one in generics
        if BY_ACTION[one.rule.filter_action.action].verdict is not Verdict.PERMIT
    )


def compile_policy(policies: PolicySet, facts: HostFacts) -> Plan:
    """Compile the policies in force for a host with these facts; without any the Plan is empty.

    Conflicts are decided as documented and not told here: `check` tells them. Raises PolicyError when they have
    more negotiate filters than there are reqids.
    """
    if not policies.in_force:
        return NO_PLAN
    with collector_paused():
        return Compilation(policies, facts).plan


NO_PLAN: Final = Plan("", (), NftTable((), (), nft.COUNTERS), (), (), ())
"""Nothing is assigned, nothing is filtered."""
