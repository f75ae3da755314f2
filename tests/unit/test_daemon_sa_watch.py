# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at all SAs: what they carried, what nobody told, what belongs to nobody; what failed is tried again soon."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.unit.test_daemon_core import Edges, sa
from xfrmd import limits
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.sa_watch import SaWatch
from xfrmd.errors import KernelError
from xfrmd.ike.events import Event, SaExpired, SaUsed
from xfrmd.model.notice import Notice
from xfrmd.model.proposals import Lifetime
from xfrmd.model.sad import SadEntry


def observed(entry: SadEntry, octets: int = 0) -> ObservedSa:
    reqid = limits.REQID_FIRST
    return ObservedSa(entry.protocol, entry.spi, entry.src, entry.dst, reqid, 0, octets, 1, 1000, 0, 0, 0, entry.soft)


@dataclass
class Kernel(Edges):
    """What a look meets."""

    there: list[ObservedSa] = field(default_factory=list)
    refusal: KernelError | None = None
    tried: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def sas_apart(self) -> list[ObservedSa]:
        return self.sas()

    def sas(self) -> list[ObservedSa]:
        if self.refusal:
            raise self.refusal
        return self.there

    def catch_up(self) -> None:
        self.tried += 1


@dataclass
class Scene:
    """Two SAs that are known and there."""

    now: float = 1000.0
    kernel: Kernel = field(default_factory=Kernel)
    events: list[Event] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(lambda: self.now)
        self.inbound, self.outbound = sa(256, inbound=True), sa(257, inbound=False)
        for entry in (self.inbound, self.outbound):
            self.ledger.installed(entry)
            self.kernel.there.append(observed(entry))
        self.watch = SaWatch(
            self.kernel,
            self.ledger,
            self.events.append,
            self.told.append,
            lambda seconds, step: self.later.append((seconds, step)),
            wall=lambda: self.now,
            backlog=self.kernel,
        )

    def carries(self, *octets: int) -> None:
        pairs = zip((self.inbound, self.outbound), octets, strict=True)
        self.kernel.there = [observed(entry, count) for entry, count in pairs]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_sas_of_both_directions_are_told_when_they_carried_something(scene: Scene) -> None:
    scene.carries(100, 100)
    assert scene.watch.look() == limits.SA_USE_INTERVAL[1], "what left was answered"
    assert {(event.spi, event.octets) for event in scene.events if isinstance(event, SaUsed)} == {
        (256, 100),
        (257, 100),
    }
    scene.events.clear()
    scene.carries(100, 200)
    assert scene.watch.look() == limits.SA_USE_INTERVAL[0], "something left and nothing came back"
    assert scene.events == [SaUsed(257, scene.outbound.protocol, scene.outbound.dst, 200)]
    scene.events.clear()
    assert scene.watch.look() == limits.SA_USE_INTERVAL[1], "nothing was carried"
    assert scene.events == []


def test_an_sa_that_is_gone_without_a_word_has_expired(scene: Scene) -> None:
    del scene.kernel.there[0]
    scene.watch.lost()
    (event,) = scene.events
    assert isinstance(event, SaExpired)
    assert (event.spi, event.hard) == (256, True)
    assert list(scene.ledger.sas) == [scene.outbound.key]
    assert scene.ledger.counters["event-overflows"] == 1
    del scene.kernel.there[0]
    for _ in range(3):
        scene.watch.lost()
    assert len(scene.events) == 1, "in a flood, once a second"
    ((_, again),) = scene.later
    again()
    assert len(scene.events) == 2


def test_a_soft_lifetime_of_which_nobody_spoke_is_told_once(scene: Scene) -> None:
    heard = SaExpired(257, scene.outbound.protocol, scene.outbound.dst, hard=False)
    scene.watch.hear(heard)
    scene.now += 95.0
    for _ in range(2):
        scene.watch.look()
    assert scene.events == [heard, SaExpired(256, scene.inbound.protocol, scene.inbound.dst, hard=False)]


def test_an_sa_with_a_reqid_of_ours_that_nobody_knows_is_removed_and_others_stay(scene: Scene) -> None:
    ours = observed(sa(300, inbound=False))
    scene.kernel.there += [ours, observed(sa(301, inbound=False))._replace(reqid=7)]
    scene.watch.look()
    assert scene.kernel.done == [("remove", ours.protocol, 300, str(ours.dst))]
    assert scene.events == []


def test_a_look_that_fails_is_told_once_and_repeated_soon(scene: Scene) -> None:
    scene.kernel.refusal = KernelError("no buffers", errno.ENOBUFS)
    scene.watch.lost()
    scene.watch.lost()
    assert [notice.code for notice in scene.told] == ["kernel-behind"]
    ((seconds, again),) = scene.later
    assert seconds == limits.KERNEL_AGAIN
    again()
    assert len(scene.told) == 1
    assert len(scene.later) == 2
    scene.kernel.refusal = None
    scene.kernel.there.clear()
    scene.later[1][1]()
    assert len(scene.events) == 2
    assert scene.kernel.tried == 1


def test_what_fails_several_times_in_a_moment_is_looked_at_once(scene: Scene) -> None:
    for _ in range(3):
        scene.watch.late("an SA was not removed", "remove-sa", KernelError("no memory"))
    assert len(scene.later) == 1


def test_lifetimes_without_an_end_are_never_due(scene: Scene) -> None:
    scene.kernel.there = [one._replace(soft=Lifetime(0)) for one in scene.kernel.there]
    scene.now += 10**9
    scene.watch.look()
    assert scene.events == []


def test_what_comes_and_goes_while_the_kernel_tells_is_neither_expired_nor_a_stranger(scene: Scene) -> None:
    late = sa(300, inbound=False)

    def meanwhile() -> list[ObservedSa]:
        there = list(scene.kernel.there)
        scene.ledger.installed(late)
        scene.ledger.removed(scene.inbound.key)
        return there

    scene.kernel.sas_apart = meanwhile  # type: ignore[method-assign]  # this time the kernel takes long
    asyncio.run(scene.watch.look_apart())
    assert scene.events == []
    assert scene.kernel.done == []
    assert set(scene.ledger.sas) == {scene.outbound.key, late.key}


def test_a_look_apart_sees_what_a_look_sees(scene: Scene) -> None:
    del scene.kernel.there[0]
    stranger = observed(sa(300, inbound=False))
    scene.kernel.there.append(stranger)
    assert asyncio.run(scene.watch.look_apart()) == limits.SA_USE_INTERVAL[1]
    assert scene.events == [
        SaExpired(256, scene.inbound.protocol, scene.inbound.dst, hard=True, why="the kernel no longer has it")
    ]
    assert scene.kernel.done == [("remove", stranger.protocol, 300, str(stranger.dst))]
    scene.kernel.refusal = KernelError("no memory", 12)
    assert asyncio.run(scene.watch.look_apart()) == limits.SA_USE_INTERVAL[0]
    assert [notice.code for notice in scene.told] == ["kernel-behind"]
