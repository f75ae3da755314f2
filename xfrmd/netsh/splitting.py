# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters of ours as filters that netsh can say: one block of addresses at each end, one port or any.

A list of ports is as many filters here as there. A range is one filter that weighs as its width: as several filters it
weighs more, and could decide packets that another rule decides now. It is split only where no packet is decided
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.compiler.weight import range_length, weigh
from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.plan import Weight
from xfrmd.model.selector import Ports
from xfrmd.netsh.values import BadValue
from xfrmd.policy.words import AddressSpec, AddressWord, Filter, Policy, Rule


def count(one: Filter) -> int:
    """How many filters of netsh stand for a filter."""
    number = 1
    for spec in (one.src, one.dst):
        number *= len(spec) if isinstance(spec, tuple) else 1
    for ports in (one.sports, one.dports):
        number *= sum(1 if each.is_any else each.width for each in ports)
    return number


def is_range(one: Filter) -> bool:
    """Is there a range in it, of addresses or of ports?"""
    ports = any(each.width > 1 and not each.is_any for each in (*one.sports, *one.dports))
    return ports or any(isinstance(spec, tuple) and len(spec) > 1 for spec in (one.src, one.dst))


def pieces(one: Filter) -> Iterator[Filter]:
    """Those filters."""
    ends = (_blocks(one.src), _blocks(one.dst), _single(one.sports), _single(one.dports))
    for src, dst, sport, dport in product(*ends):
        yield replace(one, src=src, dst=dst, sports=(sport,), dports=(dport,))


def _blocks(spec: AddressSpec) -> tuple[AddressSpec, ...]:
    return tuple((prefix,) for prefix in sorted(spec)) if isinstance(spec, tuple) else (spec,)


def _single(ports: tuple[Ports, ...]) -> list[Ports]:
    found: dict[Ports, None] = {}
    for each in ports:
        numbers = [each] if each.is_any else [Ports(n, n) for n in range(each.first, each.last + 1)]
        found |= dict.fromkeys(numbers)
    return list(found)


_ME_BOTH: Final = (AddressWord.ME, AddressWord.ME)


class _Way(NamedTuple):
    """A filter in one direction and IP version, with one pair of its ranges of ports."""

    family: int
    turned: bool
    """The mirrored way."""
    src: AddressSpec
    dst: AddressSpec
    protocol: int
    sport: Ports
    dport: Ports
    weight: Weight


def _length(spec: AddressSpec, family: int) -> int | None:
    """The prefix length that one end weighs as in an IP version; None when it has no address there."""
    bits = BITS[family]
    if spec is AddressWord.ANY:
        return 0
    if not isinstance(spec, tuple):
        return bits
    ours = [prefix for prefix in spec if prefix.family == family]
    return range_length(bits, sum(1 << (bits - prefix.length) for prefix in ours)) if ours else None


def _ways(one: Filter) -> Iterator[_Way]:
    for family in BITS:
        src, dst = _length(one.src, family), _length(one.dst, family)
        if src is None or dst is None:
            continue
        for sport, dport in product(one.sports, one.dports):
            weight = weigh(src, dst, one.protocol, sport, dport)
            yield _Way(family, False, one.src, one.dst, one.protocol, sport, dport, weight)
            if one.mirrored:
                weight = weigh(dst, src, one.protocol, dport, sport)
                yield _Way(family, True, one.dst, one.src, one.protocol, dport, sport, weight)


def _meet(one: AddressSpec, other: AddressSpec) -> bool:
    """Can an address be in both, on some host?"""
    if not (isinstance(one, tuple) and isinstance(other, tuple)):
        return True
    return any(_overlap(a, b) for a in one for b in other)


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.family == other.family and one.value <= other.last and other.value <= one.last


def _overlap_ports(one: Ports, other: Ports) -> bool:
    return one.first <= other.last and other.first <= one.last


class Rivals:
    """The filters of a policy, by which of them a split could be felt."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ways: list[tuple[Rule, list[tuple[_Way, Filter]]]] | None = None
        self._compared = 0

    def felt(self, rule: Rule, one: Filter) -> Filter | None:
        """A filter of another rule that would decide packets otherwise once this one is split; None when there is
        none. Raises BadValue when that takes too long to find out.
        """
        if not rule.active:
            return None
        if self._ways is None:
            rules = [rule for rule in self._policy.rules if rule.active]
            self._ways = [
                (rule, [(way, one) for one in rule.filter_list.filters for way in _ways(one)]) for rule in rules
            ]
        mine = list(_ways(one))
        heaviest: dict[tuple[int, bool], Weight] = {}
        for way in (way for piece in pieces(one) for way in _ways(piece)):
            key = (way.family, way.turned)
            heaviest[key] = max(heaviest.get(key, way.weight), way.weight)
        for other, ways in self._ways:
            if other is rule:
                continue
            self._compared += len(mine) * len(ways)
            if self._compared > limits.NETSH_COMPARISONS:
                raise BadValue("too many ranges stand among too many filters", "write subnets and single ports")
            for its, rival in ways:
                if any(_felt(way, its, heaviest) for way in mine):
                    return rival
        return None


def _felt(way: _Way, rival: _Way, heaviest: Mapping[tuple[int, bool], Weight]) -> bool:
    """Do both decide some packet, the way as it is for the rival, and its heaviest piece not?"""
    if rival.family != way.family or not way.weight <= rival.weight <= heaviest[way.family, way.turned]:
        return False
    if way.protocol and rival.protocol and way.protocol != rival.protocol:
        return False
    if _ME_BOTH in ((way.src, rival.dst), (way.dst, rival.src)):
        return False  # one is of packets that leave the host, the other of those that come
    ports = _overlap_ports(way.sport, rival.sport) and _overlap_ports(way.dport, rival.dport)
    return ports and _meet(way.src, rival.src) and _meet(way.dst, rival.dst)
