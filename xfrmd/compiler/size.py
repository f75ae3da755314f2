# SPDX-License-Identifier: GPL-2.0-or-later
"""How large a policy may become on a host: lists, ranges, `me` and rules that share a filter list multiply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from xfrmd import limits
from xfrmd.compiler.ports import blocks
from xfrmd.model.plan import SpecificFilter
from xfrmd.model.selector import Ports
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors

if TYPE_CHECKING:
    from xfrmd.compiler.expand import Expansion, Generic

_REMEDY: Final = (
    "write subnets in place of lists and odd ranges, port ranges that begin and end at powers of two or name one end "
    "only, and a filter list in one rule only"
)


@lru_cache(maxsize=4096)
def spread(sports: tuple[Ports, ...], dports: tuple[Ports, ...]) -> int:
    """What a pair of addresses with these ports becomes in the kernel: its blocks of ports."""
    return sum(len(blocks(one)) for one in sports) * sum(len(blocks(one)) for one in dports)


def too_large(generic: Generic) -> PolicyErrors:
    """The error about a policy that becomes too large with this filter."""
    message = f"with this filter, in rule {generic.rule.name!r}, the policy becomes more than {limits.SPECIFIC_FILTERS}"
    at = generic.filter.at
    return PolicyErrors((Problem(Severity.ERROR, at, f"{message} filters of the kernel on this host", _REMEDY),))


def check_overlaps(one: SpecificFilter, pairs: int) -> None:
    """Raise PolicyErrors when equally specific filters overlap in too many pairs, this filter's counted."""
    if pairs > limits.OVERLAPS:
        message = (
            f"with this filter, in rule {one.origin.rule!r}, more than {limits.OVERLAPS} pairs of equally specific"
        )
        remedy = "merge ranges that overlap, or cut them into such as do not"
        raise PolicyErrors((Problem(Severity.ERROR, one.origin.at, f"{message} filters overlap", remedy),))


def bounded(generics: Iterable[Generic]) -> Iterator[Generic]:
    """The generic filters. Raises PolicyErrors when they alone are too many."""
    for count, generic in enumerate(generics):
        if count >= limits.SPECIFIC_FILTERS:
            raise too_large(generic)
        yield generic


def expanded(generics: Iterable[Generic], expansion: Expansion) -> Iterator[SpecificFilter]:
    """The specific filters of all. Raises PolicyErrors when they become too many."""
    made = 0
    for generic in generics:
        one, found = generic.filter, expansion.specifics(generic)
        made += len(found) * spread(one.sports, one.dports) // (len(one.sports) * len(one.dports))
        if made > limits.SPECIFIC_FILTERS:
            raise too_large(generic)
        yield from found
