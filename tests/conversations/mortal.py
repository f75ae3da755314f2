# SPDX-License-Identifier: GPL-2.0-or-later
"""An engine that is killed at a chosen moment, one that goes on from what was kept of it, and an eye on the wire."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.conversations.network import Host, Network
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.ike.effects import Effect, KeepSa, RemoveSa, SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Adopt, Event, PlanChanged, TicketKeys, TimerFired
from xfrmd.ike.saved import KernelSa, decode
from xfrmd.ike.v2.constants import PayloadType
from xfrmd.ike.views import EngineView
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.secret import Secret


class Moment(enum.Enum):
    """When, in the handling of an event, the process dies."""

    UNSAVED = "nothing is kept of the event, nothing carried out"
    SAVED = "all is kept, nothing carried out"
    HALFWAY = "all is kept, half of the effects are carried out"
    AFTER = "all is kept and carried out"


@dataclass
class Mortal:
    """Stands in an engine's place on a network. It dies at event number `at` (from 1) and is back `down` seconds on."""

    network: Network
    address: Address
    plan: Plan
    entropy: Callable[[int], bytes]
    at: int = 0
    moment: Moment = Moment.AFTER
    down: float = 0.5
    keys: tuple[Secret, ...] = ()
    """What its tickets are made with, in all its lives."""
    engine: Engine = field(init=False)
    kept: dict[str, bytes] = field(default_factory=dict)
    events: int = 0
    deaths: int = 0
    back: float | None = None

    def __post_init__(self) -> None:
        self.engine = Engine(self.plan, self.entropy)

    def lose(self) -> None:
        """Start with nothing but the keys of tickets, as after a reset of the host."""
        self.engine, self.kept = Engine(self.plan, self.entropy), {}
        self.host.kernel.sas.clear()
        self.handle(TicketKeys(self.keys), self.network.now)

    @property
    def host(self) -> Host:
        return self.network.hosts[self.address]

    def arm(self, at: int, moment: Moment) -> None:
        """Die at that event, counted from now."""
        self.events, self.at, self.moment = 0, at, moment

    def handle(self, event: Event, now: float) -> list[Effect]:
        if self.back is not None:
            return self._rise(now) if now >= self.back else []
        effects = self.engine.handle(event, now)
        self.events += 1
        if self.events != self.at:
            self._keep()
            return effects
        self.back, self.deaths = now + self.down, self.deaths + 1
        if self.moment is Moment.UNSAVED:
            return []
        self._keep()
        carried = {Moment.SAVED: 0, Moment.HALFWAY: len(effects) // 2, Moment.AFTER: len(effects)}
        return effects[: carried[self.moment]]

    def _keep(self) -> None:
        for name, content in self.engine.changes():
            if content is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = content.reveal()

    def _rise(self, now: float) -> list[Effect]:
        self.back, self.engine = None, Engine(NO_PLAN, self.entropy)
        kernel = {key: KernelSa(entry.asked, entry.sa.soft, entry.since) for key, entry in self.host.kernel.sas.items()}
        saved, self.kept = decode(self.kept.values()), {}
        effects = self.engine.handle(PlanChanged(self.plan), now) + self.engine.handle(Adopt(saved, kernel), now)
        effects += self.engine.handle(TicketKeys(self.keys), now) + self.engine.handle(TimerFired(), now)
        self._keep()
        stay = {effect.sa.key for effect in effects if isinstance(effect, KeepSa)}
        strangers = [entry.sa for key, entry in self.host.kernel.sas.items() if key not in stay]
        return [*effects, *(RemoveSa(sa.protocol, sa.spi, sa.src, sa.dst) for sa in strangers)]

    def next_deadline(self) -> float | None:
        return self.back if self.back is not None else self.engine.next_deadline()

    def snapshot(self) -> EngineView:
        return self.engine.snapshot()

    def die(self) -> None:
        """Between two events."""
        self.arm(1, Moment.AFTER)
        self.network.tell(self.host, TimerFired())


@dataclass
class Wire:
    """All that hosts have sent: no IV under one key, and no message ID, may stand for two different messages."""

    seen: dict[tuple[object, ...], bytes] = field(default_factory=dict)

    def watch(self, sent: list[SendDatagram]) -> None:
        """Look at datagrams. AssertionError for a repetition that is none."""
        for datagram in sent:
            data = datagram.data
            # What is sealed begins with SK (RFC 7296 3.14), or with SKF and the number of the fragment (RFC 7383 2.5).
            if data[16] not in (PayloadType.SK, PayloadType.SKF):
                continue
            part, iv = (data[32:36], data[36:44]) if data[16] == PayloadType.SKF else (b"", data[32:40])
            by_initiator, is_response = bool(data[19] & 0x08), bool(data[19] & 0x20)
            key = (data[:16], by_initiator)
            for name in ((*key, "iv", iv), (*key, "id", is_response, data[20:24], part)):
                assert self.seen.setdefault(name, data) == data, name
