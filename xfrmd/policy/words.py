# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy as its author wrote it, checked and typed: Windows' words, each with its place in the file."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.pad import CRL_IF_KNOWN, AuthMethod, Identity, Ppk
from xfrmd.model.proposals import Proposal
from xfrmd.model.selector import ANY_PORT, Ports
from xfrmd.model.source import Problem, Span
from xfrmd.model.store import Store


class AddressWord(enum.Enum):
    """Addresses that are filled in from the host's facts."""

    ME = "me"
    ANY = "any"
    DNS_SERVERS = "dns-servers"
    WINS_SERVERS = "wins-servers"
    DHCP_SERVER = "dhcp-server"
    DEFAULT_GATEWAY = "default-gateway"


AddressSpec = AddressWord | tuple[Prefix, ...] | str
"""A word, literal addresses (a range is several prefixes), or a DNS name (str)."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a filter list, not yet expanded."""

    src: AddressSpec
    dst: AddressSpec
    at: Span
    protocol: int = 0
    sports: tuple[Ports, ...] = (ANY_PORT,)
    dports: tuple[Ports, ...] = (ANY_PORT,)
    mirrored: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True)
class FilterList:
    """A named list of filters."""

    name: str
    filters: tuple[Filter, ...]
    at: Span
    description: str = ""


class Action(enum.Enum):
    """The three filter actions of Windows."""

    PERMIT = "permit"
    BLOCK = "block"
    NEGOTIATE = "negotiate"


@dataclass(frozen=True, slots=True)
class FilterAction:
    """What is done with packets that a rule's filters match."""

    name: str
    action: Action
    at: Span
    qmsecmethods: tuple[Proposal, ...] = ()
    qmpfs: bool = False
    inpass: bool = False
    soft: bool = False
    description: str = ""


class ConnectionType(enum.Enum):
    """Windows' connection types (`conntype`)."""

    ALL = "all"
    LAN = "lan"
    DIALUP = "dialup"


TunnelEnd = Address | str
"""Where a tunnel ends: an address, or a DNS name (str)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A filter list with a filter action, and how peers prove who they are."""

    name: str
    filter_list: FilterList
    filter_action: FilterAction
    auth: tuple[AuthMethod, ...]
    at: Span
    conntype: ConnectionType = ConnectionType.ALL
    active: bool = True
    local_id: Identity | None = None
    remote_id: Identity | None = None
    description: str = ""
    ppk: Ppk | None = None
    tunnel: TunnelEnd | None = None
    """End of the tunnel that packets of the filters go to: the far gateway's for outbound filters, an address of this
    host for inbound ones, as in Windows. None: transport mode."""
    redirects: tuple[Address, ...] = ()
    """Other gateways to which the far one may send us."""
    redirect_to: Address | None = None
    """Where we send those who come by the tunnel."""


@dataclass(frozen=True, slots=True)
class DefaultResponse:
    """The default response rule: how peers that no rule names are answered. It never begins and never blocks."""

    auth: tuple[AuthMethod, ...]
    qmsecmethods: tuple[Proposal, ...]
    at: Span
    qmpfs: bool = False


class Unresolved(enum.Enum):
    """What filters mean whose DNS name has no address now."""

    KEEP = "keep"
    """Its last addresses; nothing if it never had one."""
    BLOCK = "block"
    """Fail closed: permit filters mean nothing, block and negotiate filters block towards any address."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: rules and main mode settings."""

    name: str
    rules: tuple[Rule, ...]
    mmsecmethods: tuple[Proposal, ...]
    """In order of preference; each lifetime is `mmlifetime`."""
    at: Span
    qmpermm: int = 0
    mmpfs: bool = False
    description: str = ""
    soft_seconds: int = 300
    """Lifetime of a soft SA (`softsaexpirationtime`)."""
    default_response: DefaultResponse | None = None
    unresolved: Unresolved = Unresolved.KEEP
    store: Store = Store.LOCAL
    forceencapsulation: bool = False
    """ESP in UDP whatever stands between the ends."""
    resumption: bool = False
    """IKE SAs that were lost may go on from tickets."""
    auth_seconds: int = 0
    """After so long both ends authenticate anew (`mmauthlifetime`); 0: as long as their certificates hold."""


class BootMode(enum.Enum):
    """What passes from the start of the system until a policy is in force (Windows `bootmode`)."""

    STATEFUL = "stateful"
    """What the host begins and the answers to it, except what the saved policy blocks or protects."""
    BLOCK = "block"
    """Boot exemptions, DHCP and neighbour discovery only."""
    PERMIT = "permit"
    """Everything."""


class OnStop(enum.Enum):
    """What becomes of the policy in the kernel when an administrator stops the daemon."""

    KEEP = "keep"
    """It goes on being enforced."""
    OPEN = "open"
    """It is removed: nothing is filtered or protected any more."""


@dataclass(frozen=True, slots=True)
class BootExemption:
    """Packets that pass while the system starts, and the answers to them (Windows `bootexemptions`)."""

    protocol: int
    """ICMP stands for ICMPv6 in IPv6 too."""
    inbound: bool
    sport: int = 0
    """Source port, 0 for any."""
    dport: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the computer, beside its policies (`netsh ipsec dynamic set config`)."""

    ipsecexempt: int = 3
    """Default exemptions: 0 IKE, Kerberos, RSVP, multicast, broadcast; 1 IKE, multicast, broadcast; 2 IKE, Kerberos,
    RSVP; 3 IKE only."""
    management: tuple[int, ...] = (22,)
    """TCP ports by which the host is managed: a policy that closes one to everybody is refused."""
    allow_lockout: bool = False
    """That is meant."""
    mirror_blocks: bool = True
    """Block filters are XFRM policies too, where that costs little."""
    strongcrlcheck: int = CRL_IF_KNOWN
    """How certificates are held against revocation lists, where a rootca does not say it."""
    on_stop: OnStop = OnStop.KEEP
    bootmode: BootMode | None = None
    """None: stateful once a policy has been assigned on this host, permit before."""
    bootexemptions: tuple[BootExemption, ...] = ()
    given: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the settings that stand in the file; the others have their defaults."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of a file or of several stores, and the one that is assigned."""

    policies: tuple[Policy, ...]
    assigned: Policy | None
    warnings: tuple[Problem, ...] = ()
    config: Config = Config()
    persistent: Policy | None = None
    """The policy of the persistent store, in force beside the assigned one."""

    @property
    def in_force(self) -> tuple[Policy, ...]:
        """The policies that apply, in the order in which they decide between equally specific filters. None: nothing
        is filtered.
        """
        return tuple(one for one in (self.persistent, self.assigned) if one is not None)
