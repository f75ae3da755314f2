# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the engine outlives the process (docs/decisions/0023), as values: established IKE SAs with their windows,
keys and child SAs. Handshakes, demands and soft SAs do not: traffic asks anew.

Times are those of the engine's clock, which must go on from one run to the next. Filters are named by their reqids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xfrmd.ike.narrow import Traffic
from xfrmd.ike.path import NO_NAT, Nat
from xfrmd.ike.proven import Proofs, Term
from xfrmd.ike.select import Suite
from xfrmd.ike.session import Session
from xfrmd.ike.v2.header import Header
from xfrmd.model.addresses import Address
from xfrmd.model.pad import Identity
from xfrmd.model.plain import reader, writer
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector

VERSION: Final = 1
"""Of these values. A higher one is not read."""


class Place(NamedTuple):
    """An address and UDP port."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class SavedWindow:
    """Message IDs of both directions, our outstanding request and the last response we gave. `request` is the peer's
    last one, or its SHA-256.
    """

    next_id: int
    expected: int
    request: bytes
    response: bytes
    sent: bytes | None
    sent_id: int
    sent_times: int


@dataclass(frozen=True, slots=True)
class SavedKeys:
    """Keys of an IKE SA by their names in RFC 7296 2.14, and how many IVs have been used."""

    sk_d: Secret
    sk_ai: Secret
    sk_ar: Secret
    sk_ei: Secret
    sk_er: Secret
    ivs: int


@dataclass(frozen=True, slots=True)
class SavedAgreed:
    """What a child SA carries."""

    reqid: int
    selector: Selector
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class SavedOffer:
    """What an outstanding request proposes. `seed` makes its key exchange again."""

    spi: bytes
    proposals: tuple[Proposal, ...]
    nonce: bytes
    seed: Secret | None
    method: Transform | None
    agreed: SavedAgreed | None


@dataclass(frozen=True, slots=True)
class SavedFollowUp:
    """Additional key exchanges that a request has led to: the answer to it, and how far they have come."""

    header: Header
    first: int
    content: Secret
    left: tuple[Transform, ...]
    link: bytes
    secrets: Secret
    seed: Secret
    """Makes the one again that is under way."""


@dataclass(frozen=True, slots=True)
class SavedTask:
    """The task whose request is outstanding. Child SAs are named by our SPIs."""

    kind: str
    child: int | None
    doomed: tuple[int, ...]
    spis: tuple[bytes, ...]
    offer: SavedOffer | None
    method: Transform | None
    restarts: int
    reason: int
    stillborn: tuple[int, ...]
    follow: SavedFollowUp | None = None
    cookie: bytes = b""
    protocol: ProtocolId = ProtocolId.ESP
    """Of `spis`."""


@dataclass(frozen=True, slots=True)
class SavedIkeSa:
    """One IKE SA. `proof` tells whether the peer would still be authenticated in the same way."""

    initiator: bool
    spi_i: bytes
    spi_r: bytes
    local: Place
    remote: Place
    state: str
    created: float
    settled: float
    ends: float
    rekey_at: float | None
    window: SavedWindow
    task: SavedTask | None
    disowned: tuple[bytes, ...]
    """SPIs of ours, of ESP, that the peer is still to be told to delete."""
    keys: SavedKeys
    suite: Suite
    lifetime: int
    local_id: Identity | None
    remote_id: Identity | None
    rival: bytes | None
    lowest_nonce: bytes
    proof: bytes
    peer_token: bytes = b""
    disowned_ah: tuple[bytes, ...] = ()
    """The same of AH."""
    rekeyed: bool = False

    @property
    def spi(self) -> bytes:
        """Our SPI."""
        return self.spi_i if self.initiator else self.spi_r


@dataclass(frozen=True, slots=True)
class SavedLineage:
    """IKE SAs that replaced one another, oldest first; `current` and `children` by our SPIs."""

    local: Place
    remote: Place
    ike_sas: tuple[SavedIkeSa, ...]
    current: bytes | None
    children: tuple[int, ...]
    quick_modes: int
    full: bool
    believed_until: float | None
    """When what the peer has proved ends, None where it does not."""
    moves: bool = False
    follows: bool = False
    nat: Nat = NO_NAT
    proofs: Proofs = field(default_factory=Proofs)
    term: Term = field(default_factory=Term)
    vendor: str = ""
    fragments: bool = False
    authenticated: float = 0.0
    resumed: bool = False
    ticket: bytes = b""
    renews: bool = False
    led: bool = False
    leads: bool = False


@dataclass(frozen=True, slots=True)
class SavedChild:
    """One child SA. Its keys are in the kernel; `pending_out` has those that are still to go there."""

    spi_in: int
    spi_out: int
    local: Address
    remote: Address
    agreed: SavedAgreed
    suite: Suite
    lifetime: Lifetime
    initiator: bool
    lowest_nonce: bytes
    created: float
    state: str
    successor: int | None
    predecessor: int | None
    pending_out: SadEntry | None
    protocol: ProtocolId
    switch_at: float | None
    ports: tuple[int, int] | None = None
    """As ChildSa has them."""


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter that the default response rule has made. `ends`: when it has had no child SA for long."""

    reqid: int
    selector: Selector
    local: Address
    remote: Address
    ends: float | None


