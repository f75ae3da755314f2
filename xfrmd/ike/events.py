# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine is told. Each is a fact from outside; time is passed beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.credentials.ocsp import Revoked
from xfrmd.credentials.sources import News, Source
from xfrmd.ike.saved import KernelSas, Saved
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector


class Endpoint(NamedTuple):
    """An address and UDP port of an IKE peer or of ourselves."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.family == 6 else f"{self.address}:{self.port}"


@dataclass(slots=True, unsafe_hash=True)
class DatagramReceived:
    """Octets from the network, hostile until proved otherwise. On port 4500 the non-ESP marker is already removed."""

    local: Final[Endpoint]
    remote: Final[Endpoint]
    data: Final[bytes]


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet wants an SA: the kernel's XFRM_MSG_ACQUIRE, or a packet that the hold queue keeps."""

    reqid: int
    packet: Selector
    """The outbound packet itself: host prefixes, and its protocol and ports as far as known."""


@dataclass(frozen=True, slots=True)
class SaExpired:
    """The kernel's XFRM_MSG_EXPIRE for one of our SAs; a hard one also where the SA has gone for another reason."""

    spi: int
    protocol: ProtocolId
    dst: Address
    hard: bool
    why: str = "its lifetime is over"


@dataclass(frozen=True, slots=True)
class SaFailed:
    """The kernel refused to install an SA of ours; the pair it belongs to must go."""

    spi: int
    protocol: ProtocolId
    dst: Address
    reason: str


@dataclass(frozen=True, slots=True)
class SaUsed:
    """Octets an SA has carried so far, read from the kernel. Inbound they prove that the peer and its new SA live;
    outbound without an echo they raise the question (RFC 7296 2.4), so both directions are to be told.
    """

    spi: int
    protocol: ProtocolId
    dst: Address
    octets: int


@dataclass(frozen=True, slots=True)
class Remapped:
    """The kernel's XFRM_MSG_MAPPING: authentic ESP in UDP on an inbound SA of ours came from another address or port
    than the SA has.
    """

    spi: int
    protocol: ProtocolId
    dst: Address
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class ClearOpened:
    """What became of OpenClear: from now on this traffic passes in the clear, or why it does not."""

    reqid: int
    selector: Selector
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """A new Plan is in force. SAs whose reqid, selectors or peer it no longer has are deleted."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Adopt:
    """What an earlier run has left, and which of its SAs the kernel has. To be told once, after the first PlanChanged.

    SAs in the kernel of which no KeepSa speaks belong to nobody.
    """

    saved: Saved
    kernel: KernelSas


@dataclass(frozen=True, slots=True)
class CrashSecrets:
    """What tokens are made of (RFC 6290), the newest first. To be told once adoption is over: from then on an IKE SA
    that the engine does not know is lost.
    """

    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class TicketKeys:
    """What tickets are made with (RFC 5723), the newest first. To be told once adoption is over: until then it is not
    known which were used. Without any, none are given and none of ours are taken.
    """

    keys: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class RevocationLearnt:
    """What a source has said of revoked certificates, proved to be its authority's; None, and why there is nothing."""

    source: Source
    news: News | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class RevocationKept:
    """Whom responders have called revoked in earlier runs: what the last KeepRevoked told, as far as it holds still. To
    be told before anybody is heard. Or lists of earlier runs, by their addresses in DER, proved to be their
    authorities', which clear nobody any more and still tell whom they name.
    """

    revoked: tuple[Revoked, ...] = ()
    lists: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Initiate:
    """The operator wants an SA for this filter and peer without traffic asking for it."""

    reqid: int
    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class InitiateIke:
    """An IKE SA alone is wanted, if the peer takes that (RFC 6023): to measure handshakes."""

    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class Rekey:
    """The operator wants an SA replaced now. `spi` is our inbound child SPI (4 octets) or our IKE SPI (8 octets)."""

    spi: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """The operator wants an SA gone, so that it does not come back by a ticket either; SPI as in Rekey. None: all, with
    what was before them.
    """

    spi: bytes | None


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The daemon ends, and no other run goes on with its SAs: all go, and peers are told. Tickets that they have count
    on, as the host may come back (docs/decisions/0038).
    """


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The deadline given by next_deadline() has come (or any other time: the engine looks at `now`)."""


Event = (
    DatagramReceived
    | Acquire
    | SaExpired
    | SaFailed
    | SaUsed
    | Remapped
    | ClearOpened
    | PlanChanged
    | Adopt
    | CrashSecrets
    | TicketKeys
    | RevocationLearnt
    | RevocationKept
    | Initiate
    | InitiateIke
    | Rekey
    | Delete
    | Goodbye
    | TimerFired
)
