# SPDX-License-Identifier: GPL-2.0-or-later
"""All orders in which wishes, datagrams, losses, duplicates and timers can meet two engines, one after the other.

An order is a row of choices; engines are functions of their seeds, so that it can be run again from the start. The
next order differs in the last choice that has another one left (as in stateless model checking). Events at different
hosts change nothing for one another: of two orders that differ in such neighbours alone, one is run.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.conversations.kernel_model import opens
from tests.conversations.mortal import Wire
from tests.conversations.network import Host, Network, differences
from tests.conversations.plans import Settings, plan
from tests.conversations.scenes import A4, B4, Pair, summary
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, Event, Rekey

QUIET = 200.0
"""Seconds after which everything has been repeated, given up and cleaned up."""
SOON = 5.0
"""A timer further away than that fires after all that is chosen."""


def _child(host: Host) -> bytes | None:
    """Of the child SA that the host sends with."""
    children = [child for sa in host.ike_sas() for child in sa.children]
    entry = max((e for e in host.kernel.sas.values() if not e.sa.inbound), key=lambda e: e.number, default=None)
    return next((c.spi_in.to_bytes(4) for c in children if entry is not None and c.spi_out == entry.sa.spi), None)


def _ike(host: Host) -> bytes | None:
    """Of the newest IKE SA."""
    newest = max(host.ike_sas(), key=lambda sa: sa.created, default=None)
    return None if newest is None else newest.local_spi


class Wish(NamedTuple):
    """What an operator or a lifetime asks of one of the two hosts, by name."""

    host: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} at {'AB'[self.host]}"


WISHES: dict[str, Callable[[Host], Event | None]] = {
    "rekey-child": lambda host: Rekey(spi) if (spi := _child(host)) else None,
    "rekey-ike": lambda host: Rekey(spi) if (spi := _ike(host)) else None,
    "delete-child": lambda host: Delete(spi) if (spi := _child(host)) else None,
    "delete-ike": lambda host: Delete(spi) if (spi := _ike(host)) else None,
}


class Step(NamedTuple):
    """One event. `host`: where it is felt; None: everywhere. `what`: which wish or datagram."""

    kind: str
    host: int | None
    what: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.kind} {'' if self.host is None else 'AB'[self.host]}{self.what[1]}"


@dataclass(frozen=True)
class Bounds:
    """How far orders are explored: events that are chosen (the rest comes in order), faults, timers ahead of events."""

    depth: int
    faults: int = 0
    ticks: int = 0


class HeldNetwork(Network):
    """A network whose datagrams wait until somebody chooses what becomes of them. `steady`: no wish ends an SA, so that
    at no moment may a host send what the other cannot open.
    """

    def __init__(self, steady: bool, seed: int = 1) -> None:
        super().__init__(seed)
        self.flying: dict[tuple[int, int], SendDatagram] | None = None
        self.steady = steady
        self._numbers = (itertools.count(), itertools.count())

    def hold(self) -> None:
        """From now on."""
        self.flying = {}

    def release(self) -> None:
        """Everything goes its way again, what waited first."""
        waiting, self.flying = self.flying or {}, None
        for datagram in waiting.values():
            self._transmit(datagram)

    def host(self, number: int) -> Host:
        """A or B."""
        return list(self.hosts.values())[number]

    def tell(self, host: Host, event: Event) -> list[Effect]:
        effects = super().tell(host, event)
        if self.steady and self.flying is not None:
            self._no_black_hole()
        return effects

    def _transmit(self, datagram: SendDatagram) -> None:
        if self.flying is None:
            super()._transmit(datagram)
        else:
            sender = list(self.hosts).index(datagram.local.address)
            self.flying[sender, next(self._numbers[sender])] = datagram

    def _no_black_hole(self) -> None:
        for one, other in itertools.permutations(self.hosts.values()):
            sending = max((e for e in one.kernel.sas.values() if not e.sa.inbound), key=lambda e: e.number)
            received = other.kernel.inbound(sending.sa.spi)
            assert received is not None, f"{one.name} sends with {sending.sa.spi:08x}, which {other.name} does not have"
            assert opens(sending.sa, received.sa)


DEFAULTS = Settings()


def connected(network: HeldNetwork, settings: Settings = DEFAULTS) -> Pair:
    """Two connected hosts."""
    a = network.add("A", A4, Engine(plan(A4, [B4], settings), network.entropy()))
    b = network.add("B", B4, Engine(plan(B4, [A4], settings), network.entropy()))
    scene = Pair(network, a, b)
    scene.acquire(a)
    network.run(60.0)
    scene.agree()
    return scene


def renewable(scene: Pair) -> None:
    """Either host can replace the child SA and the IKE SA that are left. AssertionError for what stays as it is."""
    network = scene.network
    for host, (name, current) in itertools.product(scene.hosts, (("rekey-child", _child), ("rekey-ike", _ike))):
        before, event = current(host), WISHES[name](host)
        assert event is not None
        network.tell(host, event)
        network.run(network.now + 60.0)
        scene.agree()
        assert current(host) != before, f"{name} at {host.name} does nothing:\n{summary(scene)}"


@dataclass
class Order:
    """One order as it is lived through: `choices` first, then always the first of what is possible."""

    scene: Pair
    network: HeldNetwork
    wishes: Sequence[Wish]
    bounds: Bounds
    choices: Sequence[int]
    lots: random.Random | None = None
    """Who chooses after that, instead of the first."""
    named: Sequence[str] = ()
    """Steps by their names, in place of choices: an order that was found."""
    wire: Wire = field(default_factory=Wire)
    steps: list[Step] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    """How many choices there were at each step."""
    whole: bool = False
    """False: another order is the same but for neighbours at different hosts, and is run instead."""

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.wishes))}: {', '.join(map(str, self.steps))}"

    def live(self) -> bool:
        """Take all steps, let all come to rest, and demand what must hold. False where another order stands for it."""
        wishes, before, faults, ticks = dict(enumerate(self.wishes)), set[Step](), 0, 0
        self.network.hold()
        while len(self.steps) < self.bounds.depth:
            possible = self._possible(wishes, faults, ticks)
            fresh = [step for step in possible if self.lots or self.named or self._is_first_of_its_kind(step, before)]
            if not fresh:
                # All that is possible was so before the last step, and its order with that one is another run's.
                return False
            number = self._choice(fresh)
            step = fresh[number]
            self.steps.append(step)
            self.widths.append(len(fresh))
            before = set(possible)
            faults += step.kind in ("lose", "twice")
            ticks += step.kind == "tick"
            self._take(step, wishes)
            if not wishes and not self.network.flying:
                break
        for wish in wishes.values():
            self._wish(wish)
        self.network.release()
        self._come_to_rest()
        return True

    def _choice(self, fresh: list[Step]) -> int:
        if len(self.steps) < len(self.named):
            return [str(step) for step in fresh].index(self.named[len(self.steps)])
        if len(self.steps) < len(self.choices):
            return self.choices[len(self.steps)]
        return self.lots.randrange(len(fresh)) if self.lots is not None else 0

    def _possible(self, wishes: dict[int, Wish], faults: int, ticks: int) -> list[Step]:
        flying = self.network.flying or {}
        kinds = ("deliver", "lose", "twice") if faults < self.bounds.faults else ("deliver",)
        steps = [Step(kind, 1 - key[0], key) for key in flying for kind in kinds]
        steps += [Step("wish", wish.host, (2, number)) for number, wish in wishes.items()]
        deadlines = [d for host in self.scene.hosts if (d := host.engine.next_deadline()) is not None]
        if ticks < self.bounds.ticks and min(deadlines, default=float("inf")) < self.network.now + SOON:
            steps.append(Step("tick", None, (3, ticks)))
        return steps

    def _is_first_of_its_kind(self, step: Step, before: set[Step]) -> bool:
        """Of two neighbours at different hosts, that could have come the other way round, A's comes first."""
        if not self.steps or step not in before:
            return True
        last = self.steps[-1]
        return step.host is None or last.host is None or step.host >= last.host

    def _take(self, step: Step, wishes: dict[int, Wish]) -> None:
        network = self.network
        assert network.flying is not None
        if step.kind == "wish":
            self._wish(wishes.pop(step.what[1]))
        elif step.kind == "tick":
            network.run(min(d for host in self.scene.hosts if (d := host.engine.next_deadline()) is not None))
        else:
            datagram = network.flying[step.what] if step.kind == "twice" else network.flying.pop(step.what)
            if step.kind != "lose":
                network._arrive(datagram)

    def _wish(self, wish: Wish) -> None:
        host = self.network.host(wish.host)
        event = WISHES[wish.name](host)
        if event is not None:
            self.network.tell(host, event)

    def _come_to_rest(self) -> None:
        scene, network = self.scene, self.network
        network.run(network.now + QUIET)
        if self.network.steady or any(host.ike_sas() for host in scene.hosts):
            scene.agree()
        else:
            assert not differences(scene.hosts), summary(scene)
            assert all(not host.kernel.sas for host in scene.hosts), summary(scene)
        if not any(sa.children for sa in scene.a.ike_sas()):
            scene.acquire(scene.a, network.now)
            network.run(network.now + QUIET)
            scene.agree()
        for host in scene.hosts:
            assert len(host.kernel.sas) == 2, f"one pair is left:\n{summary(scene)}"
            flow = scene.flow(host, 0.1)
            network.run(network.now + 0.2)
            assert (flow.delivered > 0, flow.lost, flow.waiting) == (True, [], 0), summary(scene)
        for host in scene.hosts:
            self.wire.watch(host.sent)
            host.sent.clear()


