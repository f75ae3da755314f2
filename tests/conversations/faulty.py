# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts whose engines have the daemon's own hands: Executor, Ledger, SaWatch and the socket for XFRM requests, with
a kernel behind it in which any step may fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from tests.conversations.kernel_wire import KernelWire, Steps, Trouble
from tests.conversations.network import PERFECT, Faults, Host, Network
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.daemon import heritage
from xfrmd.daemon.executor import Executor
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.opening import remove_sas
from xfrmd.daemon.overlay import Kind, Name, Overlays
from xfrmd.daemon.sa_watch import SaWatch
from xfrmd.daemon.views import Clocks
from xfrmd.errors import KernelError
from xfrmd.ike.effects import DropHeld, Effect, InstallSa, ReleaseHeld, SendDatagram, SendKeepalive
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Endpoint, Event, PlanChanged, Remapped, SaExpired, SaUsed
from xfrmd.ike.saved import Saved, decode
from xfrmd.ike.views import EngineView
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

DOWN = 0.5
"""Seconds without a daemon."""


class Dead:
    """In the place of an engine: a process that is not there."""

    def handle(self, _: Event, __: float) -> list[Effect]:
        return []

    def next_deadline(self) -> float | None:
        return None

    def snapshot(self) -> EngineView:
        raise AssertionError("nobody is there to be asked")


class Beside(Overlays):
    """Parts that any plan has a place for."""

    def _make(self, name: Name) -> Overlay:
        kind, reqid, selector = name
        entry = SpdEntry(Direction.OUT, selector, SpdAction.BYPASS, reqid)
        return Overlay((entry,), {kind.value: {selector.src.value.to_bytes(16): "accept"}})

    def names(self, kind: Kind) -> dict[tuple[int, Selector], None]:
        return {(reqid, selector): None for of, reqid, selector in self._parts if of is kind}


