# SPDX-License-Identifier: GPL-2.0-or-later
"""Stable numbers that tie a negotiate filter to its SAs: a hash of the filter's words, not its place in a list."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from xfrmd import limits
from xfrmd.compiler.expand import Generic
from xfrmd.errors import PolicyError
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.store import Store
from xfrmd.policy.words import AddressSpec, AddressWord, Policy

_COUNT = limits.REQID_LAST - limits.REQID_FIRST + 1


def _words(spec: AddressSpec) -> str:
    if isinstance(spec, AddressWord):
        return spec.value
    return spec if isinstance(spec, str) else ",".join(map(str, spec))


def called(policy: Policy) -> str:
    """What a policy is called for its reqids: those of two stores may have the same name."""
    return f"{policy.name}\0persistent" if policy.store is Store.PERSISTENT else policy.name


def name_of(generic: Generic, family: int) -> str:
    """What a filter is called for its reqid: the same words in the same rule are the same filter.

    The two filters of a tunnel are called alike, whatever their rules: they share one SA pair.
    """
    one = generic.filter
    if generic.rule.tunnel is not None:
        return "\0".join((called(generic.policy), "tunnel", str(family), *sorted((_words(one.src), _words(one.dst)))))
    ports = ";".join(",".join(map(str, side)) for side in (one.sports, one.dports))
    parts = (called(generic.policy), generic.rule.name, str(family), _words(one.src), _words(one.dst))
    return "\0".join((*parts, str(one.protocol), ports, str(one.mirrored)))


class Reqids:
    """Who has which number. A name that collides takes the next free one; who has one keeps it while it is used."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self._numbers: dict[str, int] = dict(known or {})
        self._taken = set(self._numbers.values())

    def copy(self) -> Reqids:
        """The same numbers, to go on with."""
        return Reqids(self._numbers)

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all but these numbers."""
        used = set(numbers)
        self._numbers = {name: number for name, number in self._numbers.items() if number in used}
        self._taken = set(self._numbers.values())

    def assign(self, names: Iterable[str]) -> None:
        """A number for each name, new ones in the order of their hashes.

        Raises PolicyError when there are more names than numbers.
        """
        fresh = {name for name in names if name not in self._numbers}
        if len(fresh) + len(self._taken) > _COUNT:
            count = len(fresh) + len(self._taken)
            raise PolicyError(f"{count} negotiate filters, but only {_COUNT} are possible; use subnets or port ranges")
        for digest, name in sorted((hashlib.blake2b(name.encode(), digest_size=8).digest(), name) for name in fresh):
            number = limits.REQID_FIRST + int.from_bytes(digest) % _COUNT
            while number in self._taken:
                number = limits.REQID_FIRST + (number - limits.REQID_FIRST + 1) % _COUNT
            self._numbers[name] = number
            self._taken.add(number)

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def give(self, filters: Iterable[SpecificFilter], generics: Mapping[int, Generic]) -> list[SpecificFilter]:
        """The filters, those that negotiate with their number: one per filter and IP version."""
        found = list(filters)
        negotiated = {(one.number, one.selector.family): "" for one in found if one.verdict is Verdict.NEGOTIATE}
        for key in negotiated:
            negotiated[key] = name_of(generics[key[0]], key[1])
        self.assign(negotiated.values())
        if not negotiated:
            return found
        return [
            one
            if one.verdict is not Verdict.NEGOTIATE
            else one._replace(reqid=self._numbers[negotiated[one.number, one.selector.family]])
            for one in found
        ]


def number(names: Iterable[str]) -> dict[str, int]:
    """A reqid for each name, of names that have none yet. Raises PolicyError when there are more than numbers."""
    wanted, made = [*names], Reqids()
    made.assign(wanted)
    return {name: made[name] for name in wanted}
