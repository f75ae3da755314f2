# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine shows of itself to `status` and `sas`: facts, never keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xfrmd.ike.events import Endpoint
from xfrmd.ike.proven import Proofs
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.proposals import ProtocolId, Transform
from xfrmd.model.selector import Selector


class ChildSaView(NamedTuple):
    """One child SA: a pair of ESP SAs. `selectors` are outbound."""

    protocol: ProtocolId
    spi_in: int
    spi_out: int
    reqid: int
    selectors: tuple[Selector, ...]
    state: str
    created: float
    """Time as the engine was told it (`now`)."""


class IkeSaView(NamedTuple):
    """One IKE SA with its children. `rekey_at` is a time as the engine was told it, None when none is planned."""

    local_spi: bytes
    remote_spi: bytes
    local: Endpoint
    remote: Endpoint
    initiator: bool
    state: str
    rule: str
    """Rule of the PAD entry, "" while it is not known yet."""
    local_id: str
    remote_id: str
    transforms: tuple[Transform, ...]
    created: float
    rekey_at: float | None
    reauth_at: float | None
    """When both ends are to authenticate anew, as `rekey_at`."""
    children: tuple[ChildSaView, ...]
    nat: str = ""
    """Whose address is translated: "ours", "the peer's", both; "forced" without a NAT; "" for plain ESP."""
    proofs: Proofs = Proofs()
    vendor: str = ""
    """Whose IKE the peer seems to have, "" when its Vendor IDs do not tell."""
    extensions: tuple[str, ...] = ()
    """What both ends have agreed to beyond RFC 7296: "moves" and "follows" (RFC 4555, we and the peer), "fragments"
    (RFC 7383), "crash-token" (RFC 6290, the peer's), "ticket" that we hold, "ticket-given", "resumed" (RFC 5723),
    "redirected" (RFC 5685).
    """


@dataclass(frozen=True, slots=True)
class SoftSaView:
    """Traffic that passes in the clear because its peer does not speak IKE. Times as the engine was told them."""

    reqid: int
    rule: str
    local: Address
    remote: Address
    selector: Selector
    """Outbound."""
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class FailureView:
    """The last thing that went wrong with a peer, forgotten when it works again."""

    peer: Address
    at: float
    """Time as the engine was told it."""
    notice: Notice


@dataclass(frozen=True, slots=True)
class EngineView:
    """All that the engine shows."""

    ike_sas: tuple[IkeSaView, ...]
    counters: dict[str, int]
    failures: tuple[FailureView, ...]
    """Newest last."""
    negotiating: int
    """Demands of traffic that have neither an SA nor a refusal yet."""
    half_open: int
