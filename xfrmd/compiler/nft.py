# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions to the table `inet xfrmd`: one hash map per class and mask, asked in weight order, and a fence behind them.

Inbound packets are judged in prerouting: after defragmentation (-400) and connection tracking (-200), before anybody
rewrites the destination (-100). Outbound ones in postrouting, after the source was rewritten (100). So filters speak
of addresses on the wire, and forwarded packets are judged like the host's own.

An element accepts, drops, or returns. Chain `classify_*` ends in accept, so what returns from it is for the fence:
it passes on an SA only. Packets on an SA go through the maps too, so a narrower block holds for them.

Fragments have no ports: without defragmentation they would meet other filters than their first one, and a fragmented
IKE datagram would be lost. A tproxy rule turns it on just by being there; no packet reaches it (`defragment`). A ct
rule would as well, but connection tracking costs every packet, and drops all but one of the echo requests that leave
an SA in one burst, while none of them is confirmed yet.

A new address of the host is part of `me` only when the policy has been compiled for it, a moment later. Until then the
chains `guard_in` and `guard_out` let nothing pass with it, exemptions aside, where a filter that protects or blocks
speaks of `me`. An address that has gone is no part of `me`, but in IPv6 sockets that are bound to it go on sending from
it (in IPv4 the kernel refuses). So chain `guard_source` drops what this host sends from IPv6 addresses that it does not
have; transparent proxies, which do that with a privilege, are let by.

Where a policy negotiates, the chains `hold_*` queue what would have to wait for an SA. They look at output and
forward, where XFRM has looked up the packet already and its addresses are those that XFRM saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.compiler import ports
from xfrmd.compiler.actions import BY_VERDICT
from xfrmd.compiler.exempt import DEFAULT_LEVEL, Exemption, exemptions, groups_exempt
from xfrmd.compiler.regions import Region
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import NFPROTO, ElementKey, KeyField, NftChain, NftMap, NftTable, pack_key
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import ICMP, ICMPV6, Selector

PREROUTING: Final = "type filter hook prerouting priority -190; policy accept;"
POSTROUTING: Final = "type filter hook postrouting priority 150; policy accept;"
SOURCE: Final = "type filter hook output priority 240; policy accept;"
OUTPUT: Final = "type route hook output priority 250; policy accept;"
FORWARD: Final = "type filter hook forward priority 250; policy accept;"
RELEASED: Final = f"meta mark {limits.HOLD_MARK:#x} meta mark set 0x0 accept"
"""A released packet meets the output chain again, with a mark. A route chain that changes the mark makes the kernel
route the packet anew, which finds its SA (docs/decisions/0003).
"""
DEFRAGMENT: Final = ("meta l4proto 6 tproxy ip to :1", "meta l4proto 6 tproxy ip6 to :1")
"""Never met by a packet: the chain is for protocol 255, its rules are for TCP."""
_SIDES: Final = {True: "in", False: "out"}
_FAMILY: Final = {4: "ip", 6: "ip6"}


class Shape(NamedTuple):
    """The bits of a packet that a map's key holds: prefix lengths, whether the protocol, masks of the port fields."""

    family: int
    src: int
    dst: int
    protocol: bool
    sport: int
    dport: int


def port_fields(block: Selector) -> tuple[int, int, int, int] | None:
    """Value and mask of the first and of the second 16 bits behind the IP header, for a block selector.

    Those are the ports. In ICMP the first are type and code, one octet each, and the second a checksum. None: no packet
    has such a type or code.
    """
    sport, dport = block.sport, block.dport
    if block.protocol not in (ICMP, ICMPV6):
        return sport.first, ports.mask(sport), dport.first, ports.mask(dport)
    if sport.first > 255 or dport.first > 255:
        return None
    kinds, codes = ports.mask(sport) & 255, ports.mask(dport) & 255
    return sport.first << 8 | dport.first, kinds << 8 | codes, 0, 0


