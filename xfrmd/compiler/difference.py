# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes from one Plan to the next, as filters come and go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xfrmd.model.plan import Plan, SpecificFilter, Verdict
from xfrmd.model.selector import Selector

SCHEMA = 1
"""Version of the JSON form; it grows when a field changes its meaning."""


class Decides(NamedTuple):
    """What a specific filter means for traffic, without where it comes from: two such are the same to a packet."""

    inbound: bool
    selector: Selector
    verdict: Verdict
    weight: str
    reqid: int
    inpass: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Filters that only one of two Plans has, heaviest first, and counts of what else differs.

    A filter that merely moved in the file is in neither. `spd`, `protect`, `pad` and `nft` count entries (nft: map
    elements) that only one of the two has, a changed one as two.
    """

    added: tuple[SpecificFilter, ...]
    removed: tuple[SpecificFilter, ...]
    spd: int = 0
    protect: int = 0
    pad: int = 0
    nft: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.spd or self.protect or self.pad or self.nft)

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {
            "schema": SCHEMA,
            "equal": not self,
            "added": [_line(one) for one in self.added],
            "removed": [_line(one) for one in self.removed],
            "changed": {"spd": self.spd, "protect": self.protect, "pad": self.pad, "nft": self.nft},
        }

    def __str__(self) -> str:
        if not self:
            return "no difference"
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{len(self.added)} filters added, {len(self.removed)} removed"
        yield from (f"- {_line(one)}" for one in self.removed)
        yield from (f"+ {_line(one)}" for one in self.added)
        yield (
            f"changed entries: {self.spd} security policies, {self.protect} negotiated filters, {self.pad} peers, "
            f"{self.nft} nftables elements"
        )


def _line(one: SpecificFilter) -> str:
    side = "in" if one.inbound else "out"
    inpass = " inpass" if one.inpass else ""
    return f"{side} {one.verdict.value}{inpass} {one.selector} [{one.origin.rule!r} at {one.origin.at}]"


def _filters(plan: Plan) -> dict[Decides, SpecificFilter]:
    return {
        Decides(one.inbound, one.selector, one.verdict, str(one.weight), one.reqid, one.inpass): one
        for one in plan.filters
    }


def _elements(plan: Plan) -> set[tuple[str, bytes, str]]:
    return {(one.name, key, verdict) for one in plan.nft.maps for key, verdict in one.elements.items()}


def _protect(plan: Plan) -> set[tuple[object, ...]]:
    return {(one.reqid, one.selectors, one.proposals, one.pfs, one.mode, one.soft, one.inpass) for one in plan.protect}


def _pad(plan: Plan) -> set[tuple[object, ...]]:
    return {(one.local, one.remote, one.auth, one.main_mode, one.local_id, one.remote_id) for one in plan.pad}


def compare(old: Plan, new: Plan) -> Difference:
    """What must change for `old` to become `new`."""
    before, after = _filters(old), _filters(new)
    return Difference(
        added=tuple(one for key, one in after.items() if key not in before),
        removed=tuple(one for key, one in before.items() if key not in after),
        spd=len(set(old.spd) ^ set(new.spd)),
        protect=len(_protect(old) ^ _protect(new)),
        pad=len(_pad(old) ^ _pad(new)),
        nft=len(_elements(old) ^ _elements(new)),
    )
