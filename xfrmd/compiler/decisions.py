# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Plan decides as layers of boxes, the first that holds a packet deciding it; and what two Plans' layers share.

A layer that both Plans have decides the same wherever it decides in both: two Plans can differ only where a packet
meets a layer that one of them alone has. Layers of equal weight are disjoint, so the weight is all of the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.compiler.boxes import Box, box_of
from xfrmd.compiler.exempt import Exemption, Near, exemptions
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


def _protections(plan: Plan, known: dict[Protection, Protection]) -> dict[int, Protection]:
    """What a Plan negotiates, by reqid. One object stands for all that are alike."""
    found = {}
    for one in plan.protect:
        seconds = one.soft_seconds if one.soft else 0
        made = Protection(one.proposals, one.pfs, one.mode, one.tunnel, one.soft, seconds)
        found[one.reqid] = known.setdefault(made, made)
    return found


class _Layers:
    """The layers of one Plan in one direction and IP version."""

    def __init__(self, plan: Plan, inbound: bool, family: int, protections: Mapping[int, Protection]) -> None:
        self._plan, self._inbound, self._family = plan, inbound, family
        self._protections = protections
        self._groups = tuple(group for group in plan.groups if group.family == family)

    def filters(self) -> Iterator[tuple[Key, Box, Decided]]:
        """Those of the filters, heaviest first."""
        for one in self._plan.filters:
            if one.inbound == self._inbound and one.selector.src.family == self._family:
                yield from self._of(one)

    def _of(self, one: SpecificFilter) -> Iterator[tuple[Key, Box, Decided]]:
        if one.verdict is not Verdict.NEGOTIATE:
            meaning = BLOCKED if one.verdict is Verdict.BLOCK else CLEAR
            yield self._layer(one, one.selector, meaning, one.verdict)
            return
        inpass = one.inpass and self._inbound
        for group in self._groups:
            if group.overlaps(one.selector.dst):
                met = one.selector._replace(dst=max(group, one.selector.dst, key=lambda prefix: prefix.length))
                meaning = CLEAR if inpass else BLOCKED
                yield self._layer(one, met, meaning, meaning.verdict)
        meaning = Meaning(Verdict.NEGOTIATE, inpass, self._protections.get(one.reqid))
        yield self._layer(one, one.selector, meaning, one.verdict)

    @staticmethod
    def _layer(one: SpecificFilter, selector: Selector, meaning: Meaning, verdict: Verdict) -> tuple[Key, Box, Decided]:
        # Protections that are alike are one object, so that comparing identities is enough, and quick.
        key = (one.weight, selector, meaning.verdict, meaning.inpass, id(meaning.protection))
        return key, box_of(selector), Decided(meaning, verdict, one)

    def exempt(self) -> dict[Key, tuple[Box, Decided]]:
        """Those of the exemptions; none without a policy."""
        found: dict[Key, tuple[Box, Decided]] = {}
        for row in exemptions(self._plan.ipsecexempt, self._plan.groups) if self._plan.policy else ():
            if row.inbound == self._inbound:
                for selector in self._exempt_selectors(row):
                    found[row.name, selector] = box_of(selector), Decided(CLEAR, Verdict.PERMIT, exemption=row.name)
        return found

    def _exempt_selectors(self, row: Exemption) -> Iterator[Selector]:
        for selector in row.selectors(self._plan.local):
            if selector.family != self._family:
                continue
            if row.near is not Near.DST:
                yield selector
                continue
            for address in self._plan.local:
                if address.family == self._family:
                    yield selector._replace(dst=Prefix.host(address))


def _marked(layers: Iterable[tuple[Key, Box, Decided]], others: set[Key]) -> Iterator[Layer]:
    for key, box, decided in layers:
        yield Layer(box, decided, key not in others)


def scenes(old: Plan, new: Plan) -> Iterator[Scene]:
    """Both directions and IP versions. What is exempt in both Plans is left out, as no filter is asked about it; the
    same holds for what one Plan exempts where the other has no policy.
    """
    known: dict[Protection, Protection] = {}
    before, after = _protections(old, known), _protections(new, known)
    for inbound in (False, True):
        for family in (4, 6):
            yield _scene(_Layers(old, inbound, family, before), _Layers(new, inbound, family, after), inbound, family)


def _scene(old: _Layers, new: _Layers, inbound: bool, family: int) -> Scene:
    olds, news = tuple(old.filters()), tuple(new.filters())
    old_keys, new_keys = {key for key, _, _ in olds}, {key for key, _, _ in news}
    old_exempt, new_exempt = old.exempt(), new.exempt()
    if not old_exempt or not new_exempt:
        old_exempt = new_exempt = {}
    return Scene(
        inbound,
        family,
        (*_only(old_exempt, new_exempt), *_marked(olds, new_keys)),
        (*_only(new_exempt, old_exempt), *_marked(news, old_keys)),
    )


def _only(these: dict[Key, tuple[Box, Decided]], others: dict[Key, tuple[Box, Decided]]) -> Iterator[Layer]:
    return (Layer(box, decided, True) for key, (box, decided) in these.items() if key not in others)


def left_out(old: Plan, new: Plan) -> tuple[str, ...]:
    """Names of the exemptions that are left out, sorted."""
    rows = [{row.name for row in exemptions(plan.ipsecexempt, plan.groups)} for plan in (old, new) if plan.policy]
    return tuple(sorted(set.intersection(*rows))) if rows else ()
