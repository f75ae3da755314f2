# SPDX-License-Identifier: GPL-2.0-or-later
"""Engines in a network in memory: seeded, in virtual time, with loss, duplication, delay and so reordering.

A run is a function of its seed: entropy of the engines, faults of the network and the order of events come from it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tests.conversations.kernel_model import KernelModel, opens
from xfrmd.ike.effects import (
    AddFilter,
    CloseClear,
    DropHeld,
    Effect,
    InstallSa,
    OpenClear,
    ReleaseHeld,
    RemapSa,
    RemoveFilter,
    RemoveSa,
    SendDatagram,
    SendKeepalive,
    Tell,
)
from xfrmd.ike.events import Acquire, ClearOpened, DatagramReceived, Endpoint, Event, SaUsed, TimerFired
from xfrmd.ike.views import EngineView, IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector

IKE_PORT = 500
LARVAL_SECONDS = 30.0
"""The kernel asks once, then waits this long for the SA (net.core.xfrm_acq_expires)."""


class Negotiator(Protocol):
    """An Engine, or something that stands in its place."""

    def handle(self, event: Event, now: float) -> list[Effect]: ...
    def next_deadline(self) -> float | None: ...
    def snapshot(self) -> EngineView: ...


@dataclass(frozen=True)
class Faults:
    """What the network does to datagrams; chances from 0 to 1, delays in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[float, float] = (0.001, 0.002)
    until: float = float("inf")
    """From this time on the network is a good one."""


PERFECT = Faults()
BAD = Faults(loss=0.2, duplication=0.2, delay=(0.001, 0.4))


@dataclass
class Flow:
    """Packets that a host sends at an interval, and what became of them."""

    packet: Selector
    reqid: int
    interval: float
    until: float
    delivered: int = 0
    lost: list[tuple[float, str]] = field(default_factory=list)
    waiting: int = 0
    """Packets for which there was no SA."""
    clear: list[float] = field(default_factory=list)
    """When a packet went in the clear."""
    asked: float = float("-inf")


@dataclass(eq=False)
class Host:
    """An engine with its kernel, and what they have told."""

    name: str
    address: Address
    engine: Negotiator
    kernel: KernelModel
    notices: list[tuple[float, Notice]] = field(default_factory=list)
    released: list[ReleaseHeld] = field(default_factory=list)
    dropped: list[DropHeld] = field(default_factory=list)
    sent: list[SendDatagram] = field(default_factory=list)
    keepalives: list[tuple[float, SendKeepalive]] = field(default_factory=list)
    clear: dict[tuple[int, Selector], None] = field(default_factory=dict)
    """Traffic that passes in the clear now, with the reqid of its filter."""
    filters: dict[tuple[int, Selector], None] = field(default_factory=dict)
    """What the default response rule protects."""

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        """The engine's IKE SAs."""
        return self.engine.snapshot().ike_sas

    def codes(self) -> list[str]:
        """Codes of what the operator was told."""
        return [notice.code for _, notice in self.notices]


Action = Callable[[], object]


