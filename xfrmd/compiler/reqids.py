# SPDX-License-Identifier: GPL-2.0-or-later
"""Stable numbers that tie a negotiate filter to its SAs: a hash of the filter's words, not its place in a list."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from xfrmd import limits
from xfrmd.compiler.expand import Generic
from xfrmd.errors import PolicyError
from xfrmd.policy.words import AddressSpec, AddressWord

_COUNT = limits.REQID_LAST - limits.REQID_FIRST + 1


def _words(spec: AddressSpec) -> str:
    if isinstance(spec, AddressWord):
        return spec.value
    return spec if isinstance(spec, str) else ",".join(map(str, spec))


def name_of(generic: Generic, family: int) -> str:
    """What a filter is called for its reqid: the same words in the same rule are the same filter."""
    one = generic.filter
    ports = ";".join(",".join(map(str, side)) for side in (one.sports, one.dports))
    parts = (generic.origin.policy, generic.rule.name, str(family), _words(one.src), _words(one.dst))
    return "\0".join((*parts, str(one.protocol), ports, str(one.mirrored)))


def number(names: Iterable[str]) -> dict[str, int]:
    """A reqid for each name. Names that collide take the next free number, in the order of their hashes.

    Raises PolicyError when there are more names than numbers.
    """
    hashed = sorted((hashlib.blake2b(name.encode(), digest_size=8).digest(), name) for name in set(names))
    if len(hashed) > _COUNT:
        raise PolicyError(
            f"{len(hashed)} negotiate filters, but only {_COUNT} are possible; use subnets or port ranges"
        )
    taken: dict[int, str] = {}
    for digest, name in hashed:
        slot = int.from_bytes(digest) % _COUNT
        while slot in taken:
            slot = (slot + 1) % _COUNT
        taken[slot] = name
    return {name: limits.REQID_FIRST + slot for slot, name in taken.items()}
