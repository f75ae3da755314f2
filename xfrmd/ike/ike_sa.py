# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE SAs: what is agreed with a peer, and the one setter of their state."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Final

from xfrmd.errors import LocalProtocolError
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.demand import Want
from xfrmd.ike.events import Endpoint
from xfrmd.ike.key_exchanges import Following, FollowUp, Intermediate, SeededExchange
from xfrmd.ike.narrow import Agreed
from xfrmd.ike.path import NO_NAT, Nat
from xfrmd.ike.proven import Proofs, Term
from xfrmd.ike.select import Suite
from xfrmd.ike.session import Session
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.fragments import Reassembly
from xfrmd.ike.window import Window
from xfrmd.model.notice import Notice
from xfrmd.model.pad import Identity, PadEntry
from xfrmd.model.proposals import Proposal, ProtocolId, Transform, protocol_of
from xfrmd.model.selector import Selector
from xfrmd.transforms.compute import KeyExchange


class IkeState(enum.Enum):
    """States of an IKE SA; v2/transitions.py says what may happen in each."""

    CONNECTING = "connecting"
    """IKE_SA_INIT is sent."""
    HALF_OPEN = "half-open"
    """IKE_SA_INIT is answered: whoever asked has proved nothing yet."""
    AUTHENTICATING = "authenticating"
    """IKE_AUTH is sent."""
    ESTABLISHED = "established"
    REPLACED = "replaced"
    """Rekeyed; the peer, whose rekey it was, deletes it."""
    DELETING = "deleting"
    """We have asked the peer to delete it."""
    CLOSED = "closed"
    """Gone; only the last response is repeated when its request is."""


_S = IkeState
LEGAL: Final = {
    _S.CONNECTING: {_S.AUTHENTICATING, _S.CLOSED},
    _S.HALF_OPEN: {_S.ESTABLISHED, _S.CLOSED},
    _S.AUTHENTICATING: {_S.ESTABLISHED, _S.DELETING, _S.CLOSED},
    _S.ESTABLISHED: {_S.REPLACED, _S.DELETING, _S.CLOSED},
    _S.REPLACED: {_S.DELETING, _S.CLOSED},
    _S.DELETING: {_S.CLOSED},
    _S.CLOSED: set[IkeState](),
}
"""Which state may follow which."""


class TaskKind(enum.Enum):
    """Requests that we send under an IKE SA."""

    INTERMEDIATE = "additional key exchange"
    AUTH = "authenticate"
    NEW_CHILD = "new child SA"
    REKEY_CHILD = "rekey a child SA"
    REKEY_IKE = "rekey the IKE SA"
    DELETE_CHILD = "delete child SAs"
    DELETE_IKE = "delete the IKE SA"
    FOLLOWUP = "additional key exchange of a new SA"
    """Never a task of its own: the kind of the row for what such a task has to do before it is done."""
    LIVENESS = "ask for life"
    RECOGNITION = "give a token"
    MOVE = "say where we are now"
    ROUTABLE = "ask the new address for an answer"
    TICKET = "ask for a ticket"
    REDIRECT = "send the peer elsewhere"


@dataclass(slots=True)
class Offer:
    """What our request has proposed and is needed again when the answer comes. `spi` is ours, 4 or 8 octets."""

    spi: bytes
    proposals: tuple[Proposal, ...]
    nonce: bytes
    exchange: SeededExchange | None = None
    method: Transform | None = None
    """Of the key exchange."""
    agreed: Agreed | None = None
    """The filter, its region and the traffic offered, for a child SA."""

    @property
    def protocol(self) -> ProtocolId:
        """Of all its proposals."""
        return protocol_of(self.proposals)


@dataclass(slots=True, eq=False)
class Task:
    """One request of ours, waiting or sent."""

    kind: TaskKind
    child: ChildSa | None = None
    """To be rekeyed."""
    want: Want | None = None
    doomed: tuple[ChildSa, ...] = ()
    """To be deleted."""
    spis: tuple[bytes, ...] = ()
    """SPIs of ours to be deleted that never became child SAs: the peer's answer was unacceptable."""
    protocol: ProtocolId = ProtocolId.ESP
    """Of these."""
    offer: Offer | None = None
    method: Transform | None = None
    """Key exchange that the peer asked for by INVALID_KE_PAYLOAD."""
    restarts: int = 0
    reason: int = 0
    """Notify Message Type to send along, 0 for none."""
    lineage: Lineage | None = None
    """Where to go on after TEMPORARY_FAILURE."""
    follow: FollowUp | None = None
    cookie: bytes = b""
    """What the answer is to repeat."""
    stillborn: set[int] = field(default_factory=set)
    """SPIs that the peer has deleted before we knew them: its answer to this request may be late."""


