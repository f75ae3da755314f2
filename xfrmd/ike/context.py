# SPDX-License-Identifier: GPL-2.0-or-later
"""What every step of the engine works with: the plan, the SAs, the time, and the effects of this call."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xfrmd import limits
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.demand import Demand, Want
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.effects import Effect, SendDatagram, Tell
from xfrmd.ike.elsewhere import RedirectName
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa, Lineage, Task
from xfrmd.ike.journal import Count, Journal
from xfrmd.ike.lookup import PlanIndex
from xfrmd.ike.pace import Pace
from xfrmd.ike.session import HeldName, SpentName
from xfrmd.ike.soft_sa import SoftSa
from xfrmd.ike.store import Store
from xfrmd.ike.timers import Timers
from xfrmd.ike.v2.fragments import datagrams
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice


class TimerKind(enum.Enum):
    """What a deadline is for."""

    __hash__ = object.__hash__  # that of enums is a function of Python, and timers are set often

    STATE = "state"
    """An IKE SA has been in its state for as long as it may."""
    RETRANSMIT = "retransmit"
    REKEY_IKE = "rekey"
    EMPTY = "empty"
    """An IKE SA has had no child SA for a while."""
    RETRY = "retry"
    """A task that the peer was too busy for."""
    SUCCESSOR = "successor"
    """An AWAITED child SA sends from now on: the peer has had its time."""
    LINGER = "linger"
    DOUBT = "doubt"
    """A peer was asked whether it is there beside another host behind its NAT."""
    HOMELESS = "homeless"
    """The local address of an IKE SA that may move is gone."""
    TICKET = "ticket"
    """The time of a ticket that we hold is over."""
    REAUTH = "reauthenticate"
    """What was proved ends before long."""
    KEEPALIVE = "keepalive"
    """A NAT in front of us may forget where the peer's packets go."""
    FALLBACK = "fallback"
    """A peer has had its time to answer; traffic of soft filters goes in the clear if it has not."""
    SOFT_END = "soft end"
    DYNAMIC_END = "dynamic end"
    """A filter of the default response rule has had no child SA for long."""
    REVOCATION = "revocation"
    """A handshake has waited long enough for news of revoked certificates."""
    SOFT_RETRY = "soft retry"
    """The peer of a soft SA is asked again."""


TimerKey = tuple[TimerKind, IkeSa | ChildSa | Task | SoftSa | DynamicFilter | Lineage | HeldName]
Changed = Lineage | DynamicFilter | HeldName | SpentName | RedirectName


@dataclass(slots=True)
class Agenda:
    """What is looked at when the current event is done."""

    touched: dict[IkeSa, None] = field(default_factory=dict)
    """They may have a request to send."""
    orphans: list[Want] = field(default_factory=list)
    """They have lost the IKE SA that was to fulfil them."""
    idle: dict[Lineage, None] = field(default_factory=dict)
    """They may be of no more use."""
    closing: IkeSa | None = None
    """It ends once its request is answered."""
    pace: Pace = field(default_factory=Pace)
    """Rekeys that wait for others."""


class Context:
    """One per engine. `now` is that of the current call; `out` its effects so far, `later` those after a response."""

    __slots__ = (
        "agenda",
        "changed",
        "demand",
        "entropy",
        "index",
        "journal",
        "later",
        "now",
        "out",
        "store",
        "timers",
        "wall",
    )

    def __init__(self, index: PlanIndex, entropy: Callable[[int], bytes], wall: Callable[[], float]) -> None:
        self.index = index
        self.entropy = entropy
        self.wall = wall
        self.store = Store()
        self.timers: Timers[TimerKey] = Timers()
        self.demand = Demand()
        self.journal = Journal()
        self.now = 0.0
        self.out: list[Effect] = []
        self.later: list[Effect] = []
        self.agenda = Agenda()
        self.changed: dict[Changed, None] = {}
        """What of that which outlives the process is not as it was saved last."""

    # rfc 7296: answer-to-sender
    def send(self, sa: IkeSa, octets: bytes, path: tuple[Endpoint, Endpoint] | None = None) -> None:
        """Send a message to the peer of an IKE SA, or by another pair of our end and the peer's."""
        local, remote = path or (sa.local, sa.remote)
        sa.lineage.spoken = self.now
        self.out += [SendDatagram(local, remote, one) for one in datagrams(octets)]

    def tell(self, notice: Notice, peer: Address | None = None) -> None:
        """Tell the operator. A warning or worse that names a peer is kept as its last failure."""
        self.out.append(Tell(notice))
        if peer is not None and notice.level <= Level.WARNING:
            self.journal.count(Count.FAILURES)
            self.journal.failed(peer, notice, self.now)

    def whisper(self, notice: Notice, peer: Address) -> None:
        """Tell what an unauthenticated datagram gave rise to, but not too often."""
        if self.journal.may_whisper(notice.code, peer, self.now):
            self.tell(notice, peer)

    def remind(self, notice: Notice) -> None:
        """Tell what each handshake shows again, whoever it is with: once in `limits.REMIND_INTERVAL`."""
        if self.journal.may_whisper(notice.code, notice.message, self.now, limits.REMIND_INTERVAL):
            self.tell(notice)

    def touch(self, sa: IkeSa) -> None:
        """The IKE SA may have something to send: looked at when the current event is done."""
        self.changed[sa.lineage] = None
        self.agenda.touched[sa] = None

    def today(self) -> datetime:
        """Date and time, by which certificates are valid or not."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def random(self) -> float:
        """A number from 0 up to 1, from the entropy that was handed in."""
        return int.from_bytes(self.entropy(4)) / 2**32

    def fresh_ike_spi(self) -> bytes:
        """An SPI for an IKE SA: not zero, not in use."""
        while True:
            spi = self.entropy(8)
            if spi != bytes(8) and self.store.ike_sa(spi) is None:
                return spi

    def fresh_child_spi(self) -> int:
        """An SPI for an inbound ESP SA: 0..255 are reserved (RFC 4303 2.1), and ours are unique."""
        while True:
            spi = int.from_bytes(self.entropy(4))
            if spi >= 256 and self.store.child(spi) is None:
                return spi
