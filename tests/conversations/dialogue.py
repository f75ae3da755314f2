# SPDX-License-Identifier: GPL-2.0-or-later
"""Two engines face to face, a datagram at a time: for tests that look at single effects and their order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tests.conversations import plans
from tests.conversations.plans import ALL_REQID, Settings
from tests.conversations.scenes import A4, B4, ping
from tests.unit.pki import NOW
from xfrmd.ike.effects import Effect, InstallSa, SendDatagram, Tell
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, DatagramReceived, Endpoint, Event, TimerFired
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import SealedMessage, parse_clear
from xfrmd.ike.v2.payloads import Payload
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.plan import Plan
from xfrmd.model.sad import SadEntry

Change = Callable[[Plan], Plan]


def same(plan: Plan) -> Plan:
    """No change."""
    return plan


class Side:
    """One engine and all that it has ever wanted done."""

    def __init__(self, own: Address, plan: Plan, seed: int, wall: Callable[[], float] = NOW.timestamp) -> None:
        self.own = own
        self.engine = Engine(plan, random.Random(seed).randbytes, wall)
        self.effects: list[Effect] = []

    def hear(self, event: Event, now: float) -> list[Effect]:
        """What follows from an event."""
        effects = self.engine.handle(event, now)
        self.effects += effects
        return effects

    def notices(self) -> list[Notice]:
        """All that the operator was told."""
        return [effect.notice for effect in self.effects if isinstance(effect, Tell)]

    def told(self, code: str) -> Notice:
        """The one notice with this code."""
        found = [notice for notice in self.notices() if notice.code == code]
        assert len(found) == 1, [notice.code for notice in self.notices()]
        return found[0]

    def installed(self) -> list[SadEntry]:
        """SAs that were put into the kernel, in order."""
        return [effect.sa for effect in self.effects if isinstance(effect, InstallSa)]


class Dialogue:
    """A at 10.0.0.1 and B at 10.0.0.2. Nothing is delivered unless a test says so."""

    def __init__(
        self, settings: Settings | None = None, other: Settings | None = None, a: Change = same, b: Change = same
    ) -> None:
        settings = settings or Settings()
        self.now = 0.0
        self.a = Side(A4, a(plans.plan(A4, [B4], settings)), 1, self.wall)
        self.b = Side(B4, b(plans.plan(B4, [A4], other or settings)), 2, self.wall)

    def wall(self) -> float:
        """Date and time: it is NOW of the tests' certificates at 0.0."""
        return NOW.timestamp() + self.now

    def acquire(self, side: Side | None = None) -> list[Effect]:
        """A ping of `side` (A) asks for an SA."""
        side = side or self.a
        return side.hear(Acquire(ALL_REQID, ping(side.own, self.other(side).own)), self.now)

    def other(self, side: Side) -> Side:
        """The peer."""
        return self.b if side is self.a else self.a

    def deliver(self, datagram: SendDatagram) -> list[Effect]:
        """Let a datagram arrive."""
        side = self.a if datagram.remote.address == self.a.own else self.b
        return side.hear(DatagramReceived(datagram.remote, datagram.local, datagram.data), self.now)

    def talk(self, effects: list[Effect]) -> list[Effect]:
        """Deliver datagrams, and those that answer them, until all is said. All effects after the given ones."""
        everything: list[Effect] = []
        waiting = datagrams(effects)
        while waiting:
            answer = self.deliver(waiting.pop(0))
            everything += answer
            waiting += datagrams(answer)
        return everything

    def connect(self) -> None:
        """One IKE SA and one child SA, asked for by A."""
        self.talk(self.acquire())
        assert len(self.a.installed()) == len(self.b.installed()) == 2

    def pass_time(self, seconds: float) -> list[Effect]:
        """Time goes by, timers fire, and what they send is delivered."""
        end, everything = self.now + seconds, []
        while (due := self._next()) is not None and due <= end:
            self.now = due
            for side in (self.a, self.b):
                fired = side.hear(TimerFired(), self.now)
                everything += fired + self.talk(fired)
        self.now = end
        return everything

    def _next(self) -> float | None:
        deadlines = [side.engine.next_deadline() for side in (self.a, self.b)]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)


def established(side: Side, *, keyed: bool = True) -> IkeSa:
    """The one IKE SA of an engine, seen from inside: its keys let a test speak as this side. `keyed`: it has some."""
    found = [sa for sa in side.engine._ctx.store.ike_sas() if sa.channel is not None or not keyed]
    assert len(found) == 1
    return found[0]


def forge(
    side: Side, exchange: int, payloads: list[Payload], number: int | None = None, *, response: bool = False
) -> SendDatagram:
    """A message that this side could have sealed; by default under its next message ID."""
    sa = established(side)
    number = sa.window.next_id if number is None else number
    header = Header.of(sa.spi_i, sa.spi_r, exchange, number, initiator=sa.initiator, response=response)
    return SendDatagram(sa.local, sa.remote, sa.agreed_channel.seal(header, payloads))


def read(side: Side, datagram: SendDatagram) -> SealedMessage:
    """What a datagram to this side says."""
    return established(side).agreed_channel.open(parse_clear(datagram.data))


def datagrams(effects: list[Effect]) -> list[SendDatagram]:
    """Those that are sent."""
    return [effect for effect in effects if isinstance(effect, SendDatagram)]


def kinds(effects: list[Effect]) -> list[str]:
    """Effects in short, notices left out: "in", "out", "send", "RemoveSa" ..."""
    words = []
    for effect in effects:
        if isinstance(effect, InstallSa):
            words.append("in" if effect.sa.inbound else "out")
        elif isinstance(effect, SendDatagram):
            words.append("send")
        elif not isinstance(effect, Tell):
            words.append(type(effect).__name__)
    return words


def quick_modes(limit: int) -> Change:
    """Windows `qmpermm`."""
    return lambda plan: replace(
        plan, pad=tuple(replace(e, main_mode=replace(e.main_mode, quick_modes=limit)) for e in plan.pad)
    )


def at_port(datagram: SendDatagram, port: int) -> SendDatagram:
    """The datagram as a peer sends it that has moved to another port."""
    return replace(
        datagram, local=Endpoint(datagram.local.address, port), remote=Endpoint(datagram.remote.address, port)
    )
