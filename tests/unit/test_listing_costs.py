# SPDX-License-Identifier: GPL-2.0-or-later
"""What `sas` costs grows as the peers do and no faster, and no answer is held whole: calls and memory are counted."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bench import engine as suites
from bench.pair import EnginePair
from tests.fuzz.costs import Cost, measured
from tests.unit.test_daemon_commands import Place
from tests.unit.test_many_peers import seeded
from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import states, uses
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.adapters.xfrm.uses import Use, Uses
from xfrmd.cli import show
from xfrmd.cli.output import Output
from xfrmd.control.schema import ControlError, Json
from xfrmd.daemon.answers import pieces
from xfrmd.daemon.changes import Changes
from xfrmd.daemon.commands import rekey
from xfrmd.daemon.listing import sas
from xfrmd.ike.child_sa import ChildState
from xfrmd.ike.effects import Effect, InstallSa
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Event, Rekey
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry

FEW, MANY = 2 * limits.SHOWN_AT_ONCE, 8 * limits.SHOWN_AT_ONCE
_AT_ONCE = 40
"""SAs that the kernel tells of in one part of a dump."""


class Wire:
    """A kernel that has SAs, of which each has carried something."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies
        self._parts: Iterator[bytes] = iter(())

    def send(self, data: bytes, /) -> int:
        (asked,) = netlink.messages(data)
        told = [netlink.frame(Msg.NEWSA, 0, asked.seq, body) for body in self._bodies]
        parts = [b"".join(told[begin : begin + _AT_ONCE]) for begin in range(0, len(told), _AT_ONCE)]
        self._parts = iter([*parts, netlink.frame(netlink.NLMSG_DONE, 0, asked.seq, bytes(4))])
        return len(data)

    def recv(self, size: int, /) -> bytes:
        part = next(self._parts)
        assert len(part) <= size
        return part

    def getsockname(self) -> tuple[int, int]:
        return 1, 0

    def close(self) -> None: ...


