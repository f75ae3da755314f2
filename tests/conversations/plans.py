# SPDX-License-Identifier: GPL-2.0-or-later
"""Small Plans for conversations, made by hand: what the compiler would make of a policy between few hosts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xfrmd import limits
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import NftTable
from xfrmd.model.pad import AuthMethod, MainMode, PadEntry, PskAuth
from xfrmd.model.plan import FilterOrigin, Plan, ProtectPolicy, Weight
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform
from xfrmd.model.secret import Secret
from xfrmd.model.selector import ANY_PORT, TCP, Ports, Selector
from xfrmd.model.source import Span
from xfrmd.model.spd import Mode

AT = Span("test.yaml", 1, 1)
ENCR_GCM, ENCR_CBC = Transform(1, 20, 128), Transform(1, 12, 256)
PRF, INTEG, ESN_OFF = Transform(2, 5), Transform(3, 12), Transform(5, 0)
X25519, P256 = Transform(4, 31), Transform(4, 19)
GCM_X25519 = (ENCR_GCM, PRF, X25519)
GCM_P256 = (ENCR_GCM, PRF, P256)
CBC_X25519 = (ENCR_CBC, INTEG, PRF, X25519)
ALL_REQID, SMB_REQID, DEFAULT_REQID = 0x58460001, 0x58460002, 0x58460010


@dataclass(frozen=True)
class Settings:
    """What the conversations vary."""

    ike: tuple[tuple[Transform, ...], ...] = (GCM_X25519, CBC_X25519)
    esp: tuple[tuple[Transform, ...], ...] = ((ENCR_GCM, ESN_OFF), (ENCR_CBC, INTEG, ESN_OFF))
    protocol: ProtocolId = ProtocolId.ESP
    """Of `esp`."""
    psk: bytes = b"correct horse battery staple"
    auth: tuple[AuthMethod, ...] = ()
    """In place of the psk."""
    pfs: bool = False
    ike_seconds: int = 28800
    child_seconds: int = 3600
    smb: bool = False
    """A second, heavier filter for TCP port 445."""
    soft: bool = False
    soft_seconds: int = 300
    encapsulate: bool = False
    fragment_size: int = limits.FRAGMENT_SIZE
    auth_seconds: int = 0
    resumption: bool = True


def plan(own: Address, peers: Iterable[Address], settings: Settings = Settings()) -> Plan:
    """The Plan of a host that protects everything between itself and its peers."""
    proposals = tuple(_proposal(ProtocolId.IKE, t, settings.ike_seconds) for t in settings.ike)
    main_mode = MainMode(
        proposals,
        encapsulate=settings.encapsulate,
        auth_seconds=settings.auth_seconds,
        resumption=settings.resumption,
        fragment_size=settings.fragment_size,
    )
    auth = settings.auth or (PskAuth(Secret(settings.psk)),)
    local = Prefix.host(own)
    remotes = [Prefix.host(peer) for peer in peers]
    pad = tuple(PadEntry(local, remote, "everything", auth, main_mode, AT) for remote in remotes)
    everything = tuple(Selector(local, remote) for remote in remotes)
    protects = [_protect(ALL_REQID, everything, 0, settings)]
    if settings.smb:
        smb = [Selector(local, remote, TCP, ANY_PORT, Ports(445, 445)) for remote in remotes]
        smb += [Selector(local, remote, TCP, Ports(445, 445), ANY_PORT) for remote in remotes]
        protects.append(_protect(SMB_REQID, tuple(smb), 1, settings))
    return Plan("test", (), NftTable((), ()), (), tuple(protects), pad)


def responding(settings: Settings = Settings()) -> Plan:
    """The Plan of a host that has nothing but the default response rule."""
    anybody = [Prefix.any(family) for family in (4, 6)]
    template = plan(Address.parse("10.0.0.1"), [Address.parse("10.0.0.2")], settings)
    pad = tuple(replace(template.pad[0], local=any_, remote=any_, rule="default response") for any_ in anybody)
    rules = tuple(
        replace(_protect(DEFAULT_REQID + n, (Selector(any_, any_),), 0, settings), responds=True)
        for n, any_ in enumerate(anybody)
    )
    return replace(template, protect=rules, pad=pad)


def _proposal(protocol: ProtocolId, transforms: tuple[Transform, ...], seconds: int) -> Proposal:
    return Proposal(protocol, transforms, Lifetime(seconds))


def _protect(reqid: int, selectors: tuple[Selector, ...], ports_named: int, settings: Settings) -> ProtectPolicy:
    return ProtectPolicy(
        reqid=reqid,
        selectors=selectors,
        weight=Weight(64, 32, 32, ports_named, ports_named, 0, 0),
        proposals=tuple(_proposal(settings.protocol, t, settings.child_seconds) for t in settings.esp),
        pfs=settings.pfs,
        mode=Mode.TRANSPORT,
        origin=FilterOrigin("test", "everything", "list", "action", AT),
        soft=settings.soft,
        soft_seconds=settings.soft_seconds if settings.soft else 0,
    )
