# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine wants done. The daemon carries effects out in the order given; that order is the safe one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xfrmd.credentials.ocsp import Revoked
from xfrmd.credentials.sources import Source
from xfrmd.ike.events import Endpoint
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector


@dataclass(slots=True, unsafe_hash=True)
class SendDatagram:
    """Send these octets (without non-ESP marker: the udp adapter adds it on port 4500)."""

    local: Final[Endpoint]
    remote: Final[Endpoint]
    data: Final[bytes]


@dataclass(frozen=True, slots=True)
class SendKeepalive:
    """Send the octet that keeps a NAT's mapping alive (RFC 3948 4)."""

    local: Endpoint
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class InstallSa:
    """Put an SA into the kernel. A refusal comes back as SaFailed."""

    sa: SadEntry


@dataclass(frozen=True, slots=True)
class KeepSa:
    """An SA of an earlier run is in the kernel and stays there; the entry has no keys."""

    sa: SadEntry
    added: float
    """When the kernel got it, in wall-clock time."""


@dataclass(frozen=True, slots=True)
class RemoveSa:
    """Take an SA out of the kernel; that it is gone already is no error."""

    protocol: ProtocolId
    spi: int
    src: Address
    dst: Address


@dataclass(frozen=True, slots=True)
class RemapSa:
    """ESP in UDP comes from and goes to another port of the peer's: an SA in the kernel gets these source and
    destination ports, and keeps all else. A refusal comes back as SaFailed.
    """

    protocol: ProtocolId
    spi: int
    dst: Address
    ports: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AskUsed:
    """Has this inbound SA taken anything? SaUsed is the answer if it has."""

    protocol: ProtocolId
    spi: int
    dst: Address


@dataclass(frozen=True, slots=True)
class ReleaseHeld:
    """An outbound SA now carries these packets: let the held ones of this filter and selector go."""

    reqid: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class DropHeld:
    """The negotiation failed: packets held for this filter and selector are dropped."""

    reqid: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class OpenClear:
    """A soft SA: let this outbound traffic of a filter and its answers pass in the clear. ClearOpened is the answer."""

    reqid: int
    selector: Selector
    """The filter's outbound selector, cut to the two hosts."""
    until: float
    """When CloseClear follows at the latest, in the time of `now`."""


@dataclass(frozen=True, slots=True)
class CloseClear:
    """The soft SA ends: this traffic is protected or held again."""

    reqid: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class AddFilter:
    """The default response rule protects this outbound traffic and its reverse from now on; nothing new if it does
    already. SAs with this reqid and selector follow, and must not be installed when this fails: SaFailed.
    """

    reqid: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class RemoveFilter:
    """The other way: what AddFilter has added goes."""

    reqid: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class AskRevocation:
    """Ask this source whether certificates were revoked. RevocationLearnt is the answer, whatever comes of it."""

    source: Source


@dataclass(frozen=True, slots=True)
class KeepRevoked:
    """All that is known by responders of revoked certificates, in the place of what was told before: later runs are to
    hear of it by RevocationKept.
    """

    revoked: tuple[Revoked, ...]


@dataclass(frozen=True, slots=True)
class RevokeTickets:
    """All keys of tickets so far are to be gone for good. TicketKeys with others follows; until then there are none."""


@dataclass(slots=True, unsafe_hash=True)
class Tell:
    """Tell the operator."""

    notice: Final[Notice]


@dataclass(frozen=True, slots=True)
class MoveTunnel:
    """The tunnel that the policy has end at `end` is to end at `gateway`: the plan follows. Both are the same when it
    is to end where the policy says.
    """

    end: Address
    gateway: Address


Effect = (
    SendDatagram
    | SendKeepalive
    | InstallSa
    | KeepSa
    | RemoveSa
    | RemapSa
    | AskUsed
    | ReleaseHeld
    | DropHeld
    | OpenClear
    | CloseClear
    | AddFilter
    | RemoveFilter
    | MoveTunnel
    | AskRevocation
    | KeepRevoked
    | RevokeTickets
    | Tell
)
