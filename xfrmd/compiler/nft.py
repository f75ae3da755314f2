# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions to the table `inet xfrmd`: one hash map per class and mask, asked in weight order, and a fence behind them.

Inbound packets are judged in prerouting: after defragmentation (-400) and connection tracking (-200), before anybody
rewrites the destination (-100). Outbound ones in postrouting, after the source was rewritten (100). So filters speak
of addresses on the wire, and forwarded packets are judged like the host's own.

An element accepts, drops, or returns. Chain `classify_*`, with those that it goes on to, ends in accept, so what
returns from it is for the fence: it passes on an SA only. Packets on an SA go through the maps too, so a narrower block
holds for them.

Fragments have no ports: without defragmentation they would meet other filters than their first one, and a fragmented
IKE datagram would be lost. A tproxy rule turns it on just by being there; no packet reaches it (`defragment`). A ct
rule would as well, but connection tracking costs every packet, and drops all but one of the echo requests that leave
an SA in one burst, while none of them is confirmed yet.

A new address of the host is part of `me` only when the policy has been compiled for it, a moment later. Until then the
chains `guard_in` and `guard_out` let nothing pass with it, exemptions aside, where a filter that protects or blocks
speaks of `me`. An address that has gone is no part of `me`, but in IPv6 sockets that are bound to it go on sending from
it (in IPv4 the kernel refuses). So chain `guard_source` drops what this host sends from IPv6 addresses that it does not
have; transparent proxies, which do that with a privilege, are let by.

Where a policy negotiates, source NAT takes nothing from its SA (`source_nat`), and the chains `hold_*` queue what would
have to wait for an SA. They look at output and forward, where XFRM has looked up the packet already and its addresses
are those that XFRM saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from xfrmd import limits
from xfrmd.compiler import source_nat
from xfrmd.compiler.blocks import DPORT, NAMED, SPORT, WHOLE_PORT, Shape, fields_of
from xfrmd.compiler.exempt import Exemption, exemptions, groups_exempt
from xfrmd.compiler.maps import SIDES, Maps, whole_addresses
from xfrmd.compiler.runs import Asked, Run
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import ElementKey, KeyField, NftChain, NftMap, NftTable

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
_FAMILY: Final = {4: "ip", 6: "ip6"}
DYNAMIC: Final = {
    "psd": NAMED | WHOLE_PORT << SPORT | WHOLE_PORT << DPORT,
    "ps": NAMED | WHOLE_PORT << SPORT,
    "pd": NAMED | WHOLE_PORT << DPORT,
    "p": NAMED,
    "a": 0,
}
"""What the filters of the default response rule name beside two hosts: protocol, source port, destination port."""


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


def _classify(side: str, runs: Iterable[Run]) -> Iterator[NftChain]:
    """A chain, and another one behind each run that some packets leave out.

    `goto` and not `jump`: an element that returns must return to the chain that jumped to the first of them.
    """
    name, rules, number = f"classify_{side}", list[str](), 0
    for run in runs:
        asked = [one.rule for one in run.asked]
        if run.hosts is None:
            rules += asked
            continue
        number += 1
        behind = f"classify_{side}_{number}"
        yield NftChain(
            name, "", (*rules, f"{run.hosts.expression} != @{run.hosts.name} goto {behind}", *asked, f"goto {behind}")
        )
        name, rules = behind, []
    yield NftChain(name, "", (*rules, f"counter name pass_{side} accept"))


def _maps(runs: Iterable[Run]) -> Iterator[NftMap]:
    """What a direction asks, once each: sets, then maps."""
    listed = list(runs)
    yield from {one.name: one for run in listed for one in run.sets}.values()
    yield from (asked.one for run in listed for asked in run.asked)


def dynamic_maps(side: str) -> Iterator[NftMap]:
    """Empty maps for filters that the default response rule makes at run time, between two hosts each. Asked last."""
    for family in _FAMILY:
        hosts = whole_addresses(Shape(family, 0, icmp=False))
        for name, mask in DYNAMIC.items():
            yield NftMap(f"dyn_{side}{family}_{name}", fields_of(hosts._replace(mask=hosts.mask | mask)), {})


