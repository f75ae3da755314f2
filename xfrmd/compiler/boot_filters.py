# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy blocks and protects, for a start of the system at which this host's addresses may be others.

The boot filter is compiled when a policy comes in force, and holds at the next start, before anything is known of the
host. So what a filter means then depends on the policy, and not on today's facts:

- `me` is any address. The direction says which end is the host: what it forwards is dropped, so that all that goes out
  is its own, and all that comes in is for it. A filter with `me` weighs as in the policy.
- Words for servers (`dns-servers`, ...) may stand for any address: block and negotiate filters with them block towards
  all addresses, permit filters mean nothing. A permit filter whose `me` is some interfaces only means nothing as well.
- A DNS name stands for the addresses that it has now, as the daemon goes on with them too; under `unresolved: block`
  it is as a word for servers.
- Negotiate filters block: no SA can be there yet. Tunnel rules' filters block in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.bulk import sort_into_layers
from xfrmd.compiler.expand import (
    UNKNOWN_HOST,
    End,
    Generic,
    generic_filters,
    one_way,
    protocol_in,
    resolve,
    unresolved_of,
)
from xfrmd.compiler.maps import SIDES, Maps
from xfrmd.compiler.size import bounded
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import NftMap
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.policy.words import AddressSpec, AddressWord, ConnectionType, Policy, Unresolved

_ELEMENTS: Final = {"accept": "return", "return": "drop", "drop": "drop"}
"""What an element does while the system starts, by what it does in the policy's own table. `return`: the policy does
not forbid the packet, so that the boot mode decides.
"""


class _Expansion:
    """Expands the filters of policies for no host in particular. `names` are the addresses of DNS names."""

    def __init__(self, policies: Sequence[Policy], names: HostFacts) -> None:
        self._names = names
        self._keeps = unresolved_of(policies) is Unresolved.KEEP

    def _is_certain(self, spec: AddressSpec, generic: Generic) -> bool:
        """Will it stand for the same at the next start, whatever the host is then?"""
        if spec is AddressWord.ME:
            return generic.rule.conntype is ConnectionType.ALL
        return isinstance(spec, tuple) or spec is AddressWord.ANY or (self._keeps and isinstance(spec, str))

    def _ends(self, spec: AddressSpec, generic: Generic) -> tuple[End, ...]:
        if spec is AddressWord.ME or not self._is_certain(spec, generic):
            return UNKNOWN_HOST
        return resolve(spec, self._names, frozenset())

    def specifics(self, generic: Generic) -> Iterator[SpecificFilter]:
        """All specific filters of one generic filter."""
        one, verdict = generic.filter, BY_ACTION[generic.rule.filter_action.action].verdict
        if one.src is AddressWord.ME and one.dst is AddressWord.ME:
            return
        if not (self._is_certain(one.src, generic) and self._is_certain(one.dst, generic)):
            if verdict is Verdict.PERMIT:
                return
            verdict = Verdict.BLOCK  # also where `inpass` would let clear packets in
        destinations = self._ends(one.dst, generic)
        for src in self._ends(one.src, generic):
            protocol = protocol_in(src.family, one)
            for dst in destinations if protocol is not None else ():
                if dst.family == src.family:
                    assert protocol is not None
                    yield from one_way(generic, verdict, (src, dst), protocol)


def boot_maps(policies: Sequence[Policy], facts: HostFacts) -> dict[str, tuple[NftMap, ...]]:
    """Verdict maps by direction ("in", "out"), in the order in which they are asked: drop what the policies block or
    protect, return otherwise.

    Raises PolicyErrors when they become too many filters this way, or too many that overlap.
    """
    expansion = _Expansion(policies, facts)
    generics = bounded(generic_filters(policies))
    layers = sort_into_layers([one for generic in generics for one in expansion.specifics(generic)])
    maps = Maps()
    maps.fill(layers)
    return {side: tuple(map(_at_boot, filter(_filled, maps.asked(inbound)))) for inbound, side in SIDES.items()}


def _filled(one: NftMap) -> bool:
    return bool(one.elements)


def _at_boot(one: NftMap) -> NftMap:
    return replace(one, elements={key: _ELEMENTS[verdict] for key, verdict in one.elements.items()}, counted=False)