@dataclass
class Hands:
    """What a host of a faulty network has beside its engine and kernel."""

    network: FaultyNetwork
    host: Host
    steps: Steps
    plan: Plan = NO_PLAN
    follows: list[Event] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    """What outlives the process."""
    dead: bool = False

    def __post_init__(self) -> None:
        network, host = self.network, self.host
        self.wire = KernelWire(host.kernel, self.steps, lambda: network.now)
        self.xfrm = XfrmSocket(opener=self.wire.open)
        self.ledger = Ledger(lambda: network.now)
        self.overlays = Beside(NO_PLAN, self._enforce)
        self.executor = Executor(
            self,
            self.xfrm,
            self,
            self._tell,
            self.ledger,
            overlays=self.overlays,
            late=self._late,
            move_tunnel=lambda *_: None,
        )
        self.watch = SaWatch(
            self.xfrm,
            self.ledger,
            self._give,
            self._tell,
            lambda seconds, step: network.plan(network.now + seconds, step),
            wall=lambda: network.now,
            backlog=self.overlays,
        )

    def carry(self, effect: Effect) -> None:
        if isinstance(effect, InstallSa):
            self.wire.wanted[effect.sa.key] = effect.sa
        follow = self.executor.carry(effect)
        if follow is not None:
            self.follows.append(follow)

    def kernel_tells(self, event: SaExpired | Remapped) -> None:
        trouble = self.steps.next(type(event).__name__, event=True)
        if trouble is Trouble.LOST:
            self.watch.lost()
        elif trouble is not Trouble.MISSED:
            self.watch.hear(event)

    def look(self) -> None:
        """Again and again."""
        if not self.dead:
            self.network.plan(self.network.now + self.watch.look(), self.look)

    def keep(self) -> None:
        """As `Custody` does after each event."""
        engine = self.host.engine
        for name, content in engine.changes() if isinstance(engine, Engine) else ():
            if content is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = content.reveal()

    def die(self) -> None:
        """The process ends, and another one begins soon; the kernel goes on."""
        self.dead, self.host.engine = True, Dead()
        self.network.plan(self.network.now + DOWN, self._rise)

    def _rise(self) -> None:
        next_life = Hands(self.network, self.host, self.steps, self.plan)
        next_life.wire.wanted = self.wire.wanted
        next_life.xfrm.repeats, next_life.ledger.counters = self.xfrm.repeats, self.ledger.counters
        self.network.hands[self.host.name] = next_life
        next_life.begin(self.kept)

    def begin(self, kept: dict[str, bytes]) -> None:
        """What `xfrmd.daemon.main` does with what an earlier run has left."""
        saved = decode(kept.values())
        for one in saved.filters:
            self.overlays.expect(Kind.DYNAMIC, one.reqid, one.selector)
        self.overlays.plan_changed(self.plan)
        self.host.clear, self.host.filters = (self.overlays.names(kind) for kind in (Kind.SOFT, Kind.DYNAMIC))
        self.host.engine = Engine(NO_PLAN, self.network.entropy())
        self._give(PlanChanged(self.plan))
        self.kept = {}
        try:
            heritage.adopt(self._service(saved))  # type: ignore[arg-type]  # the parts of it that are asked for
        except KernelError as error:
            text = "the service manager starts it again"
            self._tell(Notice(Level.ERROR, "not-started", f"not started: {error}", {}, text))
            self.kept = kept
            self.die()
            return
        self.look()

    def _service(self, saved: Saved) -> SimpleNamespace:
        kernel = SimpleNamespace(xfrm=self.xfrm, remove_sas=lambda known: remove_sas(self.xfrm, known))
        house = SimpleNamespace(
            core=SimpleNamespace(post=self._give),
            clocks=lambda: Clocks(self.network.now, self.network.now),
            ledger=self.ledger,
        )
        return SimpleNamespace(
            custody=SimpleNamespace(take=lambda: saved),
            errands=SimpleNamespace(faults=SimpleNamespace(count=0)),
            kernel=kernel,
            house=house,
            watch=self.watch,
        )

    def _give(self, event: Event) -> None:
        self.network.give(self.host, event)

    def _late(self, what: str, step: str, error: KernelError) -> None:
        self.watch.late(what, step, error)

    def _tell(self, notice: Notice) -> None:
        self.host.notices.append((self.network.now, notice))

    def _enforce(self, _: Overlay) -> None:
        trouble = self.steps.next("overlay")
        done = trouble in (None, Trouble.UNANSWERED, Trouble.OVERRUN)
        if done:
            self.host.clear, self.host.filters = (self.overlays.names(kind) for kind in (Kind.SOFT, Kind.DYNAMIC))
        if trouble is not None:
            raise KernelError(trouble.value)

    # The ports of datagrams and of packets that wait

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> str:
        self.host.sent.append(datagram := SendDatagram(local, remote, data))
        self.network._transmit(datagram)
        return ""

    def keep_alive(self, local: Endpoint, remote: Endpoint) -> str:
        self.host.keepalives.append((self.network.now, SendKeepalive(local, remote)))
        return ""

    def release(self, reqid: int, selector: Selector) -> None:
        self.host.released.append(ReleaseHeld(reqid, selector))

    def drop(self, reqid: int, selector: Selector) -> None:
        self.host.dropped.append(DropHeld(reqid, selector))


class FaultyNetwork(Network):
    """Whose hosts have hands."""

    def __init__(self, seed: int = 1, faults: Faults = PERFECT) -> None:
        super().__init__(seed, faults)
        self.hands: dict[str, Hands] = {}

    def join(self, name: str, address: Address, plan: Plan) -> Host:
        """A host with this policy."""
        host = self.add(name, address, Engine(plan, self.entropy()))
        self.hands[name] = hands = Hands(self, host, Steps(), plan)
        hands.look()
        return host

    def move(self, host: Host, address: Address) -> None:
        """A host has another address in the place of the one it had."""
        del self.hosts[host.address]
        self.hosts[address] = host
        host.address = host.kernel.own = address

    def plan(self, when: float, action: Callable[[], object]) -> None:
        self._plan(when, action)

    def tell(self, host: Host, event: Event) -> list[Effect]:
        """From outside. That an SA carries something the daemon sees when it looks, and not before."""
        if self.hands[host.name].dead:
            return []
        if isinstance(event, SaExpired | Remapped):
            self.hands[host.name].kernel_tells(event)
        elif not isinstance(event, SaUsed):
            return self.give(host, event)
        return []

    def give(self, host: Host, event: Event) -> list[Effect]:
        """For the engine, and what follows from it."""
        hands = self.hands[host.name]
        effects = super().tell(host, event)
        while hands.follows:
            super().tell(host, hands.follows.pop(0))
        hands.keep()
        return effects

    def _carry_out(self, host: Host, effect: Effect) -> None:
        self.hands[host.name].carry(effect)
