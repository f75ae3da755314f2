# SPDX-License-Identifier: GPL-2.0-or-later
"""Random policies on random hosts, made from a seed: everything that the language has, leaning to what is hard.

Hard are filters that overlap in one class of weight (so a filter is often a slight change of an earlier one), edges of
prefixes and of port ranges, groups, exemptions, own addresses as literals, and both IP versions.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final, NamedTuple

from tests.unit.compiler_cases import ESP_AES, facts, policy, rule
from tests.unit.compiler_cases import tunnel as tunnel_rules
from tests.worlds.lawful import lawful
from xfrmd.model.addresses import Address, Prefix, range_to_prefixes
from xfrmd.model.facts import HostFacts
from xfrmd.model.pad import PskAuth
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, SCTP, TCP, UDP, WITH_PORTS, Ports
from xfrmd.model.source import Span
from xfrmd.policy.words import (
    AddressSpec,
    AddressWord,
    Config,
    ConnectionType,
    DefaultResponse,
    Filter,
    Policy,
    PolicySet,
    Rule,
    Unresolved,
)


class World(NamedTuple):
    """A policy and the host that it is for."""

    policies: PolicySet
    host: HostFacts

    @property
    def policy(self) -> Policy:
        """Its one policy."""
        assert self.policies.assigned is not None
        return self.policies.assigned

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of its one policy."""
        return self.policy.rules

    def with_rules(self, rules: tuple[Rule, ...]) -> World:
        """The same with other rules."""
        return self.with_policy(replace(self.policy, rules=rules))

    def with_policy(self, one: Policy) -> World:
        """The same with another policy."""
        return self._replace(policies=replace(self.policies, policies=(one,), assigned=one))


def _hosts(*texts: str) -> tuple[Address, ...]:
    return tuple(map(Address.parse, texts))


_NAMES: Final = {
    "one.example": _hosts("10.1.2.3"),
    "both.example": _hosts("10.1.2.9", "192.0.2.77", "fd00:2::77"),
    "gone.example": (),
}
HOSTS: Final = (
    replace(
        facts("10.1.0.5/16", "fd00:1::5/64", dns=("10.1.0.53", "fd00:1::35")),
        names=_NAMES,
        wins_servers=_hosts("10.1.2.3", "10.1.2.4"),
        dhcp_servers=_hosts("10.1.0.1"),
        default_gateways=_hosts("10.1.0.1", "fe80::1"),
    ),
    replace(
        facts("10.1.0.5/24", "10.1.0.6/31", dialup=("192.0.2.1/32", "fd00:2::1/128")),
        names=_NAMES,
        dns_servers=_hosts("10.1.0.5"),  # its own resolver
        default_gateways=_hosts("10.1.0.1"),
    ),
    replace(facts("10.1.0.5/8", "fd00:1::5/64", "fd00:1::6/64"), dhcp_servers=_hosts("10.0.0.1")),
)
"""Hosts whose addresses meet what filters name."""

_SINGLE: Final = ("10.1.0.5", "10.1.2.3", "192.0.2.1", "10.1.0.6", "fd00:1::5", "fd00:2::77", "fd00:1::9")
_BLOCKS: Final = (
    *("10.1.0.0/16", "10.1.0.0/24", "10.1.2.0/24", "10.1.2.4/30", "10.0.0.0/8", "0.0.0.0/1", "192.0.2.0/31"),
    *("fd00:1::/64", "fd00:2::/32", "fd00::/16", "8000::/1", "fd00:1::4/127"),
)
_GROUPS: Final = ("224.0.0.0/4", "239.1.1.1", "224.0.0.1", "10.1.255.255", "255.255.255.255", "ff02::/16", "ff02::1")
_RANGES: Final = (
    (4, "10.1.2.3", "10.1.2.7"),
    (4, "10.1.0.4", "10.1.0.6"),
    (4, "10.0.255.255", "10.1.0.5"),
    (6, "fd00:1::4", "fd00:1::a"),
)
_PORTS: Final = (
    *(Ports(445, 445), Ports(500, 500), Ports(80, 80), Ports(80, 81), Ports(1000, 1999), Ports(88, 88)),
    *(Ports(1500, 2499), Ports(0, 1023), Ports(1024, 65535), Ports(67, 68), Ports(1, 65535), Ports(65535, 65535)),
)
_TYPES: Final = (
    Ports(8, 8),
    Ports(0, 0),
    Ports(3, 3),
    Ports(128, 128),
    Ports(135, 135),
    Ports(143, 143),
)


def _literal(dice: random.Random) -> AddressSpec:
    kind = dice.random()
    if kind < 0.3:
        return (Prefix.parse(dice.choice(_SINGLE)),)
    if kind < 0.75:
        return (Prefix.parse(dice.choice(_BLOCKS)),)
    if kind < 0.87:
        return (Prefix.parse(dice.choice(_GROUPS)),)
    family, first, last = dice.choice(_RANGES)
    return range_to_prefixes(family, Address.parse(first).value, Address.parse(last).value)


def _end(dice: random.Random) -> AddressSpec:
    kind = dice.random()
    if kind < 0.3:
        return AddressWord.ME
    if kind < 0.5:
        return AddressWord.ANY
    if kind < 0.6:
        return dice.choice([word for word in AddressWord if word not in (AddressWord.ME, AddressWord.ANY)])
    if kind < 0.66:
        return dice.choice((*_NAMES, "unknown.example"))
    return _literal(dice)


def _ports(dice: random.Random) -> tuple[Ports, ...]:
    kind = dice.random()
    if kind < 0.4:
        return (ANY_PORT,)
    if kind < 0.8:
        return (dice.choice(_PORTS),)
    return tuple(dice.sample(_PORTS, dice.randint(2, 3)))