Accepted = frozenset[tuple[int, bytes]] | None
"""Authentication methods that a peer has announced, with AlgorithmIdentifiers (RFC 9593); None: nothing announced."""


@dataclass(slots=True)
class Handshake:
    """What only IKE_SA_INIT and IKE_AUTH need."""

    nonce_i: bytes = b""
    nonce_r: bytes = b""
    request: bytes = b""
    """IKE_SA_INIT request as sent: AUTH covers it (RFC 7296 2.15)."""
    response: bytes = b""
    exchange: KeyExchange | None = None
    method: Transform | None = None
    public: bytes = b""
    """The peer's public value; the shared secret is computed when IKE_AUTH comes, not for every IKE_SA_INIT."""
    cookie: bytes = b""
    restarts: int = 0
    answered: bool = False
    """Has anything come back? Whatever it said: somebody there speaks IKE."""
    hint: Notice | None = None
    """What an unauthenticated answer said: nothing to act upon, but worth telling."""
    want: Want | None = None
    contact: bool = False
    """We have said INITIAL_CONTACT."""
    childless: bool = False
    """We ask for an IKE SA alone (RFC 6023)."""
    takes_childless: bool = False
    """The peer has said that it takes that."""
    sk_pi: bytes = b""
    sk_pr: bytes = b""
    intermediate: Intermediate = field(default_factory=Intermediate)
    ppk: bool = False
    """Both ends can use a postquantum preshared key (USE_PPK)."""
    accepts: Accepted = None
    """What the peer says that it verifies."""
    session: Session | None = None
    """What is resumed (RFC 5723): a ticket stands for the key exchange."""
    ticket: bytes = b""
    hashes: frozenset[int] = frozenset()
    """Hash algorithms that the peer verifies in signatures; none when it does not speak RFC 7427."""


@dataclass(slots=True, eq=False)
class Lineage:
    """An IKE SA and those that replaced it: they share the child SAs (RFC 7296 2.8, 2.18)."""

    local: Endpoint
    remote: Endpoint
    ike_sas: list[IkeSa] = field(default_factory=list)
    current: IkeSa | None = None
    """The one that new requests go to; None where all that are left end."""
    children: dict[int, ChildSa] = field(default_factory=dict)
    """By our SPI; without those that linger."""
    quick_modes: int = 0
    """Child SAs we have asked for under the current IKE SA (Windows `qmpermm`)."""
    believed_until: float = math.inf
    """When what the peer has proved ends: with its certificate, or as the policy says. Rekeys prove nothing anew."""
    proofs: Proofs = field(default_factory=Proofs)
    """How both ends have proved themselves; nothing is told in it of an end that has not."""
    full: bool = False
    """The peer takes no more child SAs (NO_ADDITIONAL_SAS)."""
    term: Term = field(default_factory=Term)
    moves: bool = False
    """We may go on with it at another address (RFC 4555)."""
    follows: bool = False
    """The peer may."""
    nat: Nat = NO_NAT
    """What was seen between us when it began."""
    fragments: bool = False
    """Both ends take messages in fragments (RFC 7383)."""
    spoken: float = 0.0
    """When something of ours left for the peer, as far as we know."""
    vendor: str = ""
    """Whose IKE the peer seems to have, by its Vendor IDs; "" when they do not tell."""
    followed: float = -math.inf
    """When its child SAs last followed the peer to another port."""
    cut: int | None = None
    """Octets that fragments have been found to need, or that the peer's have; None: as configured. This and what
    follows is of this process alone.
    """
    heard: float = -math.inf
    """When the last authentic message of the peer came."""
    doubted: float = -math.inf
    """When it was last asked whether it is there, as another host says to be it."""
    doubtful: bool = False
    """It has not answered that yet, and may be nobody's any more."""
    served: dict[tuple[int, Selector], None] = field(default_factory=dict)
    """Traffic that it has had child SAs for, by reqid, the latest last; limits.SERVED at most."""
    authenticated: float = 0.0
    """When both ends have really proved who they are, in seconds since 1970: resumption proves nothing of it anew."""
    resumed: bool = False
    """It began with a ticket (RFC 5723)."""
    ticket: bytes = b""
    """Name of the ticket that we have given for it, b"" when none counts."""
    ticket_at: float = -math.inf
    """When we gave it."""
    led: bool = False
    """The rule names other gateways, and we have told the peer that we go where it sends us (RFC 5685)."""
    leads: bool = False
    """The peer goes where we send it, and we have not done so yet."""
    renews: bool = False
    """The peer has given us tickets: we ask for another one after a rekey."""
    heir: Lineage | None = None
    """Another one with the same peer, which takes over the child SAs because this one is one too many."""


