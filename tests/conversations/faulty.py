# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts whose engines have the daemon's own hands: Executor, Ledger, SaWatch and the socket for XFRM requests, with
a kernel behind it in which any step may fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.conversations.kernel_wire import KernelWire, Steps, Trouble
from tests.conversations.network import PERFECT, Faults, Host, Negotiator, Network
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.daemon.executor import Executor
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.overlay import Kind, Name, Overlays
from xfrmd.daemon.sa_watch import SaWatch
from xfrmd.errors import KernelError
from xfrmd.ike.effects import DropHeld, Effect, InstallSa, ReleaseHeld, SendDatagram, SendKeepalive
from xfrmd.ike.events import Endpoint, Event, Remapped, SaExpired, SaUsed
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.plan import Overlay
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry


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
    follows: list[Event] = field(default_factory=list)

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
        self.network.plan(self.network.now + self.watch.look(), self.look)

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
        self.hands: dict[Address, Hands] = {}

    def add(self, name: str, address: Address, engine: Negotiator) -> Host:
        host = super().add(name, address, engine)
        self.hands[address] = hands = Hands(self, host, Steps())
        hands.look()
        return host

    def plan(self, when: float, action: Callable[[], object]) -> None:
        self._plan(when, action)

    def tell(self, host: Host, event: Event) -> list[Effect]:
        """From outside. That an SA carries something the daemon sees when it looks, and not before."""
        if isinstance(event, SaExpired | Remapped):
            self.hands[host.address].kernel_tells(event)
        elif not isinstance(event, SaUsed):
            return self.give(host, event)
        return []

    def give(self, host: Host, event: Event) -> list[Effect]:
        """For the engine, and what follows from it."""
        effects = super().tell(host, event)
        follows = self.hands[host.address].follows
        while follows:
            super().tell(host, follows.pop(0))
        return effects

    def _carry_out(self, host: Host, effect: Effect) -> None:
        self.hands[host.address].carry(effect)