@dataclass(frozen=True, slots=True)
class SavedTicket:
    """A ticket that a peer has given us."""

    remote: Address
    ticket: Secret
    session: Session


@dataclass(frozen=True, slots=True)
class SavedSpent:
    """A ticket of ours that no longer counts. `until` in seconds since 1970."""

    name: bytes
    until: float


@dataclass(frozen=True, slots=True)
class SavedRedirect:
    """A tunnel that ends at `gateway` in place of `end`, as `last` has sent us there."""

    gateway: Address
    end: Address
    last: Address


@dataclass(frozen=True, slots=True)
class Saved:
    """All of it."""

    lineages: tuple[SavedLineage, ...] = ()
    children: tuple[SavedChild, ...] = ()
    filters: tuple[SavedFilter, ...] = ()
    tickets: tuple[SavedTicket, ...] = ()
    spent: tuple[SavedSpent, ...] = ()
    redirects: tuple[SavedRedirect, ...] = ()


class Record(NamedTuple):
    """One value by its name, which stays the same while it changes. No content: it is gone."""

    name: str
    content: Secret | None


Value = SavedLineage | SavedChild | SavedFilter | SavedTicket | SavedSpent | SavedRedirect
_KINDS: Final[dict[str, type]] = {
    "lineage": SavedLineage,
    "child": SavedChild,
    "filter": SavedFilter,
    "ticket": SavedTicket,
    "spent": SavedSpent,
    "redirect": SavedRedirect,
}
_WORDS: Final = {kind: word for word, kind in _KINDS.items()}
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_WRITERS: Final = {kind: writer(kind) for kind in _WORDS}


def encode(value: Value) -> Secret:
    """A value as the content of a record."""
    kind = type(value)
    return Secret(_ENCODER.encode([_WORDS[kind], _WRITERS[kind](value)]).encode())


def decode(records: Iterable[bytes]) -> Saved:
    """The values of all records. ValueError for whatever `encode` of this version or an older one has not made."""
    found: dict[type, list[Value]] = {kind: [] for kind in _KINDS.values()}
    for content in records:
        try:
            word, plain = json.loads(content)
            kind = _KINDS[word]
            found[kind].append(reader(kind)(plain))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"a record that is none: {type(error).__name__}") from error
    return Saved(*(tuple(found[kind]) for kind in _KINDS.values()))  # type: ignore[arg-type]  # sorted by kind above


class KernelSa(NamedTuple):
    """An SA that the kernel has. `due`: its soft lifetime is over, which the kernel tells only once."""

    due: bool
    soft: Lifetime
    added: float
    """Wall-clock time."""


SaKey = tuple[Address, ProtocolId, int]
"""What tells SAs apart in the kernel: destination, protocol and SPI."""
KernelSas = Mapping[SaKey, KernelSa]