def _fields(shape: Shape) -> tuple[KeyField, ...]:
    """The fields of a key."""
    ip, found = _FAMILY[shape.family], []
    if shape.src == 0 and shape.dst == 0:
        found.append(KeyField.whole("meta nfproto"))
    for name, length in (("saddr", shape.src), ("daddr", shape.dst)):
        if length:
            found.append(KeyField(f"{ip} {name}", Prefix(shape.family, 0, length).mask))
    if shape.protocol:
        found.append(KeyField.whole("meta l4proto"))
    found += [KeyField(f"th {name}", mask) for name, mask in (("sport", shape.sport), ("dport", shape.dport)) if mask]
    return tuple(found)


def _key(shape: Shape, selector: Selector, sport: int, dport: int) -> ElementKey:
    values = [] if shape.src or shape.dst else [NFPROTO[shape.family]]
    values += [end.value for end in (selector.src, selector.dst) if end.length]
    if shape.protocol:
        values.append(selector.protocol)
    values += [value for value, mask in ((sport, shape.sport), (dport, shape.dport)) if mask]
    return pack_key(_fields(shape), values)


def _element(one: SpecificFilter) -> str:
    """What a filter's element does. With `inpass` the inbound action is to let pass, on an SA or in the clear."""
    if one.inpass and one.inbound and one.verdict is Verdict.NEGOTIATE:
        return "accept"
    return BY_VERDICT[one.verdict].element


def maps(regions: Iterable[Region], inbound: bool) -> tuple[NftMap, ...]:
    """The maps of one direction in the order in which they are asked."""
    found: dict[tuple[int, Shape], dict[ElementKey, str]] = {}
    for weight_class, expanded in regions:
        one = expanded.specific
        if one.inbound != inbound:
            continue
        for block in ports.split(one.selector):
            fields = port_fields(block)
            if fields is None:
                continue
            sport, smask, dport, dmask = fields
            shape = Shape(block.family, block.src.length, block.dst.length, block.protocol != 0, smask, dmask)
            found.setdefault((-weight_class, shape), {})[_key(shape, block, sport, dport)] = _element(one)
    return tuple(
        _map(_SIDES[inbound], -weight_class, shape, elements)
        for (weight_class, shape), elements in sorted(found.items(), key=lambda item: item[0])
    )


def _map(side: str, weight_class: int, shape: Shape, elements: dict[ElementKey, str]) -> NftMap:
    protocol = "p" if shape.protocol else "a"
    name = f"{side}{shape.family}_{shape.src}_{shape.dst}_{protocol}_{shape.sport:x}_{shape.dport:x}"
    return NftMap(f"{name}_{weight_class:x}", _fields(shape), elements)


def _group_rules(side: str, groups: tuple[Prefix, ...]) -> tuple[str, ...]:
    """Multicast and broadcast that a negotiate filter caught: dropped, as no SA can carry it."""
    rules = []
    for family, ip in _FAMILY.items():
        ours = ", ".join(str(group) for group in groups if group.family == family)
        if ours:
            rules.append(f"{ip} daddr {{ {ours} }} counter name group_{side} drop")
    return tuple(rules)


def _exempt(side: str, inbound: bool, exempt: tuple[Exemption, ...]) -> NftChain:
    rules = tuple(f"{row.rule} counter name exempt_{side} accept" for row in exempt if row.inbound == inbound)
    return NftChain(f"exempt_{side}", "", rules)


def _classify(side: str, asked: tuple[NftMap, ...]) -> NftChain:
    rules = tuple(f"{one.expression} vmap @{one.name}" for one in asked)
    return NftChain(f"classify_{side}", "", (*rules, f"counter name pass_{side} accept"))


def _own_maps(own: tuple[Address, ...]) -> tuple[NftMap, ...]:
    """The addresses of this host that the policy was compiled for: they return from the guard."""
    found = []
    for family, ip in _FAMILY.items():
        elements: dict[ElementKey, str] = {one.packed: "return" for one in own if one.family == family}
        if elements:
            found.append(NftMap(f"own{family}", (KeyField.whole(f"{ip} saddr"),), elements))
    return tuple(found)


