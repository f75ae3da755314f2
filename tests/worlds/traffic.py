# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets at the edges of a world's filters. They are made from the words of the policy, not from what was compiled,
so a filter that the compiler forgot is asked about all the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.worlds.world import World
from xfrmd.compiler.exempt import groups
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import ESP, ICMP, ICMPV6, SCTP, TCP, UDP, WITH_PORTS, Packet, Ports, Selector
from xfrmd.policy.words import AddressSpec, AddressWord, Filter

_PROTOCOLS = (TCP, UDP, UDP, ICMP, ICMPV6, 46, 47, SCTP, 89, ESP)
_NOTABLE_PORTS = (0, 53, 67, 68, 88, 500, 546, 547, 4500, 40000, 65535)
_NOTABLE_TYPES = (0, 2, 3, 4, 8, 128, 130, 131, 132, 133, 135, 137, 143, 255)
_ELSEWHERE = tuple(Prefix.parse(text) for text in ("203.0.113.7", "fd00:9::7", "fe80::9"))


def prefixes(spec: AddressSpec, host: HostFacts) -> tuple[Prefix, ...]:
    """What one side of a filter may speak of, connection types aside."""
    if isinstance(spec, tuple):
        return spec
    if spec is AddressWord.ANY:
        return tuple(map(Prefix.any, BITS))
    if isinstance(spec, str):
        return (
            tuple(map(Prefix.host, host.names.get(spec, ()))) if spec in host.names else prefixes(AddressWord.ANY, host)
        )
    known = {
        AddressWord.ME: host.own_addresses(),
        AddressWord.DNS_SERVERS: host.dns_servers,
        AddressWord.WINS_SERVERS: host.wins_servers,
        AddressWord.DHCP_SERVER: host.dhcp_servers,
        AddressWord.DEFAULT_GATEWAY: host.default_gateways,
    }[spec]
    return tuple(map(Prefix.host, known))


def _edge(prefix: Prefix, dice: random.Random) -> Prefix:
    """An address in the prefix, mostly at its ends, or just outside."""
    top = (1 << BITS[prefix.family]) - 1
    if dice.random() < 0.15:
        value = dice.choice((prefix.value - 1, prefix.last + 1))
    else:
        value = dice.choice((prefix.value, prefix.last, min(prefix.value + 3, prefix.last)))
    return Prefix.host(Address(prefix.family, min(max(value, 0), top)))


def _number(ranges: tuple[Ports, ...], others: tuple[int, ...], top: int, dice: random.Random) -> int:
    ports = dice.choice(ranges)
    if ports.is_any or dice.random() < 0.05:
        return dice.choice(others)
    middle = (ports.first + ports.last) // 2
    number = dice.choice((*(ports.first, ports.last, middle) * 3, ports.first - 1, ports.last + 1))
    return min(max(number, 0), top)


class Traffic:
    """Packets for one world, endless."""

    def __init__(self, world: World, seed: object) -> None:
        self._dice = random.Random(f"traffic {seed}")
        self._host = world.host
        self._filters = [one for rule in world.rules for one in rule.filter_list.filters]
        self._own = [Prefix.host(address) for address in world.host.own_addresses()]
        self._groups = groups(world.host)
        self._pool = [
            *_ELSEWHERE,
            *self._own,
            *self._groups,
            *(prefix for one in self._filters for spec in (one.src, one.dst) for prefix in prefixes(spec, world.host)),
        ]

    def __iter__(self) -> Iterator[Packet]:
        while True:
            yield self.packet()

    def packet(self) -> Packet:
        """The next one."""
        dice = self._dice
        one = dice.choice(self._filters)
        src, dst = self._ends(one)
        turned = one.mirrored and dice.random() < 0.5
        if turned ^ (dice.random() < 0.1):
            src, dst = dst, src
        inbound = self._inbound(src, dst)
        return Packet(inbound, Selector(src, dst, *self._layer4(one, src.family, turned)))

    def _ends(self, one: Filter) -> tuple[Prefix, Prefix]:
        dice = self._dice
        src = self._end(one.src, None)
        dst = self._end(one.dst, src.family)
        if dice.random() < 0.2 and src not in self._own and dst not in self._own:
            own = [prefix for prefix in self._own if prefix.family == src.family]
            if own:
                src = dice.choice(own)
        if src in self._own and dst in self._own and dice.random() < 0.9:  # never leaves the host
            dst = self._end(AddressWord.ANY, src.family)
        return src, dst

    def _end(self, spec: AddressSpec, family: int | None) -> Prefix:
        dice = self._dice
        known = [prefix for prefix in prefixes(spec, self._host) if family in (None, prefix.family)]
        if not known or dice.random() < 0.08 or (known[0].length == 0 and dice.random() < 0.8):
            known = [prefix for prefix in self._pool if family in (None, prefix.family)] or [Prefix.any(family or 4)]
        return _edge(dice.choice(known), dice)

    def _inbound(self, src: Prefix, dst: Prefix) -> bool:
        """Mostly the way that such a packet goes; the rest is forwarded, or forged."""
        dice = self._dice
        if dice.random() < 0.9 and (src in self._own) != (dst in self._own):
            return dst in self._own
        return dice.random() < 0.5

    def _layer4(self, one: Filter, family: int, turned: bool) -> tuple[int, Ports, Ports]:
        dice = self._dice
        protocol = one.protocol if one.protocol and dice.random() < 0.85 else dice.choice(_PROTOCOLS)
        if protocol in (ICMP, ICMPV6) and dice.random() < 0.9:
            protocol = ICMP if family == 4 else ICMPV6
        if protocol in (ICMP, ICMPV6):
            typed = one.protocol in (ICMP, ICMPV6)
            any_ = (Ports(0, 65535),)
            first = _number(one.sports if typed else any_, _NOTABLE_TYPES, 255, dice)
            second = _number(one.dports if typed else any_, (0, 0, 1, 4), 255, dice)
        elif protocol in WITH_PORTS:
            ranges = (one.sports, one.dports) if one.protocol in WITH_PORTS else ((Ports(0, 65535),),) * 2
            first, second = (_number(one_side, _NOTABLE_PORTS, 65535, dice) for one_side in ranges)
            if turned:
                first, second = second, first
        else:
            first = second = 0
        return protocol, Ports(first, first), Ports(second, second)
