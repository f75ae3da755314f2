# SPDX-License-Identifier: GPL-2.0-or-later
"""Events in, effects out: order, follow-ups, timers, and faults that end nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.unit.compiler_cases import facts, one, policy, rule
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.compiler import compile_policy
from xfrmd.daemon.core import FAULT_PAUSE, Core, Faults
from xfrmd.daemon.executor import Executor
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.overlay import Overlays
from xfrmd.errors import KernelError
from xfrmd.ike.effects import (
    AskUsed,
    DropHeld,
    Effect,
    InstallSa,
    KeepRevoked,
    ReleaseHeld,
    RemapSa,
    RemoveSa,
    RevokeTickets,
    SendDatagram,
    Tell,
)
from xfrmd.ike.events import Acquire, Delete, Endpoint, Event, SaFailed, SaUsed, TimerFired
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.notice import Level, Notice
from xfrmd.model.plan import Overlay
from xfrmd.model.proposals import Lifetime, ProtocolId, Transform
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode

HERE, THERE = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
PLAN = compile_policy(
    policy(rule("negotiate", one("me", "192.0.2.0/24", "tcp", dport=445), soft=True)), facts("192.0.2.1/24")
)
SELECTOR = Selector(Prefix.host(HERE), Prefix.host(THERE))
NEAR, FAR = Endpoint(HERE, 500), Endpoint(THERE, 500)


def sa(spi: int, *, inbound: bool) -> SadEntry:
    src, dst = (THERE, HERE) if inbound else (HERE, THERE)
    return SadEntry(
        protocol=ProtocolId.ESP,
        spi=spi,
        src=src,
        dst=dst,
        selector=SELECTOR.reversed if inbound else SELECTOR,
        reqid=7,
        inbound=inbound,
        mode=Mode.TRANSPORT,
        encryption=Transform(1, 20, 128),
        encryption_key=Secret(b"k" * 20),
        integrity=None,
        integrity_key=Secret(b""),
        esn=False,
        replay_window=32,
        soft=Lifetime(90),
        hard=Lifetime(100),
    )


class Edges:
    """Kernel, sockets and hold queue that write down what they are told."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.refuse_spi = 0
        self.unreachable = ""
        self.refuse_overlays = False
        self.octets = 0
        self.moved: list[tuple[Address, Address]] = []

    def keep_alive(self, local: Endpoint, remote: Endpoint) -> str:
        self.done.append(("keepalive", str(local), str(remote)))
        return self.unreachable

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> str:
        self.done.append(("send", str(local), str(remote), data))
        return self.unreachable

    def add_sa(self, entry: SadEntry) -> None:
        if entry.spi == self.refuse_spi:
            raise KernelError("no such algorithm", 38)
        self.done.append(("add", entry.spi))

    def update_sa(self, sa: SadEntry) -> None:
        if sa.spi == self.refuse_spi:
            raise KernelError("it is gone", 3)
        self.done.append(("update", sa.spi, sa.encap_ports))

    def remove_sa(self, protocol: ProtocolId, spi: int, dst: Address) -> bool:
        self.done.append(("remove", protocol, spi, str(dst)))
        return True

    def sa(self, protocol: ProtocolId, spi: int, dst: Address) -> Any:
        self.done.append(("ask", spi))
        return ObservedSa(protocol, spi, dst, dst, 7, 0, self.octets, 1, 0, 0, 0, 0)

    def sas_apart(self) -> Sequence[Any]:
        return self.sas()

    def sas(self) -> Sequence[Any]:
        return ()

    def overlay(self, wanted: Overlay) -> None:
        if self.refuse_overlays:
            raise KernelError("no memory", 12)
        self.done.append(("overlay", len(wanted.spd)))

    def late(self, what: str, step: str, error: KernelError) -> None:
        self.done.append(("late", step, f"{what}: {error}"))

    def release(self, reqid: int, selector: Selector) -> None:
        self.done.append(("release", reqid, selector))

    def drop(self, reqid: int, selector: Selector) -> None:
        self.done.append(("drop", reqid, selector))


