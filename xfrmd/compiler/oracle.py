# SPDX-License-Identifier: GPL-2.0-or-later
"""The plain answer to "which filter decides this packet": every filter of each policy is tried as it is written.

Slow on purpose and made without the compiler's tables: no expansion, no classes, no cutting. Tests compare it with the
compiled Plan.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from xfrmd.compiler.exempt import exempts, groups
from xfrmd.model.addresses import BITS, Address
from xfrmd.model.facts import HostFacts, InterfaceKind
from xfrmd.model.plan import Verdict, Weight
from xfrmd.model.selector import ICMP, ICMPV6, Packet, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.model.store import Store
from xfrmd.policy.words import (
    Action,
    AddressSpec,
    AddressWord,
    ConnectionType,
    Filter,
    Policy,
    PolicySet,
    Rule,
    Unresolved,
)


class Decision(NamedTuple):
    """What happens to a packet and why. `rule` names an exemption where one decided; "" and None: no filter matches."""

    verdict: Verdict
    rule: str = ""
    at: Span | None = None
    weight: Weight | None = None
    inpass: bool = False
    """Negotiate, but let in in the clear as well."""
    store: Store | None = None
    """Where the filter that decided comes from."""


def _names(
    spec: AddressSpec, address: Address, facts: HostFacts, kinds: frozenset[InterfaceKind], *, closed: bool
) -> int | None:
    """The prefix length with which a side of a filter names an address; None when it does not. `closed`: names without
    an answer stand for any address.
    """
    bits = BITS[address.family]
    if closed and isinstance(spec, str) and not facts.names.get(spec):
        return bits
    if isinstance(spec, tuple):
        if not any(prefix.contains(address) for prefix in spec):
            return None
        size = sum(prefix.last - prefix.value + 1 for prefix in spec if prefix.family == address.family)
        return next(length for length in range(bits, -1, -1) if 1 << (bits - length) >= size)
    if spec is AddressWord.ANY:
        return 0
    if isinstance(spec, str):
        known = facts.names.get(spec, ())
    else:
        known = {
            AddressWord.ME: facts.own_addresses(kinds),
            AddressWord.DNS_SERVERS: facts.dns_servers,
            AddressWord.WINS_SERVERS: facts.wins_servers,
            AddressWord.DHCP_SERVER: facts.dhcp_servers,
            AddressWord.DEFAULT_GATEWAY: facts.default_gateways,
        }[spec]
    return bits if address in known else None


def _speaks(one: Filter, family: int, protocol: int) -> bool:
    """Does the filter name this protocol? Typeless `icmp` is ICMPv6 in IPv6."""
    if family == 6 and one.protocol == ICMP:
        return protocol == ICMPV6 and all(ports.is_any for ports in one.sports + one.dports)
    if family == 4 and one.protocol == ICMPV6:
        return False
    return one.protocol in (0, protocol)


def _stands(one: Filter, inbound: bool) -> bool:
    """Does the filter as written stand in this direction?"""
    if one.src is AddressWord.ME:
        return not inbound and one.dst is not AddressWord.ME
    return inbound or one.dst is not AddressWord.ME


def _unresolved(one: Filter, facts: HostFacts) -> bool:
    """Does the filter speak of a DNS name that has no answer?"""
    return any(isinstance(spec, str) and not facts.names.get(spec) for spec in (one.src, one.dst))


def _weight(source: int, destination: int, protocol: int, sport: Ports, dport: Ports) -> Weight:
    named = [ports for ports in (sport, dport) if ports != Ports(0, 65535)]
    return Weight(
        source + destination,
        max(source, destination),
        source,
        1 if protocol else 0,
        len(named),
        1 if dport in named else 0,
        131072 - (sport.last - sport.first + 1) - (dport.last - dport.first + 1),
    )


def _kinds(conntype: ConnectionType) -> frozenset[InterfaceKind]:
    return {
        ConnectionType.ALL: frozenset(InterfaceKind),
        ConnectionType.LAN: frozenset({InterfaceKind.LAN}),
        ConnectionType.DIALUP: frozenset({InterfaceKind.DIALUP}),
    }[conntype]


def _matches(
    rule: Rule, one: Filter, facts: HostFacts, packet: Packet, *, flipped: bool, closed: bool
) -> Iterator[Weight]:
    """The weights with which a filter matches a packet, as written or (`flipped`) as its mirror."""
    inbound = packet.inbound ^ flipped
    selector = packet.selector.reversed if flipped else packet.selector
    if not _stands(one, inbound) or not _speaks(one, selector.family, selector.protocol):
        return
    kinds = _kinds(rule.conntype)
    src = _names(one.src, selector.src.address, facts, kinds, closed=closed)
    dst = _names(one.dst, selector.dst.address, facts, kinds, closed=closed)
    if src is None or dst is None:
        return
    for sport in one.sports:
        for dport in one.dports:
            if sport.contains(selector.sport) and dport.contains(selector.dport):
                if not flipped:
                    yield _weight(src, dst, one.protocol, sport, dport)
                else:
                    back = Selector(selector.dst, selector.src, selector.protocol, sport, dport).reversed
                    yield _weight(dst, src, one.protocol, back.sport, back.dport)


class _Way(enum.Enum):
    """Which packets a filter is for, by its rule's tunnel."""

    BOTH = "no tunnel rule"
    IN = "it comes out of the tunnel"
    OUT = "it goes into the tunnel"
    NOWHERE = "there is no tunnel"