def _guards(own: tuple[NftMap, ...]) -> Iterator[NftChain]:
    for side, end in (("in", "daddr"), ("out", "saddr")):
        known = tuple(f"{one.expression.removesuffix(' saddr')} {end} vmap @{one.name}" for one in own)
        yield NftChain(f"guard_{side}", "", (*known, f"fib {end} type local counter name guard_{side} drop"))
    rules = ("meta nfproto ipv4 accept", "fib saddr type local accept", "ip6 saddr { :: } accept")
    proxy = "socket transparent 1 accept"
    yield NftChain("guard_source", SOURCE, (*rules, proxy, "counter name guard_out drop"))


def _hold(name: str, hook: str, groups: tuple[Prefix, ...]) -> NftChain:
    rules = ('oifname "lo" accept', "rt ipsec exists accept", "jump exempt_out", "jump classify_out")
    queue = f"counter name held queue num {limits.HOLD_QUEUE}"
    return NftChain(name, hook, (*rules, *_group_rules("out", groups), queue))


def _chains(
    asked: dict[str, tuple[NftMap, ...]], groups: tuple[Prefix, ...], exempt: tuple[Exemption, ...], *, guarded: bool
) -> Iterator[NftChain]:
    fence = {"in": "meta secpath missing", "out": "rt ipsec missing"}
    for side, inbound in (("in", True), ("out", False)):
        yield _exempt(side, inbound, exempt)
        yield _classify(side, asked[side])
    negotiates = {side: any("return" in one.elements.values() for one in asked[side]) for side in asked}
    for side, name, hook, loopback in (
        ("in", "prerouting", PREROUTING, 'iifname "lo" accept'),
        ("out", "postrouting", POSTROUTING, 'oifname "lo" accept'),
    ):
        rules = [loopback, f"jump exempt_{side}", f"jump classify_{side}"]
        if guarded:
            rules.insert(2, f"jump guard_{side}")
        if side == "in":
            rules.insert(1, "meta l4proto 255 jump defragment")
        if negotiates[side]:
            rules += [*_group_rules(side, groups), f"{fence[side]} counter name fence_{side} drop"]
        yield NftChain(name, hook, tuple(rules))
    if negotiates["out"]:
        output = _hold("hold_output", OUTPUT, groups)
        yield replace(output, rules=(RELEASED, *output.rules))
        yield _hold("hold_forward", FORWARD, groups)


_SIDED: Final = ("exempt", "guard", "pass", "group", "fence")
COUNTERS: Final = (*(f"{what}_{side}" for what in _SIDED for side in ("in", "out")), "held")
"""exempt: by an exemption; guard: an address of this host that the policy was not compiled for
yet, or one that it does not have; pass: no filter
matched; group: multicast or broadcast that a negotiate filter caught; fence: clear packets that a negotiate filter
caught; held: packets that wait for an SA.
"""


def table(
    regions: tuple[Region, ...],
    groups: tuple[Prefix, ...],
    guarded: tuple[Address, ...] | None,
    level: int = DEFAULT_LEVEL,
) -> NftTable:
    """The whole table, with the exemptions of this `ipsecexempt`. No regions and no guard: an empty table, nothing is
    filtered.

    `guarded`: the host's addresses, when the policy protects or blocks what `me` sends or receives; None otherwise.
    """
    if not regions and guarded is None:
        return NftTable((), (), COUNTERS)
    asked = {side: maps(regions, inbound) for inbound, side in _SIDES.items()}
    known = () if guarded is None else _own_maps(guarded)
    guards = () if guarded is None else tuple(_guards(known))
    exempt, dropped = exemptions(level, groups), () if groups_exempt(level) else groups
    chains = (*guards, NftChain("defragment", "", DEFRAGMENT), *_chains(asked, dropped, exempt, guarded=bool(guards)))
    return NftTable((*known, *asked["in"], *asked["out"]), chains, COUNTERS)
