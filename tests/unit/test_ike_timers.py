# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines by name."""

from __future__ import annotations

import random

from xfrmd.ike.timers import Timers


def drain(timers: Timers[str], now: float) -> list[str]:
    found = []
    while (key := timers.pop_due(now)) is not None:
        found.append(key)
    return found


def test_the_earliest_comes_first_and_only_when_due() -> None:
    timers: Timers[str] = Timers()
    for key, when in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        timers.set(key, when)
    assert timers.next() == 1.0
    assert drain(timers, 0.5) == []
    assert drain(timers, 2.0) == ["a", "b"]
    assert (timers.next(), len(timers)) == (3.0, 1)


def test_moving_and_cancelling() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    timers.set("b", 2.0)
    timers.cancel("b")
    timers.cancel("never set")
    assert timers.deadline("a") == 5.0
    assert timers.deadline("b") is None
    assert drain(timers, 4.0) == []
    assert drain(timers, 5.0) == ["a"]
    assert timers.next() is None


def test_equal_deadlines_come_in_the_order_they_were_set() -> None:
    timers: Timers[str] = Timers()
    for key in "zyx":
        timers.set(key, 1.0)
    assert drain(timers, 1.0) == ["z", "y", "x"]


def test_against_a_plain_dictionary() -> None:
    rng = random.Random(1)
    timers: Timers[str] = Timers()
    plain: dict[str, float] = {}
    for _ in range(5000):
        key, when = f"k{rng.randrange(50)}", rng.random()
        if rng.random() < 0.2:
            timers.cancel(key)
            plain.pop(key, None)
        else:
            timers.set(key, when)
            plain[key] = when
        assert timers.next() == min(plain.values(), default=None)
    assert len(timers._heap) < 300, "stale entries pile up"
    assert sorted(drain(timers, 1.0)) == sorted(plain)