def _way(rules: Iterable[Rule], rule: Rule, one: Filter, facts: HostFacts) -> _Way:
    """A tunnel rule's packets come when it names an address of this host and the rule of the way back does not."""
    if rule.tunnel is None:
        return _Way.BOTH
    back = [
        other.tunnel
        for other in rules
        if other is not rule and other.active and other.tunnel is not None
        if any((theirs.src, theirs.dst) == (one.dst, one.src) for theirs in other.filter_list.filters)
    ]
    if not back:
        return _Way.NOWHERE
    there, here = (facts.names.get(end, ()) if isinstance(end, str) else (end,) for end in (rule.tunnel, back[-1]))
    reached = set(facts.own_addresses(_kinds(rule.conntype)))
    comes, goes = (bool(reached.intersection(end)) for end in (there, here))
    if not there or not here or comes == goes:
        return _Way.NOWHERE
    near, far = (there, here) if comes else (here, there)
    families = {one.family for one in reached.intersection(near)} & {
        one.family for one in far if one not in facts.own_addresses()
    }
    return (_Way.IN if comes else _Way.OUT) if families and _stands(one, comes) else _Way.NOWHERE


class _Found(NamedTuple):
    """A filter that matches."""

    weight: Weight
    policy: Policy
    rule: Rule
    filter: Filter

    @property
    def place(self) -> tuple[bool, Span, str, Span]:
        """Of equal weights the persistent policy's wins, then the first in the file."""
        return self.policy.store is not Store.PERSISTENT, self.rule.at, self.rule.name, self.filter.at


def _candidates(policy: Policy, facts: HostFacts, packet: Packet, *, closed: bool) -> Iterator[_Found]:
    for rule in policy.rules:
        for one in rule.filter_list.filters if rule.active else ():
            if _way(policy.rules, rule, one, facts) is (_Way.OUT if packet.inbound else _Way.IN):
                continue
            if closed and rule.filter_action.action is Action.PERMIT and _unresolved(one, facts):
                continue
            for flipped in (False, True) if one.mirrored else (False,):
                for weight in _matches(rule, one, facts, packet, flipped=flipped, closed=closed):
                    yield _Found(weight, policy, rule, one)


def decide(policies: PolicySet, facts: HostFacts, packet: Packet) -> Decision:
    """The fate of a packet under the policies in force on a host with these facts."""
    if not policies.in_force:
        return Decision(Verdict.PASS)
    exempt = exempts(packet, facts.own_addresses(), policies.config.ipsecexempt, groups(facts))
    if exempt:
        return Decision(Verdict.PERMIT, exempt)
    closed = any(policy.unresolved is Unresolved.BLOCK for policy in policies.in_force)
    best: _Found | None = None
    for policy in policies.in_force:
        for found in _candidates(policy, facts, packet, closed=closed):
            tie = best is not None and found.weight == best.weight and found.place < best.place
            if best is None or found.weight > best.weight or tie:
                best = found
    if best is None:
        return Decision(Verdict.PASS)
    weight, policy, rule, one = best
    if closed and _unresolved(one, facts):
        return Decision(Verdict.BLOCK, rule.name, one.at, weight, store=policy.store)
    action = rule.filter_action
    verdict = {Action.PERMIT: Verdict.PERMIT, Action.BLOCK: Verdict.BLOCK, Action.NEGOTIATE: Verdict.NEGOTIATE}
    if _way(policy.rules, rule, one, facts) is _Way.NOWHERE:
        return Decision(Verdict.BLOCK, rule.name, one.at, weight, store=policy.store)
    inpass = action.inpass and packet.inbound
    if action.action is Action.NEGOTIATE and any(group.contains(packet.selector.dst) for group in groups(facts)):
        return Decision(Verdict.PERMIT if inpass else Verdict.BLOCK, rule.name, one.at, weight, store=policy.store)
    return Decision(verdict[action.action], rule.name, one.at, weight, inpass, policy.store)
