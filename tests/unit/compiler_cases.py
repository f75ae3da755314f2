# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies, facts and packets for the compiler's tests, written short."""

from __future__ import annotations

import itertools

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.model.pad import PskAuth
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform, TransformType
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, PROTOCOL_NUMBERS, Packet, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.policy.words import (
    Action,
    AddressSpec,
    AddressWord,
    Config,
    ConnectionType,
    Filter,
    FilterAction,
    FilterList,
    Policy,
    PolicySet,
    Rule,
    TunnelEnd,
)

FILE = "policy.yaml"
ESP_AES = Proposal(
    ProtocolId.ESP,
    (Transform(TransformType.ENCR, 20, 128), Transform(TransformType.ESN, 0)),
    Lifetime(3600, 100_000),
)
IKE_AES = Proposal(
    ProtocolId.IKE,
    (
        Transform(TransformType.ENCR, 20, 128),
        Transform(TransformType.PRF, 5),
        Transform(TransformType.KE, 31),
    ),
    Lifetime(28_800),
)
_NAMES = itertools.count(1)


def addresses(text: str) -> AddressSpec:
    """ "me", "any", another word, an address, a prefix, or "a,b" for a range that is several prefixes."""
    words = {word.value: word for word in AddressWord}
    if text in words:
        return words[text]
    if text[0].isalpha() and ":" not in text:
        return text
    return tuple(Prefix.parse(part) for part in text.split(","))


def ports(text: str | int) -> tuple[Ports, ...]:
    """ "any", 80, "80,443" or "1000-1999"."""
    if text == "any":
        return (ANY_PORT,)
    found = []
    for part in str(text).split(","):
        first, _, last = part.partition("-")
        found.append(Ports(int(first), int(last or first)))
    return tuple(found)


def one(
    src: str,
    dst: str,
    protocol: str = "any",
    sport: str | int = "any",
    dport: str | int = "any",
    *,
    mirrored: bool = True,
    line: int = 1,
) -> Filter:
    """A filter."""
    number = 0 if protocol == "any" else PROTOCOL_NUMBERS[protocol]
    at = Span(FILE, line, 9)
    return Filter(addresses(src), addresses(dst), at, number, ports(sport), ports(dport), mirrored)


def rule(
    action: str,
    *filters: Filter,
    line: int = 1,
    name: str = "",
    psk: bytes = b"secret",
    conntype: str = "all",
    inpass: bool = False,
    soft: bool = False,
    active: bool = True,
    tunnel: str | None = None,
) -> Rule:
    """A rule with a filter list and a filter action of its own."""
    name = name or f"rule {line}"
    at = Span(FILE, line, 5)
    what = Action(action)
    negotiates = what is Action.NEGOTIATE
    return Rule(
        name=name,
        filter_list=FilterList(f"list of {name}", filters, at),
        filter_action=FilterAction(
            action, what, at, qmsecmethods=(ESP_AES,) if negotiates else (), inpass=inpass, soft=soft
        ),
        auth=(PskAuth(Secret(psk)),) if negotiates else (),
        at=at,
        conntype=ConnectionType(conntype),
        active=active,
        tunnel=_end(tunnel) if tunnel else None,
    )


def _end(text: str) -> TunnelEnd:
    return text if text[0].isalpha() and ":" not in text else Address.parse(text)


def tunnel(here: str, there: str, near: str, far: str, *, line: int = 1, conntype: str = "all") -> tuple[Rule, Rule]:
    """The two rules of a tunnel between two networks, from end `near` to end `far`; lines `line` and the next."""
    return (
        rule("negotiate", one(here, there, mirrored=False, line=line), line=line, tunnel=far, conntype=conntype),
        rule(
            "negotiate", one(there, here, mirrored=False, line=line + 1), line=line + 1, tunnel=near, conntype=conntype
        ),
    )


def policy(*rules: Rule, qmpermm: int = 0, mmpfs: bool = False, mirrors: bool = True) -> PolicySet:
    """A policy set with one assigned policy."""
    made = Policy("Test", rules, (IKE_AES,), Span(FILE, 1, 1), qmpermm, mmpfs)
    return PolicySet((made,), made, config=Config(mirror_blocks=mirrors))


def facts(*on_link: str, dialup: tuple[str, ...] = (), dns: tuple[str, ...] = ()) -> HostFacts:
    """A host with these addresses, each as "10.1.0.5/16"."""

    def interface(name: str, kind: InterfaceKind, texts: tuple[str, ...]) -> Interface:
        parts = (text.partition("/") for text in texts)
        return Interface(name, kind, tuple(InterfaceAddress(Address.parse(a), int(length)) for a, _, length in parts))

    interfaces = (interface("eth0", InterfaceKind.LAN, on_link), interface("ppp0", InterfaceKind.DIALUP, dialup))
    return HostFacts(tuple(i for i in interfaces if i.addresses), dns_servers=tuple(map(Address.parse, dns)))


HOST = facts("10.1.0.5/16", "fd00:1::5/64")


def packet(direction: str, src: str, dst: str, protocol: str = "tcp", sport: int = 40000, dport: int = 445) -> Packet:
    """One packet; for ICMP `sport` is the type and `dport` the code."""
    return Packet(
        direction == "in",
        Selector(
            Prefix.host(Address.parse(src)),
            Prefix.host(Address.parse(dst)),
            PROTOCOL_NUMBERS[protocol],
            Ports(sport, sport),
            Ports(dport, dport),
        ),
    )