class Hearing:
    """An engine whose SAs are noted."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.installed: list[SadEntry] = []

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = self.engine.handle(event, now)
        self.installed += [effect.sa for effect in effects if isinstance(effect, InstallSa)]
        return effects


class Crowd:
    """A daemon with so many peers, its kernel, and one client who asks."""

    def __init__(self, count: int) -> None:
        self.count = count
        pair = EnginePair(suites.SUITES[0], seeded(f"crowd of {count}"))
        self.engine = pair.responder.engine
        hearing = Hearing(self.engine)
        pair.responder.engine = hearing  # type: ignore[assignment]  # as much of an engine as a pair asks for
        pair.measure(count)
        self.bodies = [states.encode(sa) for sa in hearing.installed]
        self.house = asyncio.run(self._house())
        self.house.engine = self.engine
        self.house.sas = self
        for sa in hearing.installed:
            self.house.ledger.installed(sa)

    @staticmethod
    async def _house() -> Any:
        return Place().house

    def dumped(self) -> Uses:
        return Uses(XfrmSocket(opener=lambda: Wire(self.bodies)).dump(Msg.GETSA, Msg.NEWSA, uses.decode))

    def uses_apart(self) -> Uses:
        return self.dumped()

    def use(self, protocol: ProtocolId, spi: int, dst: Address) -> Use | None:
        return Use(spi, len(dst)) if protocol is ProtocolId.ESP else None

    def asked(self, **arguments: str) -> list[bytes]:
        """What is sent, of which no more is held than a client has not taken."""

        async def answered() -> list[bytes]:
            answer = {"ok": True, "answer": await sas(self.house, arguments)}
            return [piece[:0] async for piece in pieces(answer)]

        return asyncio.run(answered())

    def answer(self) -> Json:
        async def whole() -> Json:
            answer: Json = {"ok": True, "answer": await sas(self.house, {})}
            arrived: Json = json.loads(b"".join([piece async for piece in pieces(answer)]))["answer"]
            return arrived

        return asyncio.run(whole())


@pytest.fixture(scope="module", name="crowds")
def of_both_sizes() -> tuple[Crowd, Crowd]:
    return Crowd(FEW), Crowd(MANY)


class Replacing:
    """The engine of a crowd that replaces its child SAs one by one, and notes how often it is asked for one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.gone: set[bytes] = set()
        self.asked = 0

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        return self._engine.ike_sas()

    def each_ike_sa(self, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
        self.asked += 1
        return iter(()) if spi in self.gone else self._engine.each_ike_sa(remote, spi)

    def own_spi(self, spi: bytes) -> bytes:
        self.asked += 1
        return b"" if spi in self.gone else self._engine.own_spi(spi)


def costs(crowds: tuple[Crowd, Crowd], step: Any) -> tuple[Cost, Cost]:
    """Of both sizes, when all that is made once has been made."""
    for crowd in crowds:
        step(crowd)
    few, many = measured([(crowd.count, partial(step, crowd)) for crowd in crowds])
    return few, many


def test_what_is_measured_is_the_whole_list(crowds: tuple[Crowd, Crowd]) -> None:
    for crowd in crowds:
        answer = crowd.answer()
        assert len(answer["ike_sas"]) == len(answer["child_sas"]) == crowd.count
        assert {child["mode"] for child in answer["child_sas"]} == {"transport"}
        assert crowd.dumped().of(ProtocolId.ESP, int(answer["child_sas"][-1]["spi_in"], 16), Address(4, 0)) is None


def test_a_list_of_all_costs_each_peer_the_same_and_is_held_by_nobody(crowds: tuple[Crowd, Crowd]) -> None:
    few, many = costs(crowds, Crowd.asked)
    assert few.calls > 100 * FEW / 2
    assert many.calls < 1.02 * MANY / FEW * few.calls
    held = (many.memory - few.memory) / (MANY - FEW)
    assert held < 1200, "the text of a child SA, and of the kernel's SAs what they have carried"


def test_what_the_kernel_tells_is_read_in_as_many_steps_as_it_has_sas(crowds: tuple[Crowd, Crowd]) -> None:
    few, many = costs(crowds, Crowd.dumped)
    assert few.calls > 2 * FEW
    assert many.calls < 1.02 * MANY / FEW * few.calls
    assert many.calls < 20 * 2 * MANY, "two for each peer"


@pytest.mark.parametrize("as_json", [False, True])
def test_showing_it_costs_each_peer_the_same(crowds: tuple[Crowd, Crowd], as_json: bool) -> None:
    answers = {crowd.count: crowd.answer() for crowd in crowds}

    def shown(crowd: Crowd) -> None:
        output = Output(io.StringIO(), io.StringIO(), json=as_json)
        answer = answers[crowd.count]
        output.answer(answer, "" if as_json else show.sas(answer, output))

    few, many = costs(crowds, shown)
    assert few.calls > 2 * FEW
    assert many.calls < 1.02 * MANY / FEW * few.calls


def test_one_peer_or_spi_costs_next_to_nothing_among_many(crowds: tuple[Crowd, Crowd]) -> None:
    def one_peer(crowd: Crowd) -> None:
        crowd.asked(remote="10.0.0.7")

    def one_spi(crowd: Crowd) -> None:
        (view,) = crowd.engine.each_ike_sa(Address.parse("10.0.0.7"))
        for spi in (view.local_spi, view.remote_spi, view.children[0].spi_in.to_bytes(4)):
            crowd.asked(spi=spi.hex())

    for step in (one_peer, one_spi):
        few, many = costs(crowds, step)
        assert many.calls < few.calls + 4 * (MANY - FEW), "others are looked at, and not shown"


class Turns:
    """A kernel that notes at which turn of the event loop it is asked for SAs."""

    def __init__(self) -> None:
        self.now = 0
        self.asked: collections.Counter[int] = collections.Counter()

    def uses_apart(self) -> Turns:
        return self

    def of(self, _protocol: ProtocolId, _spi: int, _dst: Address) -> None:
        self.asked[self.now] += 1

    async def count(self) -> None:
        while True:
            self.now += 1
            await asyncio.sleep(0)


def test_a_peer_with_a_thousand_child_sas_holds_nobody_up_when_they_are_listed() -> None:
    crowd, each, turns = Crowd(4), 5 * limits.SHOWN_AT_ONCE, Turns()
    store = crowd.engine._ctx.store
    for home, ike in enumerate(store.ike_sas()):
        (one,) = ike.lineage.children.values()
        for number in range(1, each):
            spi = 0x10000 * (home + 1) + number
            store.add_child(ike.lineage, replace(one, spi_in=spi, spi_out=spi))

    async def listed() -> int:
        crowd.house.sas = turns
        counting, octets = asyncio.ensure_future(turns.count()), b""
        async for piece in pieces({"ok": True, "answer": await sas(crowd.house, {})}):
            octets += piece
            await asyncio.sleep(0)
        counting.cancel()
        return len(json.loads(octets)["answer"]["child_sas"])

    assert asyncio.run(listed()) == crowd.count * each
    assert turns.asked.total() == 2 * crowd.count * each
    assert max(turns.asked.values()) == 2 * limits.SHOWN_AT_ONCE, "both directions of each"


def test_who_waits_for_a_rekey_of_all_asks_for_each_sa_once_that_is_gone(crowds: tuple[Crowd, Crowd]) -> None:
    """It is asked with every event: to begin with the first one each time would hold up what is to be waited for."""
    crowd, _ = crowds
    house, engine, post = crowd.house, Replacing(crowd.engine), crowd.house.core.post

    async def waited() -> Json:
        house.engine, house.core.post = engine, lambda _: None
        waiting = asyncio.ensure_future(rekey(house, {"spi": "all", "wait": 60}))
        await asyncio.sleep(0)
        for view in crowd.engine.ike_sas():
            engine.gone.update(child.spi_in.to_bytes(4) for child in view.children)
            house.changes.happened()
            await asyncio.sleep(0)
        return await waiting

    try:
        assert asyncio.run(waited()) == {"rekeyed": "all", "count": crowd.count, "done": True}
    finally:
        house.engine, house.core.post = crowd.engine, post
    assert engine.asked <= 2 * crowd.count + 2


@pytest.mark.parametrize("which", ["all", "ike"])
def test_others_have_their_turn_while_a_rekey_of_all_is_begun(crowds: tuple[Crowd, Crowd], which: str) -> None:
    _, crowd = crowds
    house, turns = crowd.house, Turns()

    async def begun() -> Json:
        house.changes = Changes()  # of this loop
        house.core.post = lambda _: turns.asked.update([turns.now])
        counting = asyncio.ensure_future(turns.count())
        done = await rekey(house, {"spi": which})
        counting.cancel()
        return done

    post = house.core.post
    try:
        assert asyncio.run(begun())["count"] == crowd.count
    finally:
        house.core.post = post
    assert turns.asked.total() == crowd.count
    assert max(turns.asked.values()) == limits.REKEYED_AT_ONCE


def test_a_rekey_of_all_leaves_out_what_the_peer_has_just_made_or_replaced() -> None:
    """Nobody would rekey these, and who waits would wait in vain."""
    crowd = Crowd(4)
    made, replaced, *used = (
        child for ike in crowd.engine._ctx.store.ike_sas() for child in ike.lineage.children.values()
    )
    made._state, replaced._state = ChildState.AWAITED, ChildState.SILENT
    asked: list[Event] = []
    crowd.house.core.post = asked.append
    assert asyncio.run(rekey(crowd.house, {"spi": "all"}))["count"] == 2
    assert asked == [Rekey(child.spi_in.to_bytes(4)) for child in used]


def test_one_that_the_peer_has_just_made_is_rekeyed_when_it_is_in_use_or_refused() -> None:
    crowd = Crowd(2)
    made = next(child for ike in crowd.engine._ctx.store.ike_sas() for child in ike.lineage.children.values())
    made._state = ChildState.AWAITED
    spi = made.spi_in.to_bytes(4)
    asked: list[Event] = []
    posted = asyncio.Event()

    def post(event: Event) -> None:
        asked.append(event)
        posted.set()

    crowd.house.core.post = post

    async def waited() -> None:
        crowd.house.changes = Changes()  # of this loop
        waiting = asyncio.ensure_future(rekey(crowd.house, {"spi": spi.hex(), "wait": 60}))
        await asyncio.sleep(0)
        crowd.house.changes.happened()
        await asyncio.sleep(0)
        assert asked == []
        made._state = ChildState.INSTALLED
        crowd.house.changes.happened()
        await posted.wait()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert asked == [Rekey(spi)]

    with pytest.raises(ControlError) as refused:
        asyncio.run(rekey(crowd.house, {"spi": spi.hex()}))
    assert refused.value.code == "just-made"
    assert asked == []
    asyncio.run(waited())