class Network:
    """Hosts, the time, and all that is still to happen."""

    def __init__(self, seed: int, faults: Faults = PERFECT) -> None:
        self.now = 0.0
        self.hosts: dict[Address, Host] = {}
        self.faults = faults
        self.lose: Callable[[SendDatagram], bool] = lambda _: False
        """For a test that wants certain datagrams lost."""
        self.translate: Callable[[SendDatagram], SendDatagram] = lambda datagram: datagram
        """For a test that wants a NAT on the way."""
        self._rng = random.Random(seed)
        self._queue: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def entropy(self) -> Callable[[int], bytes]:
        """A source of octets for one engine."""
        return random.Random(self._rng.getrandbits(64)).randbytes

    def add(self, name: str, address: Address, engine: Negotiator) -> Host:
        """A host on the network."""
        host = self.hosts[address] = Host(name, address, engine, KernelModel(address))
        return host

    def at(self, when: float, host: Host, event: Event) -> None:
        """Let something happen to a host."""
        self._plan(when, lambda: self.tell(host, event))

    def flow(self, host: Host, flow: Flow) -> Flow:
        """Let a host send packets from now on."""
        self._plan(self.now, lambda: self._send_packet(host, flow))
        return flow

    def poll(self, host: Host, until: float, every: float = 5.0) -> None:
        """Let a host read its kernel's counters now and then."""
        for key, entry in list(host.kernel.sas.items()):
            if entry.octets != entry.polled:
                entry.polled = entry.octets
                self.tell(host, SaUsed(entry.sa.spi, entry.sa.protocol, key[0], entry.octets))
        if self.now + every <= until:
            self._plan(self.now + every, lambda: self.poll(host, until, every))

    def tell(self, host: Host, event: Event) -> list[Effect]:
        """An event for an engine now; its effects are carried out."""
        effects = host.engine.handle(event, self.now)
        for effect in effects:
            self._carry_out(host, effect)
        return effects

    def deliver(self, source: Address, destination: Address, data: bytes) -> list[Effect]:
        """A datagram from nowhere, now."""
        local, remote = Endpoint(destination, IKE_PORT), Endpoint(source, IKE_PORT)
        return self.tell(self.hosts[destination], DatagramReceived(local, remote, data))

    def run(self, until: float) -> None:
        """Everything up to and including a time."""
        while (when := self._next()) is not None and when <= until:
            self._step(when)
        self.now = until

    def settle(self, limit: float = 300.0) -> None:
        """Until nothing is under way: no datagram flies and no engine has a deadline within the next seconds."""
        end = self.now + limit
        while self.now < end and self._busy():
            self.run(self.now + 1.0)

    def _busy(self) -> bool:
        deadlines = [host.engine.next_deadline() for host in self.hosts.values()]
        return bool(self._queue) or any(d is not None and d < self.now + 10.0 for d in deadlines)

    def _next(self) -> float | None:
        times = [self._queue[0][0]] if self._queue else []
        for host in self.hosts.values():
            times += [t for t in (host.engine.next_deadline(), host.kernel.next_expiry()) if t is not None]
        return min(times, default=None)

    def _step(self, when: float) -> None:
        self.now = max(self.now, when)
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for host in self.hosts.values():
            for expired in host.kernel.expire(self.now):
                self.tell(host, expired)
            deadline = host.engine.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.tell(host, TimerFired())
                later = host.engine.next_deadline()
                assert later is None or later > self.now, f"{host.name} has a deadline that does not move: {later}"

    def _plan(self, when: float, action: Action) -> None:
        heapq.heappush(self._queue, (when, next(self._order), action))

    def _carry_out(self, host: Host, effect: Effect) -> None:
        match effect:
            case SendDatagram():
                host.sent.append(effect)
                self._transmit(effect)
            case SendKeepalive():
                host.keepalives.append((self.now, effect))
            case InstallSa(sa=sa):
                host.kernel.install(sa, self.now)
            case RemoveSa():
                host.kernel.remove(effect)
            case RemapSa():
                host.kernel.remap(effect)
            case Tell(notice=notice):
                host.notices.append((self.now, notice))
            case ReleaseHeld():
                host.released.append(effect)
            case DropHeld():
                host.dropped.append(effect)
            case OpenClear():
                host.clear[(effect.reqid, effect.selector)] = None
                self.tell(host, ClearOpened(effect.reqid, effect.selector))
            case AddFilter():
                host.filters[(effect.reqid, effect.selector)] = None
            case RemoveFilter():
                del host.filters[(effect.reqid, effect.selector)]
            case CloseClear():
                del host.clear[(effect.reqid, effect.selector)]

    def _transmit(self, datagram: SendDatagram) -> None:
        good = self.now >= self.faults.until
        rng = self._rng
        datagram = self.translate(datagram)
        if self.lose(datagram) or (not good and rng.random() < self.faults.loss):
            return
        copies = 1 if good or rng.random() >= self.faults.duplication else 2
        for _ in range(copies):
            self._plan(self.now + self._delay(), lambda: self._arrive(datagram))

    def _delay(self) -> float:
        low, high = PERFECT.delay if self.now >= self.faults.until else self.faults.delay
        return low + (high - low) * self._rng.random()

    def _arrive(self, datagram: SendDatagram) -> None:
        host = self.hosts.get(datagram.remote.address)
        if host is not None:
            self.tell(host, DatagramReceived(datagram.remote, datagram.local, datagram.data))

    def _send_packet(self, host: Host, flow: Flow) -> None:
        entry = host.kernel.outbound(flow.packet, flow.reqid)
        if any(reqid == flow.reqid and selector.contains(flow.packet) for reqid, selector in host.clear):
            flow.clear.append(self.now)
        elif entry is None:
            flow.waiting += 1
            if self.now >= flow.asked + LARVAL_SECONDS:
                flow.asked = self.now
                self.tell(host, Acquire(flow.reqid, flow.packet))
        else:
            entry.octets += 100
            sa = entry.sa
            self._plan(self.now + PERFECT.delay[1], lambda: self._receive_packet(sa, flow))
        if self.now + flow.interval <= flow.until:
            self._plan(self.now + flow.interval, lambda: self._send_packet(host, flow))

    def _receive_packet(self, sent: SadEntry, flow: Flow) -> None:
        host = self.hosts.get(sent.dst)
        if host is None:
            flow.lost.append((self.now, f"nobody is at {sent.dst}"))
            return
        entry = host.kernel.inbound(sent.spi, sent.protocol)
        if entry is None or not opens(sent, entry.sa):
            flow.lost.append((self.now, f"{host.name} has {'another' if entry else 'no'} SA {sent.spi:08x}"))
            return
        if not entry.sa.selector.contains(flow.packet):
            flow.lost.append((self.now, f"{host.name}: not in the selector of {sent.spi:08x}"))
            return
        first = entry.octets == 0
        entry.octets += 100
        flow.delivered += 1
        if first:
            self.tell(host, SaUsed(sent.spi, sent.protocol, sent.dst, entry.octets))


def differences(hosts: Iterable[Host]) -> list[str]:
    """What keeps the kernels from being in agreement: SAs without their other half, or more than one per direction."""
    found: list[str] = []
    by_address = {host.address: host for host in hosts}
    for host in by_address.values():
        found += [f"{host.name}: {mistake}" for mistake in host.kernel.mistakes]
        seen: set[tuple[int, Address, bool, Selector]] = set()
        for entry in host.kernel.sas.values():
            sa = entry.sa
            label = f"{host.name} {'in' if sa.inbound else 'out'} {sa.spi:08x}"
            peer = by_address.get(sa.src if sa.inbound else sa.dst)
            if peer is None:
                found.append(f"{label}: nobody is at its other end")
                continue
            half = peer.kernel.sas.get(sa.key)
            if half is None:
                found.append(f"{label}: {peer.name} does not have it")
            elif half.sa.inbound == sa.inbound or not opens(sa, half.sa):
                found.append(f"{label}: {peer.name} has it otherwise")
            elif half.sa.selector != sa.selector:
                found.append(f"{label}: carries {sa.selector}, at {peer.name} {half.sa.selector}")
            name = (sa.reqid, peer.address, sa.inbound, sa.selector)
            if name in seen:
                found.append(f"{label}: a second one for the same traffic")
            seen.add(name)
    return found
