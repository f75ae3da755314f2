# SPDX-License-Identifier: GPL-2.0-or-later
"""Generic filters to specific ones: words become this host's addresses, mirrors and directions are written out.

- `me` is each of the host's addresses, on interfaces of the rule's connection type. A side that was `me` fixes the
  direction: as source the filter is outbound, as destination inbound. All other filters stand in both directions,
  also when a literal address happens to be the host's own.
- `any` is all addresses of each IP version that the other side leaves open.
- `me` on both sides gives nothing: such traffic never leaves the host.
- `icmp` without a type is ICMP in IPv4 and ICMPv6 in IPv6. With a type it is IPv4 only, as the numbers differ there;
  `icmpv6` is IPv6 only.
- A tunnel rule's filter stands in one direction, that of its tunnel: outbound towards the far end, inbound towards an
  end of this host's. As long as no end is this host's, it blocks (compiler/tunnels.py).
- A DNS name without an answer gives nothing, or under `unresolved: block` stands for any address: a permit filter then
  gives nothing, the others block, and weigh as the host that they speak of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.compiler.actions import BY_ACTION
from xfrmd.compiler.blocks import is_icmp
from xfrmd.compiler.size import spread, too_large
from xfrmd.compiler.tunnels import Active, Ends, locate, ways_back
from xfrmd.compiler.weight import range_length, weigh_widths
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts, InterfaceKind
from xfrmd.model.plan import FilterOrigin, SpecificFilter, Verdict
from xfrmd.model.proposals import protocol_of
from xfrmd.model.selector import ICMP, ICMPV6, Selector
from xfrmd.policy.words import (
    AddressSpec,
    AddressWord,
    ConnectionType,
    Filter,
    Policy,
    Rule,
    TunnelEnd,
    Unresolved,
)

KINDS: Final = {
    ConnectionType.ALL: frozenset(InterfaceKind),
    ConnectionType.LAN: frozenset({InterfaceKind.LAN}),
    ConnectionType.DIALUP: frozenset({InterfaceKind.DIALUP}),
}
SPACING: Final = 1 << 20
"""Between the numbers of two filters: room for twenty that come between them, one after the other."""


class End(NamedTuple):
    """One side of a filter: prefixes of one family that belong together and the prefix length they weigh as."""

    prefixes: tuple[Prefix, ...]
    length: int

    @property
    def family(self) -> int:
        """IP version, 4 or 6."""
        return self.prefixes[0].family


class Generic(NamedTuple):
    """A filter of a policy as its rule uses it. Of equal weights the smaller number wins."""

    number: int
    rule: Rule
    filter: Filter
    origin: FilterOrigin
    policy: Policy
    back: TunnelEnd | None = None
    """The end that the other half of its tunnel names: where packets of the way back go."""


def _generic_of(number: int, policy: Policy, rule: Rule, one: Filter, back: TunnelEnd | None) -> Generic:
    origin = FilterOrigin(policy.name, rule.name, rule.filter_list.name, rule.filter_action.name, one.at, policy.store)
    return Generic(number, rule, one, origin, policy, back)


_made: Final = tuple.__new__
"""Makes a named tuple of a tuple without a call in between, which counts where there are hundreds of thousands."""


def generic_filters(policies: Iterable[Policy]) -> Iterator[Generic]:
    """The filters of all active rules: policies as given, rules by their place in the file, then filters by theirs."""
    number = 0
    for policy in policies:
        back = ways_back(policy)
        for rule in sorted(policy.rules, key=lambda rule: (rule.at, rule.name)):
            for one in sorted(rule.filter_list.filters, key=lambda one: one.at) if rule.active else ():
                end = None if rule.tunnel is None else back.get((rule.name, one.src, one.dst))
                yield _generic_of(number, policy, rule, one, end)
                number += SPACING


def unresolved_of(policies: Iterable[Policy]) -> Unresolved:
    """What names without an answer mean: a policy that fails closed there makes those beside it do so too."""
    blocks = any(policy.unresolved is Unresolved.BLOCK for policy in policies)
    return Unresolved.BLOCK if blocks else Unresolved.KEEP


def _hosts(addresses: tuple[Address, ...]) -> tuple[End, ...]:
    return tuple(End((Prefix.host(address),), BITS[address.family]) for address in addresses)


def _literal(prefixes: tuple[Prefix, ...]) -> Iterator[End]:
    """A range is several prefixes; it weighs as its whole width, wherever it is cut."""
    for family, bits in BITS.items():
        ours = tuple(prefix for prefix in prefixes if prefix.family == family)
        if ours:
            yield End(ours, range_length(bits, sum(1 << (bits - prefix.length) for prefix in ours)))


_ANY: Final = tuple(End((Prefix.any(family),), 0) for family in BITS)
UNKNOWN_HOST: Final = tuple(End((Prefix.any(family),), bits) for family, bits in BITS.items())
"""A host whose address is not known: it may be any, and weighs as the one that it is."""


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
            return _ANY
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


def directions(one: Filter) -> tuple[bool, ...]:
    """Where the filter stands as written, before mirroring: True is inbound."""
    if one.src is AddressWord.ME:
        return (False,)
    if one.dst is AddressWord.ME:
        return (True,)
    return (False, True)


class Expansion:
    """Expands filters of policies that are in force together, on a host with these facts."""

    def __init__(self, facts: HostFacts, unresolved: Unresolved) -> None:
        self._facts = facts
        self._blocks_unresolved = unresolved is Unresolved.BLOCK
        self._known: dict[tuple[AddressSpec, ConnectionType], tuple[End, ...]] = {}
        self._tunnels: dict[tuple[object, ...], Ends] = {}

    def of_me(self, own: Mapping[ConnectionType, tuple[Address, ...]]) -> Expansion:
        """The same where `me` is only these addresses, by the rule's connection type: a part of each filter of `me`."""
        found = Expansion(self._facts, Unresolved.BLOCK if self._blocks_unresolved else Unresolved.KEEP)
        found._known = {(AddressWord.ME, kind): _hosts(addresses) for kind, addresses in own.items()}
        return found

    def tunnel(self, generic: Generic) -> Ends:
        """Where the tunnel of a tunnel rule's filter ends on this host, and which way the filter's packets go in it."""
        rule = generic.rule
        key = (rule.tunnel, generic.back, rule.conntype, rule.redirects)
        found = self._tunnels.get(key)
        if found is None:
            kinds = KINDS[rule.conntype]
            found = self._tunnels[key] = locate(rule.tunnel, generic.back, self._facts, kinds, rule.redirects)
        return found

    def _ends(self, spec: AddressSpec, conntype: ConnectionType) -> tuple[End, ...]:
        if type(spec) is tuple and len(spec) == 1:  # the most of a large policy
            return (_made(End, (spec, spec[0].length)),)
        found = self._known.get((spec, conntype))
        if found is None:
            found = self._known[spec, conntype] = resolve(spec, self._facts, KINDS[conntype])
        return found

    def is_open(self, spec: AddressSpec) -> bool:
        """Is it a DNS name that has no answer, under a policy that blocks then?"""
        return self._blocks_unresolved and isinstance(spec, str) and not self._facts.names.get(spec)

    def specifics(self, generic: Generic) -> list[SpecificFilter]:
        """All specific filters of one generic filter, without reqids. A filter may come up twice.

        Raises PolicyErrors when they are more than a policy may become.
        """
        one, conntype = generic.filter, generic.rule.conntype
        found: list[SpecificFilter] = []
        if one.src is AddressWord.ME and one.dst is AddressWord.ME:
            return found
        verdict = BY_ACTION[generic.rule.filter_action.action].verdict
        sources, destinations = self._ends(one.src, conntype), self._ends(one.dst, conntype)
        if self._blocks_unresolved and (self.is_open(one.src) or self.is_open(one.dst)):
            if verdict is Verdict.PERMIT:
                return found
            verdict = Verdict.BLOCK
            sources = UNKNOWN_HOST if self.is_open(one.src) else sources
            destinations = UNKNOWN_HOST if self.is_open(one.dst) else destinations
        each, made = spread(one.sports, one.dports) * len(directions(one)) * (2 if one.mirrored else 1), 0
        for src in sources:
            protocol = protocol_in(src.family, one)
            for dst in destinations if protocol is not None else ():
                if dst.family == src.family:
                    assert protocol is not None
                    made += len(src.prefixes) * len(dst.prefixes) * each
                    if made > limits.SPECIFIC_FILTERS:
                        raise too_large(generic)
                    found += one_way(generic, verdict, (src, dst), protocol)
        return found if generic.rule.tunnel is None else self._tunnelled(generic, found)

    def _tunnelled(self, generic: Generic, found: list[SpecificFilter]) -> list[SpecificFilter]:
        """The filters of a tunnel rule: in the direction of the tunnel; blocks where there is none."""
        tunnel = self.tunnel(generic)
        if not isinstance(tunnel, Active) or tunnel.inbound not in directions(generic.filter):
            return [one._replace(verdict=Verdict.BLOCK) for one in found]
        here = (one for one in found if one.inbound == tunnel.inbound)
        return [one if one.verdict is Verdict.BLOCK else one._replace(tunnel=tunnel.ends) for one in here]


