# SPDX-License-Identifier: GPL-2.0-or-later
"""Generic filters to specific ones: words become this host's addresses, mirrors and directions are written out.

- `me` is each of the host's addresses, on interfaces of the rule's connection type. A side that was `me` fixes the
  direction: as source the filter is outbound, as destination inbound. All other filters stand in both directions,
  also when a literal address happens to be the host's own.
- `any` is all addresses of each IP version that the other side leaves open.
- `me` on both sides gives nothing: such traffic never leaves the host.
- `icmp` without a type is ICMP in IPv4 and ICMPv6 in IPv6. With a type it is IPv4 only, as the numbers differ there;
  `icmpv6` is IPv6 only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.weight import range_length, weigh
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts, InterfaceKind
from xfrmd.model.plan import FilterOrigin, SpecificFilter
from xfrmd.model.selector import ICMP, ICMPV6, Selector
from xfrmd.model.source import Span
from xfrmd.policy.words import AddressSpec, AddressWord, ConnectionType, Filter, Policy, Rule

KINDS = {
    ConnectionType.ALL: frozenset(InterfaceKind),
    ConnectionType.LAN: frozenset({InterfaceKind.LAN}),
    ConnectionType.DIALUP: frozenset({InterfaceKind.DIALUP}),
}

Place = tuple[Span, str, Span]
"""Where a filter stands: place and name of its rule, then its own place. The smaller one wins between equals."""


class End(NamedTuple):
    """One side of a filter: prefixes of one family that belong together and the prefix length they weigh as."""

    prefixes: tuple[Prefix, ...]
    length: int

    @property
    def family(self) -> int:
        """IP version, 4 or 6."""
        return self.prefixes[0].family


@dataclass(frozen=True, slots=True)
class Generic:
    """A filter of the policy as its rule uses it."""

    rule: Rule
    filter: Filter
    origin: FilterOrigin

    @property
    def place(self) -> Place:
        """Decides between filters of equal weight: the smaller place wins."""
        return (self.rule.at, self.rule.name, self.filter.at)


class Expanded(NamedTuple):
    """A specific filter and the generic one that it comes from."""

    specific: SpecificFilter
    generic: Generic


def generic_filters(policy: Policy) -> Iterator[Generic]:
    """The filters of all active rules."""
    for rule in policy.rules:
        if not rule.active:
            continue
        for one in rule.filter_list.filters:
            origin = FilterOrigin(policy.name, rule.name, rule.filter_list.name, rule.filter_action.name, one.at)
            yield Generic(rule, one, origin)


def _hosts(addresses: tuple[Address, ...]) -> tuple[End, ...]:
    return tuple(End((Prefix.host(address),), BITS[address.family]) for address in addresses)


def _literal(prefixes: tuple[Prefix, ...]) -> Iterator[End]:
    """A range is several prefixes; it weighs as its whole width, wherever it is cut."""
    for family, bits in BITS.items():
        ours = tuple(prefix for prefix in prefixes if prefix.family == family)
        if ours:
            yield End(ours, range_length(bits, sum(1 << (bits - prefix.length) for prefix in ours)))


def resolve(spec: AddressSpec, facts: HostFacts, kinds: frozenset[InterfaceKind]) -> tuple[End, ...]:
    """The addresses behind one side of a filter; none when the facts know none."""
    if isinstance(spec, tuple):
        return tuple(_literal(spec))
    if isinstance(spec, str):
        return _hosts(facts.names.get(spec, ()))
    match spec:
        case AddressWord.ME:
            return _hosts(facts.own_addresses(kinds))
        case AddressWord.ANY:
            return tuple(End((Prefix.any(family),), 0) for family in BITS)
        case AddressWord.DNS_SERVERS:
            return _hosts(facts.dns_servers)
        case AddressWord.WINS_SERVERS:
            return _hosts(facts.wins_servers)
        case AddressWord.DHCP_SERVER:
            return _hosts(facts.dhcp_servers)
        case AddressWord.DEFAULT_GATEWAY:
            return _hosts(facts.default_gateways)


def protocol_in(family: int, one: Filter) -> int | None:
    """The protocol number a filter means in an IP version; None when it means nothing there."""
    if family == 6 and one.protocol == ICMP:
        typed = any(not ports.is_any for ports in one.sports + one.dports)
        return None if typed else ICMPV6
    if family == 4 and one.protocol == ICMPV6:
        return None
    return one.protocol


def _directions(one: Filter) -> tuple[bool, ...]:
    """Where the filter stands as written, before mirroring: True is inbound."""
    if one.src is AddressWord.ME:
        return (False,)
    if one.dst is AddressWord.ME:
        return (True,)
    return (False, True)


def _one_way(generic: Generic, src: End, dst: End, protocol: int) -> Iterator[SpecificFilter]:
    """The specific filters of one pair of ends and all port ranges, as written and mirrored."""
    one, action = generic.filter, generic.rule.filter_action
    verdict = BY_ACTION[action.action].verdict
    for from_, to, sport, dport in product(src.prefixes, dst.prefixes, one.sports, one.dports):
        ahead = Selector(from_, to, protocol, sport, dport)
        back = ahead.reversed
        ways = [(ahead, weigh(src.length, dst.length, protocol, sport, dport), False)]
        if one.mirrored:
            ways.append((back, weigh(dst.length, src.length, protocol, back.sport, back.dport), True))
        for (selector, weight, flipped), inbound in product(ways, _directions(one)):
            yield SpecificFilter(inbound ^ flipped, selector, verdict, weight, generic.origin, 0, action.inpass)


def expand_one(generic: Generic, facts: HostFacts) -> Iterator[SpecificFilter]:
    """All specific filters of one generic filter on a host with these facts. A filter may come up twice."""
    one = generic.filter
    if one.src is AddressWord.ME and one.dst is AddressWord.ME:
        return
    kinds = KINDS[generic.rule.conntype]
    destinations = resolve(one.dst, facts, kinds)
    for src in resolve(one.src, facts, kinds):
        protocol = protocol_in(src.family, one)
        if protocol is None:
            continue
        for dst in destinations:
            if dst.family == src.family:
                yield from _one_way(generic, src, dst, protocol)


def expand(policy: Policy, facts: HostFacts) -> tuple[Expanded, ...]:
    """All specific filters of a policy, in the order of the policy."""
    return tuple(
        Expanded(specific, generic) for generic in generic_filters(policy) for specific in expand_one(generic, facts)
    )