@dataclass(slots=True, eq=False)
class IkeSa:
    """One IKE SA."""

    initiator: bool
    """Did we send its IKE_SA_INIT, or the request that made it as a rekey?"""
    spi_i: bytes
    spi_r: bytes
    local: Endpoint
    remote: Endpoint
    pad: PadEntry
    lineage: Lineage
    created: float
    window: Window = field(default_factory=Window)
    tasks: list[Task] = field(default_factory=list)
    """Those that wait, mostly none: a deque would take 700 octets for that."""
    task: Task | None = None
    """The one whose request is outstanding."""
    handshake: Handshake | None = None
    channel: Channel | None = None
    suite: Suite | None = None
    lifetime: int = 0
    """Seconds, hard."""
    local_id: Identity | None = None
    remote_id: Identity | None = None
    rival: IkeSa | None = None
    """What the peer's rekey has made while ours is outstanding (RFC 7296 2.8.1)."""
    following: Following | None = None
    lowest_nonce: bytes = b""
    settled: float = math.inf
    """When it was established."""
    rekeyed: bool = False
    """CREATE_CHILD_SA has made it in place of another one: no IKE_AUTH came under it."""
    sent_unheard: float | None = None
    """Since when traffic of ours has had no echo, None while it has."""
    answer_to: tuple[Endpoint, Endpoint] | None = None
    """Our end and the peer's that the request to be answered came by, where they are not those of the SA."""
    peer_token: bytes = b""
    """What the peer shows when it has lost this IKE SA (RFC 6290); b"" when it gave none."""
    arriving: dict[bool, Reassembly] = field(default_factory=dict)
    """A request (False) and a response (True) of the peer's of which not all fragments are here."""
    _state: IkeState = field(default=IkeState.CONNECTING, init=False)

    @property
    def state(self) -> IkeState:
        """Where it is in its life."""
        return self._state

    def begin(self, state: IkeState) -> None:
        """The first state of a new IKE SA."""
        self._state = state

    def enter(self, state: IkeState) -> None:
        """The one way to change the state later. LocalProtocolError for a step that LEGAL does not have."""
        if state not in LEGAL[self._state]:
            raise LocalProtocolError(f"an IKE SA goes from {self._state.value} to {state.value}")
        self._state = state

    @property
    def lives(self) -> bool:
        """May new requests go to it, now or when its handshake is done?"""
        return self._state in (IkeState.CONNECTING, IkeState.AUTHENTICATING, IkeState.ESTABLISHED)

    @property
    def spi(self) -> bytes:
        """Our SPI."""
        return self.spi_i if self.initiator else self.spi_r

    @property
    def peer_spi(self) -> bytes:
        """The peer's SPI; zero until it is known."""
        return self.spi_r if self.initiator else self.spi_i

    @property
    def agreed_channel(self) -> Channel:
        """The keys. LocalProtocolError before there are any."""
        if self.channel is None:
            raise LocalProtocolError("an IKE SA without keys")
        return self.channel

    @property
    def agreed_suite(self) -> Suite:
        """The algorithms. LocalProtocolError before there are any."""
        if self.suite is None:
            raise LocalProtocolError("an IKE SA without algorithms")
        return self.suite

    @property
    def greeting(self) -> Handshake:
        """What the handshake needs. LocalProtocolError once it is over."""
        if self.handshake is None:
            raise LocalProtocolError("the handshake of an IKE SA is over")
        return self.handshake