def one_way(generic: Generic, verdict: Verdict, ends: tuple[End, End], protocol: int) -> Iterator[SpecificFilter]:
    """The specific filters of one pair of ends and all port ranges, as written and mirrored."""
    one, action, origin, number = generic.filter, generic.rule.filter_action, generic.origin, generic.number
    (sources, source), (destinations, destination) = ends
    inpass, soft = (action.inpass, action.soft) if verdict is Verdict.NEGOTIATE else (False, False)
    last = (inpass, soft, number, None, protocol_of(action.qmsecmethods if verdict is Verdict.NEGOTIATE else ()))
    turns, named, ways = not is_icmp(protocol), protocol != 0, directions(one)
    for from_, to, sport, dport in product(sources, destinations, one.sports, one.dports):
        swidth, dwidth = sport.last - sport.first + 1, dport.last - dport.first + 1
        ahead = _made(Selector, (from_, to, protocol, sport, dport))
        weight, _ = weigh_widths(source, destination, named, swidth, dwidth)
        for inbound in ways:
            yield _made(SpecificFilter, (inbound, ahead, verdict, weight, origin, 0, *last))
        if one.mirrored:
            back = _made(Selector, (to, from_, protocol, *((dport, sport) if turns else (sport, dport))))
            widths = (dwidth, swidth) if turns else (swidth, dwidth)
            weight, _ = weigh_widths(destination, source, named, *widths)
            for inbound in ways:
                yield _made(SpecificFilter, (not inbound, back, verdict, weight, origin, 0, *last))


class Expanded(NamedTuple):
    """A specific filter and the generic one that it comes from."""

    specific: SpecificFilter
    generic: Generic


def expand(policies: Sequence[Policy], facts: HostFacts) -> tuple[Expanded, ...]:
    """All specific filters of policies, in their order."""
    expansion = Expansion(facts, unresolved_of(policies))
    return tuple(
        Expanded(one, generic) for generic in generic_filters(policies) for one in expansion.specifics(generic)
    )