def _layer4(dice: random.Random) -> tuple[int, tuple[Ports, ...], tuple[Ports, ...]]:
    protocol = dice.choice((0, 0, TCP, TCP, UDP, UDP, ICMP, ICMPV6, 46, 47, SCTP))
    if protocol in WITH_PORTS:
        sports, dports = _ports(dice), _ports(dice)
        if dice.random() < 0.8:  # ranges at both ends make hundreds of blocks: seldom is often enough
            sports, dports = dice.choice(((sports, (ANY_PORT,)), ((ANY_PORT,), dports)))
        return protocol, sports, dports
    if protocol in (ICMP, ICMPV6) and dice.random() < 0.6:
        return protocol, (dice.choice(_TYPES),), (dice.choice((ANY_PORT, Ports(0, 0), Ports(4, 4))),)
    return protocol, (ANY_PORT,), (ANY_PORT,)


def _moved(ports: Ports, dice: random.Random) -> Ports:
    """A range of the same width beside or across this one: the same weight, other packets."""
    step = dice.choice((-1, 1)) * dice.choice((1, max(1, ports.width // 2), ports.width))
    first = min(max(ports.first + step, 0), 65536 - ports.width)
    return Ports(first, first + ports.width - 1)


def _near(one: Filter, dice: random.Random) -> Filter:
    """A slight change of a filter, that mostly keeps its class of weight."""
    kind = dice.randrange(7)
    if kind == 0:
        return replace(one, src=one.dst, dst=one.src)
    if kind == 1:
        return replace(one, src=_end(dice))
    if kind == 2:
        return replace(one, dst=_end(dice))
    if kind == 3 and one.protocol in WITH_PORTS:
        return replace(one, sports=one.dports, dports=one.sports)
    if kind == 4 and one.protocol in WITH_PORTS:
        return replace(one, dports=tuple(ports if ports.is_any else _moved(ports, dice) for ports in one.dports))
    if kind == 5 and one.protocol in WITH_PORTS:
        return replace(one, sports=tuple(ports if ports.is_any else _moved(ports, dice) for ports in one.sports))
    return replace(one, mirrored=not one.mirrored)


def _filter(earlier: list[Filter], at: Span, dice: random.Random) -> Filter:
    if earlier and dice.random() < 0.45:
        made = replace(_near(dice.choice(earlier), dice), at=at)
    else:
        protocol, sports, dports = _layer4(dice)
        made = Filter(_end(dice), _end(dice), at, protocol, sports, dports, dice.random() < 0.7)
    earlier.append(made)
    return made


def _rule(line: int, earlier: list[Filter], dice: random.Random) -> Rule:
    action = dice.choice(("permit", "block", "negotiate", "negotiate"))
    found = [_filter(earlier, Span("policy.yaml", 100 * line + place, 9), dice) for place in range(dice.randint(1, 3))]
    negotiates = action == "negotiate"
    made = rule(
        action,
        *found,
        line=line,
        inpass=negotiates and dice.random() < 0.25,
        conntype=dice.choice(("all", "all", "all", "lan", "dialup")),
        active=dice.random() < 0.93,
    )
    soft = negotiates and dice.random() < 0.15
    return lawful(replace(made, filter_action=replace(made.filter_action, soft=soft)))


_HERE: Final = ("10.1.0.5", "10.1.0.5", "192.0.2.1", "10.1.0.6", "fd00:1::5", "both.example")
_THERE: Final = ("203.0.113.2", "203.0.113.2", "fd00:9::2", "both.example", "gone.example", "10.1.0.5")
"""Ends of tunnels: mostly one of this host's and one elsewhere."""


def _tunnel(line: int, earlier: list[Filter], dice: random.Random) -> tuple[Rule, Rule]:
    """The two halves of a tunnel, that weigh as an earlier filter does now and then."""
    near = dice.choice(earlier) if dice.random() < 0.4 else None
    src, dst = (near.src, near.dst) if near else (_end(dice), _end(dice))
    here = dice.choice(_HERE)
    there = dice.choice([end for end in _THERE if end != here])
    conntype, active = ConnectionType(dice.choice(("all", "all", "all", "lan"))), dice.random() < 0.95
    out, back = (
        replace(half, conntype=conntype, active=active) for half in tunnel_rules("any", "any", here, there, line=line)
    )
    (forth,) = out.filter_list.filters
    out = lawful(_with(out, replace(forth, src=src, dst=dst)))
    (forth,), (other,) = out.filter_list.filters, back.filter_list.filters
    return out, _with(back, replace(other, src=forth.dst, dst=forth.src))


def _with(rule: Rule, one: Filter) -> Rule:
    return replace(rule, filter_list=replace(rule.filter_list, filters=(one,)))


def world(seed: object) -> World:
    """The world of a seed: a text or a number, always the same one."""
    dice = random.Random(f"world {seed}")
    earlier: list[Filter] = []
    rules = [_rule(line, earlier, dice) for line in range(1, dice.randint(1, 5) + 1)]
    if dice.random() < 0.25:
        rules += _tunnel(len(rules) + 1, earlier, dice)
    made = replace(policy(*rules), config=Config(dice.choice((0, 1, 2, 3, 3, 3, 3, 3))))
    one = World(made, dice.choice(HOSTS))
    closed = Unresolved.BLOCK if dice.random() < 0.3 else Unresolved.KEEP
    responds = DefaultResponse((PskAuth(Secret(b"any")),), (ESP_AES,), Span("policy.yaml", 1, 1))
    answers = responds if dice.random() < 0.1 else None
    return one.with_policy(replace(one.policy, unresolved=closed, default_response=answers))
