# SPDX-License-Identifier: GPL-2.0-or-later
"""The Plan: all that a policy means on one host. The compiler makes it, the reconciler installs it, IKE reads it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import ElementChange, ElementKey, NftTable
from xfrmd.model.pad import PadEntry
from xfrmd.model.proposals import Proposal, ProtocolId
from xfrmd.model.selector import Selector
from xfrmd.model.source import Span
from xfrmd.model.spd import Mode, SpdEntry
from xfrmd.model.store import Store


class Verdict(enum.Enum):
    """What happens to a packet. PASS: no filter matches, it passes unmodified."""

    PERMIT = "permit"
    BLOCK = "block"
    NEGOTIATE = "negotiate"
    PASS = "pass"  # noqa: S105 (a verdict, no password)


class Weight(NamedTuple):
    """A filter's specificity; compare as a tuple, larger wins (architecture 4). The order of the fields is the rule."""

    prefix_sum: int
    """Prefix lengths of both ends, in bits, summed. IPv4 and IPv6 never meet, so their scales need not."""
    longer_prefix: int
    source_prefix: int
    protocol_named: int
    """1 or 0."""
    ports_named: int
    """0, 1 or 2: source and destination port. An ICMP type counts as a port."""
    destination_port_named: int
    port_precision: int
    """131072 less the width of both port ranges in ports: a port beats a range, a narrow range a wide one."""

    def __str__(self) -> str:
        return ".".join(map(str, self))


class FilterOrigin(NamedTuple):
    """Where a filter comes from, in the words of the policy."""

    policy: str
    rule: str
    filter_list: str
    filter_action: str
    at: Span
    """Place of the filter in its filter list."""
    store: Store = Store.LOCAL


class SpecificFilter(NamedTuple):
    """A filter with every word replaced by addresses: one direction, one selector, one verdict.

    After compilation the regions of equal weight are disjoint, so (weight descending) decides. A tuple, as there may be
    hundreds of thousands.
    """

    inbound: bool
    selector: Selector
    verdict: Verdict
    weight: Weight
    origin: FilterOrigin
    reqid: int = 0
    inpass: bool = False
    soft: bool = False
    number: int = 0
    """Order of its filter in the policies: of equal weights the smaller number wins. For nothing but comparing."""
    tunnel: tuple[Address, Address] | None = None
    """Outer source and destination, in the direction of the selector."""
    protocol: ProtocolId = ProtocolId.ESP
    """Of the SAs of a negotiate filter."""


@dataclass(frozen=True, slots=True)
class ProtectPolicy:
    """What IKE needs to negotiate child SAs for one negotiate filter (Windows quick mode policy).

    `selectors` are outbound (local -> remote) and name every packet the SAs may carry; inbound is their reverse.
    """

    reqid: int
    selectors: tuple[Selector, ...]
    weight: Weight
    proposals: tuple[Proposal, ...]
    pfs: bool
    """Windows `qmpfs`: a new key exchange for each child SA (not for the one of IKE_AUTH, which cannot)."""
    mode: Mode
    origin: FilterOrigin
    soft: bool = False
    inpass: bool = False
    tunnel: tuple[Address, Address] | None = None
    """Tunnel endpoints, local then remote."""
    soft_seconds: int = 0
    """Lifetime of a soft SA, when `soft`."""
    responds: bool = False
    """The default response rule: it answers whoever asks and never begins. Its one selector is any to any."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy compiled for one host. Equal input gives an equal Plan, byte for byte.

    The compiler makes the long parts when they are first asked for, and keeps them up to date as facts change.
    """

    policy: str
    """Its name; those of several stores are joined by " + ", the persistent one first. "" when nothing is assigned."""
    filters: Sequence[SpecificFilter]
    """All specific filters, heaviest first."""
    nft: NftTable
    spd: Sequence[SpdEntry]
    protect: Sequence[ProtectPolicy]
    pad: Sequence[PadEntry]
    local: tuple[Address, ...] = ()
    """The host's addresses; exemptions such as IKE's hold for them only."""
    groups: tuple[Prefix, ...] = ()
    """Multicast and broadcast destinations: never negotiated, so a negotiate filter drops there."""
    ipsecexempt: int = 3
    """Which exemptions hold (words.Config)."""
    mirrored: bool = True
    """What is blocked stands in the SPD too. False: in nftables alone."""


@dataclass(frozen=True, slots=True)
class PlanDelta:
    """How one Plan becomes another: what the kernel must be told, and nothing else."""

    elements: Mapping[str, ElementChange] = field(default_factory=dict)
    """By the name of a map that both Plans have."""
    structure: bool = False
    """Maps, chains or counters of the table come, go or change: its frame must be exchanged."""
    spd_gone: tuple[SpdEntry, ...] = ()
    """Entries whose direction and selector the new Plan does not have."""
    spd_new: tuple[SpdEntry, ...] = ()
    """Entries that are new, or that differ from the old one of their direction and selector."""
    negotiates: bool = False
    """Protect policies or PAD entries changed: IKE must hear of it."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What stands in the kernel beside the Plan for a while: soft SAs, and filters that the default response rule made.

    It belongs to us as the Plan does: comparing and applying count it in.
    """

    spd: tuple[SpdEntry, ...] = ()
    elements: Mapping[str, Mapping[ElementKey, str]] = field(default_factory=dict)
    """Elements by the name of a map that the Plan has (empty) for them."""


NO_OVERLAY: Final = Overlay()