def orders(
    wishes: Sequence[Wish],
    bounds: Bounds,
    network: Callable[[bool], HeldNetwork] = HeldNetwork,
    settings: Settings = DEFAULTS,
) -> Iterator[Order]:
    """All orders, each lived through. AssertionError with the order's steps for one that ends badly."""
    choices: list[int] = []
    while True:
        order = lived(wishes, bounds, network, choices, settings=settings)
        if order.whole:
            yield order
        numbers = [*choices, *[0] * (len(order.widths) - len(choices))]
        while numbers and numbers[-1] + 1 >= order.widths[len(numbers) - 1]:
            numbers.pop()
        if not numbers:
            return
        numbers[-1] += 1
        choices = numbers


def lived(
    wishes: Sequence[Wish],
    bounds: Bounds,
    network: Callable[[bool], HeldNetwork] = HeldNetwork,
    choices: Sequence[int] = (),
    named: Sequence[str] = (),
    settings: Settings = DEFAULTS,
) -> Order:
    """One order, lived through to its end. AssertionError with its steps if that is a bad one."""
    held = network(not any(wish.name.startswith("delete") for wish in wishes))
    order = Order(connected(held, settings), held, wishes, bounds, choices, named=named)
    try:
        order.whole = order.live()
    except Exception as error:
        raise AssertionError(f"{order}: {error}") from error
    return order
