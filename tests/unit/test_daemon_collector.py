# SPDX-License-Identifier: GPL-2.0-or-later
"""Python's collector does not walk through all SAs, and need not: engines leave no cycles."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator

import pytest

from bench.pair import EnginePair, Suite
from xfrmd.daemon import collector
from xfrmd.ike.events import Delete, Rekey, TimerFired

SUITE = Suite("AES128-GCM", "", "SHA256", "X25519")


class Node:
    """Something that may be part of a cycle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*before)
    gc.unfreeze()


def entropy() -> Callable[[int], bytes]:
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


def test_engines_leave_no_cycles_when_sas_are_made_replaced_and_deleted() -> None:
    pair = EnginePair(SUITE, entropy())
    pair.measure(2)
    gc.collect()
    gc.disable()
    pair.measure(20)
    for view in pair.initiator.engine.ike_sas():
        pair.say(Rekey(view.local_spi))
        for child in view.children:
            pair.say(Rekey(child.spi_in.to_bytes(4)))
    assert len(pair.initiator.engine.ike_sas()) >= 20
    pair.say(Delete(None))
    for _ in range(5):
        pair.now += 100
        pair.say(TimerFired())
        pair.hear(TimerFired())
    assert pair.initiator.engine.ike_sas() == pair.responder.engine.ike_sas() == ()
    assert gc.collect() == 0


def test_what_lives_is_looked_at_no_more_and_what_the_young_leave_is_collected() -> None:
    collector.begin()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    gone = weakref.ref(Node())
    assert gone() is not None, "a cycle"
    kept = Node()
    collector.settle()
    assert gone() is None
    assert gc.get_freeze_count() > 0
    assert not any(each is kept for each in gc.get_objects()), "frozen"
    assert gc.get_threshold()[2] > 1_000_000