class ScriptedEngine:
    """Answers each kind of event with a fixed list of effects, or an exception."""

    def __init__(self, script: Mapping[type, Sequence[Effect] | Exception], deadline: float | None = None) -> None:
        self.script = script
        self.heard: list[Event] = []
        self.deadline = deadline

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        assert now > 0
        self.heard.append(event)
        answer = self.script.get(type(event), ())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def next_deadline(self) -> float | None:
        return self.deadline

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        return ()

    def each_ike_sa(self, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
        assert (remote, spi) == (None, b"")
        return iter(())

    def own_spi(self, spi: bytes) -> bytes:
        assert spi
        return b""

    def suspect(self, remote: Address, now: float) -> bool:
        del remote, now
        return False

    def totals(self) -> tuple[int, int]:
        return 0, 0

    def counters(self) -> Mapping[str, int]:
        return {}


def executor(edges: Edges, told: list[Notice], ledger: Ledger | None = None) -> Executor:
    overlays = Overlays(PLAN, edges.overlay)
    ledger = ledger or Ledger(lambda: 1000.0)
    return Executor(
        edges,
        edges,
        edges,
        told.append,
        ledger,
        overlays=overlays,
        late=edges.late,
        move_tunnel=lambda end, gateway: edges.moved.append((end, gateway)),
        keep_revoked=edges.done.append,
        revoke_tickets=lambda: edges.done.append("revoke tickets"),
    )


def in_loop(scenario: Callable[[], None]) -> None:
    async def run() -> None:
        scenario()

    asyncio.run(run())


def test_effects_are_carried_out_in_order_and_kept_in_the_ledger() -> None:
    edges, told, ledger = Edges(), list[Notice](), Ledger(lambda: 1000.0)
    notice = Notice(Level.WARNING, "no-proposal", "nothing in common", {"peer": "192.0.2.9"}, "agree")
    effects = (
        InstallSa(sa(1, inbound=True)),
        InstallSa(sa(2, inbound=False)),
        ReleaseHeld(7, SELECTOR),
        SendDatagram(NEAR, FAR, b"m"),
        RemoveSa(ProtocolId.ESP, 1, THERE, HERE),
        DropHeld(7, SELECTOR),
        RevokeTickets(),
        KeepRevoked(()),
        Tell(notice),
    )
    engine = ScriptedEngine({Delete: effects})
    in_loop(lambda: Core(engine, executor(edges, told, ledger).carry, Faults(told.append)).post(Delete(None)))
    assert edges.done == [
        ("add", 1),
        ("add", 2),
        ("release", 7, SELECTOR),
        ("send", "192.0.2.1:500", "192.0.2.2:500", b"m"),
        ("remove", ProtocolId.ESP, 1, "192.0.2.1"),
        ("drop", 7, SELECTOR),
        "revoke tickets",
        (),
    ]
    assert list(ledger.sas) == [(THERE, ProtocolId.ESP, 2)]
    assert told == [notice]
    assert ledger.peers["192.0.2.9"].failure == notice
    assert ledger.peers["192.0.2.2"].worked_at == 1000.0


def test_a_refused_sa_comes_back_to_the_engine_after_the_other_effects() -> None:
    edges, told = Edges(), list[Notice]()
    edges.refuse_spi = 1
    engine = ScriptedEngine({Delete: (InstallSa(sa(1, inbound=True)), SendDatagram(NEAR, FAR, b"m"))})
    in_loop(lambda: Core(engine, executor(edges, told).carry, Faults(told.append)).post(Delete(None)))
    assert engine.heard == [Delete(None), SaFailed(1, ProtocolId.ESP, HERE, "no such algorithm")]
    assert edges.done == [("send", "192.0.2.1:500", "192.0.2.2:500", b"m")]
    assert [notice.code for notice in told] == ["sa-refused"]
    assert told[0].fields["peer"] == "192.0.2.2"


def test_an_sa_gets_other_ports_and_one_that_is_not_there_none() -> None:
    edges, ledger = Edges(), Ledger(lambda: 1000.0)
    carry = executor(edges, [], ledger).carry
    carry(InstallSa(sa(2, inbound=False)))
    assert carry(RemapSa(ProtocolId.ESP, 2, THERE, (4500, 20_000))) is None
    assert carry(RemapSa(ProtocolId.ESP, 3, THERE, (4500, 20_000))) is None
    assert edges.done == [("add", 2), ("update", 2, (4500, 20_000))]
    assert ledger.sas[(THERE, ProtocolId.ESP, 2)].sa.encap_ports == (4500, 20_000)
    edges.refuse_spi = 2
    assert carry(RemapSa(ProtocolId.ESP, 2, THERE, (4500, 30_000))) == SaFailed(2, ProtocolId.ESP, THERE, "it is gone")


def test_an_sa_that_has_taken_something_is_told_when_asked_for() -> None:
    edges = Edges()
    ask = executor(edges, []).carry
    assert ask(AskUsed(ProtocolId.ESP, 1, HERE)) is None
    edges.octets = 100
    assert ask(AskUsed(ProtocolId.ESP, 1, HERE)) == SaUsed(1, ProtocolId.ESP, HERE, 100)


def test_a_datagram_that_cannot_be_sent_is_told_and_is_no_failure_of_the_peer() -> None:
    edges, told, ledger = Edges(), list[Notice](), Ledger(lambda: 0.0)
    edges.unreachable = "Network is unreachable"
    assert executor(edges, told, ledger).carry(SendDatagram(NEAR, FAR, b"m")) is None
    assert [notice.code for notice in told] == ["send-failed"]
    assert not ledger.peers


def test_a_fault_in_the_engine_is_told_counted_and_survived() -> None:
    told: list[Notice] = []
    engine = ScriptedEngine({Delete: ValueError("secret octets"), TimerFired: (SendDatagram(NEAR, FAR, b"t"),)})
    edges, faults = Edges(), Faults(told.append)

    def scenario() -> None:
        core = Core(engine, executor(edges, told).carry, faults)
        core.post(Delete(None))
        core.post(TimerFired())

    in_loop(scenario)
    assert faults.count == 1
    assert [(n.code, n.level) for n in told] == [("internal-error", Level.ERROR)]
    assert "secret octets" not in told[0].message + str(told[0].fields)
    assert len(edges.done) == 1


def test_a_fault_in_one_effect_does_not_stop_those_behind_it() -> None:
    told: list[Notice] = []

    def carry(effect: Effect) -> Event | None:
        if isinstance(effect, ReleaseHeld):
            raise KernelError("gone")
        done.append(effect)
        return None

    done: list[Effect] = []
    behind = SendDatagram(NEAR, FAR, b"m")
    engine, faults = ScriptedEngine({Delete: (ReleaseHeld(7, SELECTOR), behind)}), Faults(told.append)
    in_loop(lambda: Core(engine, carry, faults).post(Delete(None)))
    assert done == [behind]
    assert faults.count == 1


def test_events_that_come_while_one_is_carried_out_wait_for_its_end() -> None:
    order: list[str] = []

    class Watching(ScriptedEngine):
        def handle(self, event: Event, now: float) -> Sequence[Effect]:
            order.append(type(event).__name__)
            return super().handle(event, now)

    engine = Watching({Delete: (ReleaseHeld(7, SELECTOR), DropHeld(7, SELECTOR))})

    def scenario() -> None:
        def carry(effect: Effect) -> Event | None:
            if isinstance(effect, ReleaseHeld):
                core.post(Acquire(7, SELECTOR))
            order.append(type(effect).__name__)
            return None

        core = Core(engine, carry, Faults(lambda _: None), lambda: order.append("settled"))
        core.post(Delete(None))

    in_loop(scenario)
    assert order == ["Delete", "ReleaseHeld", "DropHeld", "Acquire", "settled"]


def test_the_engines_deadline_fires_the_timer_once_it_is_due() -> None:
    async def run() -> None:
        fired = asyncio.Event()

        class Timed(ScriptedEngine):
            def handle(self, event: Event, now: float) -> Sequence[Effect]:
                if isinstance(event, TimerFired):
                    assert now >= due
                    self.deadline = None
                    fired.set()
                return ()

        due = asyncio.get_running_loop().time() + 0.02
        core = Core(Timed({}, due), lambda _: None, Faults(lambda _: None))
        core.post(Delete(None))
        await asyncio.wait_for(fired.wait(), 5)
        core.stop()

    asyncio.run(run())


class Punctual(ScriptedEngine):
    """Waits until its deadline is met, and writes down what it was asked too early."""

    def __init__(self, due: float) -> None:
        super().__init__({}, due)
        self.met = asyncio.Event()
        self.early: list[float] = []

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        if isinstance(event, TimerFired):
            assert self.deadline is not None
            if now < self.deadline:
                self.early.append(now)
            else:
                self.deadline = None
                self.met.set()
        return ()


@pytest.mark.parametrize(("first", "then", "early"), [(0.02, 0.06, 1), (60.0, 0.02, 0)])
def test_a_deadline_that_moves_is_met(first: float, then: float, early: int) -> None:
    """For one that moves on the engine is asked once for nothing at most; one that comes nearer moves the timer."""

    async def run() -> None:
        now = asyncio.get_running_loop().time()
        engine = Punctual(now + first)
        core = Core(engine, lambda _: None, Faults(lambda _: None))
        core.post(Delete(None))
        engine.deadline = now + then
        core.post(Delete(None))
        await asyncio.wait_for(engine.met.wait(), 5)
        assert len(engine.early) <= early
        core.stop()

    asyncio.run(run())


def test_a_deadline_that_is_never_met_because_of_a_fault_does_not_spin() -> None:
    async def run() -> int:
        faults = Faults(lambda _: None)
        core = Core(ScriptedEngine({TimerFired: ValueError()}, 0.0), lambda _: None, faults)
        core.post(TimerFired())
        await asyncio.sleep(0.1)
        core.stop()
        return faults.count

    assert asyncio.run(run()) == 1


def test_a_datagram_that_meets_a_fault_does_not_hold_timers_up() -> None:
    """Else a stranger who knows one could stop all retransmissions and rekeys."""

    async def run() -> tuple[bool, int]:
        fired = asyncio.Event()

        class Timed(ScriptedEngine):
            def handle(self, event: Event, now: float) -> Sequence[Effect]:
                if isinstance(event, TimerFired):
                    self.deadline = None
                    fired.set()
                return super().handle(event, now)

        begun = asyncio.get_running_loop().time()
        faults = Faults(lambda _: None)
        core = Core(Timed({Delete: ValueError()}, begun + 0.02), lambda _: None, faults)
        core.post(Delete(None))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(fired.wait(), FAULT_PAUSE / 2)
        core.stop()
        return fired.is_set(), faults.count

    assert asyncio.run(run()) == (True, 1)
