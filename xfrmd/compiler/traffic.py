# SPDX-License-Identifier: GPL-2.0-or-later
"""The difference between two Plans in traffic: disjoint boxes of packets whose fate differs, and how.

Space is cut in two again and again, and both Plans' layers with it. A part is done when neither Plan has a layer there
that the other lacks, when all layers there mean the same, or when one layer of each Plan covers it. So the work
follows what differs, not what the Plans hold.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from xfrmd.compiler.boxes import PROTOCOLS, Box, Cut, halves, halving, joined, possible, separating, whole
from xfrmd.compiler.decisions import PASSES, Decided, Layer, Meaning, Scene, left_out, scenes
from xfrmd.compiler.regions import Region, regions
from xfrmd.model.addresses import Prefix
from xfrmd.model.pad import AuthMethod, PadEntry, PskAuth, RootcaAuth
from xfrmd.model.plan import Plan, Verdict
from xfrmd.model.source import Span

LISTED: Final = 1000
"""Regions that are listed: more is a policy of its own, which nobody reads as a difference."""
WORK: Final = 5_000_000
"""Layers looked at, all parts summed: about ten seconds."""
_PARTS: Final = 100_000
"""Parts that may differ before neighbours are joined: some seconds of joining."""
_FEW: Final = 2
"""So few layers are cut along the heaviest, which leaves least pieces; more in their middle, which is quick."""


class Kind(enum.Enum):
    """What a change means for packets. The order is that of telling: the gravest first."""

    NEW_CLEAR = "new-clear"
    """They may pass in the clear now, which they could not before."""
    UNPROTECTED = "unprotected"
    """They were negotiated, and pass without now."""
    LOST = "lost"
    """They passed, protected or not, and are dropped now."""
    GAINED = "gained"
    """They were dropped, and pass now, protected or not."""
    NEW_PROTECTED = "new-protected"
    """They passed unprotected, and are negotiated now."""
    CHANGED = "changed"
    """They are negotiated as before, in another way."""


Pair = tuple[Prefix, Prefix]


@dataclass(frozen=True, slots=True)
class Change:
    """A region of packets, the kinds of its change, and what decided and decides it."""

    inbound: bool
    family: int
    region: Region
    kinds: tuple[Kind, ...]
    old: Decided
    new: Decided


@dataclass(frozen=True, slots=True)
class Traffic:
    """How two Plans differ. Packets of one Change are in no other; packets in none fare alike, as far as `complete`."""

    changes: tuple[Change, ...]
    more: int
    """Changes that are not listed."""
    complete: bool
    """False: there was more to compare than is bearable, and there may be further changes."""
    peers: tuple[Pair, ...]
    """Address pairs, local and remote, whose authentication or main mode settings differ, sorted. Secrets are not
    compared.
    """
    default_response: bool
    """Do the default response rules differ, in methods, authentication or main mode settings, or does only one Plan
    have one? Secrets are not compared.
    """
    apart: tuple[str, ...]
    """Exemptions that hold in both: their packets pass whatever the filters say, and count for no change."""
    unanswered: tuple[str, ...] = ()
    """DNS names without an address of which the policies say different things: there may be further changes."""

    @property
    def equal(self) -> bool:
        """Does no packet fare otherwise, nor any negotiation?"""
        return self.complete and not (self.changes or self.peers or self.default_response or self.unanswered)

    def kinds(self) -> frozenset[Kind]:
        """All kinds of change that were found."""
        return frozenset(kind for one in self.changes for kind in one.kinds)


class _Part(NamedTuple):
    box: Box
    old: Sequence[Layer]
    new: Sequence[Layer]


def kinds_of(old: Meaning, new: Meaning) -> tuple[Kind, ...]:
    """The kinds of a change from one meaning to another; none when they are equal."""
    if old == new:
        return ()
    negotiated, negotiates = (one.verdict is Verdict.NEGOTIATE for one in (old, new))
    holds = {
        Kind.NEW_CLEAR: new.clear and not old.clear,
        Kind.UNPROTECTED: negotiated and new.verdict is Verdict.PERMIT,
        Kind.LOST: new.verdict is Verdict.BLOCK,
        Kind.GAINED: old.verdict is Verdict.BLOCK,
        Kind.NEW_PROTECTED: old.verdict is Verdict.PERMIT and negotiates,
        Kind.CHANGED: negotiated and negotiates,
    }
    return tuple(kind for kind, applies in holds.items() if applies)


class _Search:
    """Looks for the parts that differ, within bounds."""

    def __init__(self, work: int) -> None:
        self._left, self._parts = work, _PARTS
        self.complete = True

    def parts(self, scene: Scene) -> Iterator[tuple[Box, Decided, Decided]]:
        """Disjoint boxes in which one layer of each Plan decides, and not alike."""
        stack = [_Part(whole(scene.family), scene.old, scene.new)]
        while stack:
            box, old, new = stack.pop()
            self._left -= len(old) + len(new) + 1
            if self._left < 0 or not self._parts:
                self.complete = False
                return
            old, new = _visible(box, old), _visible(box, new)
            if not _may_differ(box, old, new):
                continue
            cut = _cut(box, old, new)
            if cut is None:
                self._parts -= 1
                yield box, _decided(old), _decided(new)
                continue
            for half, first in zip(reversed(halves(box, cut)), (False, True), strict=True):
                stack.append(_Part(half, _within(old, cut, first), _within(new, cut, first)))


def _visible(box: Box, layers: Sequence[Layer]) -> Sequence[Layer]:
    """The layers up to the first that covers the box: what lies behind it decides nothing there."""
    for index, one in enumerate(layers):
        if one.box.covers(box):
            return layers[: index + 1]
    return layers


def _covered(box: Box, layers: Sequence[Layer]) -> bool:
    return bool(layers) and layers[-1].box.covers(box)


def _may_differ(box: Box, old: Sequence[Layer], new: Sequence[Layer]) -> bool:
    """Is there a layer that only one Plan has, and more than one meaning?"""
    if not any(one.only for one in old) and not any(one.only for one in new):
        return False
    seen: Meaning | None = None
    for layers in (old, new):
        ends = () if _covered(box, layers) else (PASSES.meaning,)
        for meaning in (*ends, *(one.decided.meaning for one in layers)):
            if seen is not None and meaning != seen:
                return True
            seen = meaning
    return False


def _decided(layers: Sequence[Layer]) -> Decided:
    return layers[0].decided if layers else PASSES


def _cut(box: Box, old: Sequence[Layer], new: Sequence[Layer]) -> Cut | None:
    """Where to divide the box; None when the first layer of each Plan covers it, or there is none."""
    olds = old[:-1] if _covered(box, old) else old
    news = new[:-1] if _covered(box, new) else new
    only = [one for one in (*olds, *news) if one.only]
    boxes = [one.box for one in only or (*olds, *news)]
    if not boxes:
        return None
    middle = halving(box, boxes) if len(boxes) > _FEW else None
    return middle or separating(box, boxes[0])


def _within(layers: Sequence[Layer], cut: Cut, first: bool) -> list[Layer]:
    """The layers that reach into one half of what a cut divides."""
    dimension, at = cut
    if dimension == PROTOCOLS:
        wanted = at if first else ~at
        return [one for one in layers if one.box[PROTOCOLS] & wanted]
    if first:
        return [one for one in layers if one.box[dimension] < at]
    after = dimension + 1
    return [one for one in layers if one.box[after] >= at]


def _same(decided: Decided) -> tuple[object, ...]:
    """What two parts must share to be told as one: place and meaning."""
    origin = decided.filter.origin if decided.filter else None
    return (decided.meaning, decided.verdict, origin, decided.exemption)


class _Alike:
    """Parts in which the same decides in both Plans, by direction and IP version."""

    def __init__(self, old: Decided, new: Decided) -> None:
        self.old, self.new = old, new
        self.kinds = kinds_of(old.meaning, new.meaning)
        self._boxes: dict[tuple[bool, int], list[Box]] = {}

    def add(self, scene: Scene, box: Box) -> None:
        self._boxes.setdefault((scene.inbound, scene.family), []).append(box)

    def changes(self) -> list[Change]:
        """Packets that exist, in few regions."""
        return [
            Change(inbound, family, region, self.kinds, self.old, self.new)
            for (inbound, family), boxes in sorted(self._boxes.items())
            for region in regions(box for box in map(possible, joined(boxes)) if box is not None)
        ]


def _order(changes: Sequence[Change]) -> tuple[object, ...]:
    """The gravest first. Those that have the same origins stay together."""
    first = changes[0]
    kinds = tuple(tuple(Kind).index(kind) for kind in first.kinds)
    return (kinds, first.inbound, first.family, first.region)


def _settings(one: PadEntry) -> tuple[object, ...]:
    """How a peer is authenticated and with which main mode settings, secrets aside."""
    ppk = (one.ppk.id, one.ppk.required) if one.ppk is not None else None
    return (tuple(map(_kind, one.auth)), one.local_id, one.remote_id, one.main_mode, ppk)


def _kind(method: AuthMethod) -> tuple[object, ...]:
    """A method without what is secret in it, and without our own certificate, which may be renewed."""
    if isinstance(method, PskAuth):
        return (PskAuth,)
    return (RootcaAuth, method.authority, method.name, method.exclude_ca_name, method.crl_check, method.fetch)


def _answering(plan: Plan) -> set[tuple[str, Span]]:
    """Name and place of the default response rule: a rule may have its name, and filters its addresses."""
    return {(one.origin.rule, one.origin.at) for one in plan.protect if one.responds}


def _peers(old: Plan, new: Plan) -> tuple[Pair, ...]:
    """Address pairs that only one has, or each in another way."""
    before, after = (
        {(one.local, one.remote): _settings(one) for one in plan.pad if (one.rule, one.at) not in answering}
        for plan in (old, new)
        for answering in (_answering(plan),)
    )
    return tuple(sorted(pair for pair in {*before, *after} if before.get(pair) != after.get(pair)))


def _responses(plan: Plan) -> list[object]:
    """All that the default response rule says: methods, authentication and main mode settings."""
    rule = _answering(plan)
    methods = [(one.proposals, one.pfs) for one in plan.protect if one.responds]
    return [*methods, *(_settings(one) for one in plan.pad if (one.rule, one.at) in rule)]


def traffic(old: Plan, new: Plan, work: int = WORK, listed: int = LISTED, unanswered: tuple[str, ...] = ()) -> Traffic:
    """What becomes of packets when `new` takes the place of `old`. Raises nothing: what cannot be compared within
    bounds is told as `complete` False and `more`. `unanswered`: names that cannot be compared (compiler/unanswered.py).
    """
    search, alike = _Search(work), dict[tuple[object, ...], _Alike]()
    for scene in scenes(old, new):
        for box, before, after in search.parts(scene):
            alike.setdefault((_same(before), _same(after)), _Alike(before, after)).add(scene, box)
    groups = sorted(filter(None, (one.changes() for one in alike.values())), key=_order)
    found = [*chain.from_iterable(groups)]
    return Traffic(
        changes=tuple(found[:listed]),
        more=max(len(found) - listed, 0),
        complete=search.complete,
        peers=_peers(old, new),
        default_response=_responses(old) != _responses(new),
        apart=left_out(old, new),
        unanswered=unanswered,
    )