def _own_maps(own: tuple[Address, ...]) -> tuple[NftMap, ...]:
    """The addresses of this host that the policy was compiled for: they return from the guard."""
    found = []
    for family, ip in _FAMILY.items():
        elements: dict[ElementKey, str] = {one.packed: "return" for one in own if one.family == family}
        if elements:
            found.append(NftMap(f"own{family}", (KeyField.whole(f"{ip} saddr"),), elements, counted=False))
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
    runs: dict[str, list[Run]],
    negotiates: dict[str, bool],
    groups: tuple[Prefix, ...],
    exempt: tuple[Exemption, ...],
    *,
    guarded: bool,
) -> Iterator[NftChain]:
    fence = {"in": "meta secpath missing", "out": "rt ipsec missing"}
    for side, inbound in (("in", True), ("out", False)):
        yield _exempt(side, inbound, exempt)
        yield from _classify(side, runs[side])
    for side, name, hook, loopback in (
        ("in", "prerouting", PREROUTING, 'iifname "lo" accept'),
        ("out", "postrouting", POSTROUTING, 'oifname "lo" accept'),
    ):
        rules = [loopback, f"jump exempt_{side}", f"jump classify_{side}"]
        if guarded:
            rules.insert(2, f"jump guard_{side}")
        if side == "in":
            rules.insert(1, "meta l4proto 255 jump defragment")
        elif negotiates[side]:
            rules = [*source_nat.FENCE, *rules]
        if negotiates[side]:
            rules += [*_group_rules(side, groups), f"{fence[side]} counter name fence_{side} drop"]
        yield NftChain(name, hook, tuple(rules))
    if negotiates["out"]:
        yield from source_nat.CHAINS
        output = _hold("hold_output", OUTPUT, groups)
        yield replace(output, rules=(RELEASED, *output.rules))
        yield _hold("hold_forward", FORWARD, groups)


_SIDED: Final = ("exempt", "guard", "pass", "group", "fence")
COUNTERS: Final = (*(f"{what}_{side}" for what in _SIDED for side in ("in", "out")), "fence_nat", "held")
"""exempt: by an exemption; guard: an address of this host that the policy was not compiled for
yet, or one that it does not have; pass: no filter
matched; group: multicast or broadcast that a negotiate filter caught; fence: clear packets that a negotiate filter
caught; fence_nat: what source NAT took from its SA; held: packets that wait for an SA.
"""


def table(
    maps: Maps, groups: tuple[Prefix, ...], guarded: tuple[Address, ...] | None, level: int, *, responds: bool
) -> NftTable:
    """The whole table, with the exemptions of this `ipsecexempt`. No maps and no guard: an empty table, nothing is
    filtered.

    `guarded`: the host's addresses, when the policy protects or blocks what `me` sends or receives; None otherwise.
    `responds`: there is a default response rule, whose filters come and go at run time.
    """
    runs = {side: [*maps.runs(inbound)] for inbound, side in SIDES.items()}
    if responds:
        for side, asked in runs.items():
            asked.append(Run(tuple(map(Asked, dynamic_maps(side)))))
    if guarded is None and not any(runs.values()):
        return NftTable((), (), COUNTERS)
    known = () if guarded is None else _own_maps(guarded)
    guards = () if guarded is None else tuple(_guards(known))
    negotiates = {side: responds or maps.negotiates(inbound) for inbound, side in SIDES.items()}
    exempt, dropped = exemptions(level, groups), () if groups_exempt(level) else groups
    chains = _chains(runs, negotiates, dropped, exempt, guarded=bool(guards))
    defragment = NftChain("defragment", "", DEFRAGMENT)
    return NftTable((*known, *_maps(runs["in"]), *_maps(runs["out"])), (*guards, defragment, *chains), COUNTERS)
