# SPDX-License-Identifier: GPL-2.0-or-later
"""Short words for the tests of the engine's parts."""

from __future__ import annotations

from collections.abc import Iterable

from xfrmd.model.addresses import Prefix
from xfrmd.model.nft import NftTable
from xfrmd.model.pad import MainMode, PadEntry, PskAuth
from xfrmd.model.plan import FilterOrigin, Plan, ProtectPolicy, Weight
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform, TransformType
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, PROTOCOL_NUMBERS, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.model.spd import Mode
from xfrmd.transforms import catalog

AT = Span("case.yaml", 1, 1)


def ports(text: str) -> Ports:
    """ "any", "445" or "1-9"."""
    if text == "any":
        return ANY_PORT
    first, _, last = text.partition("-")
    return Ports(int(first), int(last or first))


def selector(src: str, dst: str, protocol: str = "any", sport: str = "any", dport: str = "any") -> Selector:
    """A selector of words; protocol "any" is 0."""
    number = 0 if protocol == "any" else PROTOCOL_NUMBERS[protocol]
    return Selector(Prefix.parse(src), Prefix.parse(dst), number, ports(sport), ports(dport))


def weight(one: Selector) -> Weight:
    """The weight of a selector as the compiler counts it."""
    longer, shorter = max(one.src.length, one.dst.length), min(one.src.length, one.dst.length)
    named = int(not one.sport.is_any) + int(not one.dport.is_any)
    precision = 131072 - one.sport.width - one.dport.width
    dport_named = int(not one.dport.is_any)
    return Weight(longer + shorter, longer, one.src.length, int(one.protocol != 0), named, dport_named, precision)


def transforms(text: str) -> tuple[Transform, ...]:
    """Names like "AES128-GCM SHA256 X25519": encryption, then prf or integrity, key exchanges.

    "i:SHA256" is integrity, "p:SHA256" a prf, "ESN" and "NO-ESN" sequence numbers, anything else is found by name.
    """
    return tuple(map(transform, text.split()))


def transform(name: str) -> Transform:
    """One of them."""
    if name in ("ESN", "NO-ESN"):
        return Transform(TransformType.ESN, int(name == "ESN"))
    kinds = {"i:": catalog.integrity, "p:": catalog.prf}
    if name[:2] in kinds:
        return kinds[name[:2]](name[2:])
    try:
        return catalog.encryption(name)
    except ValueError:
        return catalog.key_exchange(name)


def proposal(text: str, protocol: ProtocolId = ProtocolId.IKE, seconds: int = 3600, kilobytes: int = 0) -> Proposal:
    """A proposal of transforms()."""
    return Proposal(protocol, transforms(text), Lifetime(seconds, kilobytes))


def protect(reqid: int, selectors: Iterable[Selector], mode: Mode = Mode.TRANSPORT) -> ProtectPolicy:
    """A negotiate filter; its weight is that of its heaviest selector."""
    found = tuple(selectors)
    return ProtectPolicy(
        reqid=reqid,
        selectors=found,
        weight=max(map(weight, found)),
        proposals=(proposal("AES128-GCM", ProtocolId.ESP),),
        pfs=False,
        mode=mode,
        origin=FilterOrigin("policy", f"rule {reqid}", "list", "action", AT),
        tunnel=(found[0].src.address, found[0].dst.address) if mode is Mode.TUNNEL else None,
    )


def pad(local: str, remote: str, rule: str = "rule", psk: bytes = b"secret") -> PadEntry:
    """A PAD entry."""
    settings = MainMode((proposal("AES128-GCM p:SHA256 X25519"),))
    return PadEntry(Prefix.parse(local), Prefix.parse(remote), rule, (PskAuth(Secret(psk)),), settings, AT)


def plan(protects: Iterable[ProtectPolicy] = (), entries: Iterable[PadEntry] = ()) -> Plan:
    """A plan of what IKE looks at."""
    heaviest_first = sorted(protects, key=lambda one: one.weight, reverse=True)
    return Plan("case", (), NftTable((), ()), (), tuple(heaviest_first), tuple(entries))
