# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic between two hosts that one rule decides and another one authenticates, because it names narrower addresses.

IKE authenticates a pair of addresses once, for all ports. Of rules for the same pair the check makes an error; of pairs
within one another the narrowest holds, which is as it should be where its filters take all of the traffic too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from xfrmd.compiler import pad
from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.cut import subtract
from xfrmd.compiler.layers import rank
from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.pad import PadEntry
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.source import Problem, Severity
from xfrmd.model.store import Store

_PAIRS: Final = 20
"""Pairs of rules that are looked at: more are a way of writing, and each costs a walk over the policy."""
_MET: Final = 500
"""Filters between two addresses that are looked at, heaviest first: their square is the work."""
_STEPS: Final = 300
"""Heavier filters that are cut out of one filter; what is left then is not told. An IP protocol is one cut for each."""
_Table = dict[tuple[Prefix, Prefix], PadEntry]


def undercut(made: Compilation) -> Iterator[Problem]:
    """Warnings, one for each pair of rules, at the place of the rule whose authentication does not hold."""
    entries = pad.entries(made.peers())
    if len({pad.settings(one) for one in entries}) < 2:
        return
    seen: set[tuple[Store, str, Store, str]] = set()
    for narrow, wide in _nested(entries):
        pair = (narrow.store, narrow.rule, wide.store, wide.rule)
        if pair not in seen and len(seen) < _PAIRS:
            seen.add(pair)
            if _decides(made, wide, narrow):
                yield _problem(narrow, wide)


def _nested(entries: Iterable[PadEntry]) -> Iterator[tuple[PadEntry, PadEntry]]:
    """Entries within the addresses of another, next wider one, that authenticate otherwise. `entries`: narrowest
    first.
    """
    shapes: dict[tuple[int, int, int], _Table] = {}
    for one in reversed([*entries]):
        family, near, far = one.local.family, one.local.length, one.remote.length
        for (of, wide_near, wide_far), table in shapes.items():
            if of == family and wide_near <= near and wide_far <= far:
                wide = table.get((_cut(one.local, wide_near), _cut(one.remote, wide_far)))
                if wide is not None and pad.settings(wide) != pad.settings(one):
                    yield one, wide
        shapes.setdefault((family, near, far), {})[one.local, one.remote] = one


def _cut(prefix: Prefix, length: int) -> Prefix:
    low = BITS[prefix.family] - length
    return Prefix(prefix.family, prefix.value >> low << low, length)


def _decides(made: Compilation, wide: PadEntry, narrow: PadEntry) -> bool:
    """Does a filter of the wide entry's rule decide anything between the narrow entry's addresses?"""
    met = [
        one
        for one in made.regions()
        if not one.inbound and one.selector.src.overlaps(narrow.local) and one.selector.dst.overlaps(narrow.remote)
    ]
    met.sort(key=rank)
    return any(
        _left(one, met[:index], narrow)
        for index, one in enumerate(met[:_MET])
        if one.verdict is Verdict.NEGOTIATE
        and (one.origin.store, one.origin.rule) == (wide.store, wide.rule)
        and one.tunnel is None
    )


def _left(one: SpecificFilter, heavier: list[SpecificFilter], narrow: PadEntry) -> bool:
    """Is there a packet between these addresses that no heavier filter takes?"""
    src, dst = (
        max(ours, theirs, key=lambda prefix: prefix.length)
        for ours, theirs in ((one.selector.src, narrow.local), (one.selector.dst, narrow.remote))
    )
    waiting = [one.selector._replace(src=src, dst=dst)]
    for _ in range(_STEPS):
        if not waiting:
            return False
        part = waiting.pop()
        by = next((each for each in heavier if each.selector.overlaps(part)), None)
        if by is None:
            return True
        waiting += subtract(part, by.selector)
    return False


def _problem(narrow: PadEntry, wide: PadEntry) -> Problem:
    pair = " and ".join("any" if end.length == 0 else str(end) for end in (narrow.local, narrow.remote))
    return Problem(
        Severity.WARNING,
        wide.at,
        f"between {pair} traffic of rule {wide.rule!r} is authenticated as rule {narrow.rule!r} ({narrow.at}) says, "
        "which names narrower addresses",
        "give both rules the same authentication: IKE authenticates a pair of addresses once, for all ports. Or let "
        "the narrower rule's filters take all traffic of its addresses",
    )
