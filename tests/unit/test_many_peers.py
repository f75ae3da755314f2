# SPDX-License-Identifier: GPL-2.0-or-later
"""What does not grow with the number of peers and rules, and what goes on while all peers are looked at."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from bench import engine
from bench.pair import EnginePair, Suite
from xfrmd.ike.effects import InstallSa
from xfrmd.ike.events import Delete

PLAIN = engine.SUITES[0]


def seeded(seed: str) -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda count: hashlib.shake_256(f"{seed} {next(numbers)}".encode()).digest(count)


def work(suite: Suite) -> int:
    """Instructions of Python that a handshake takes, of both ends, when others have come before."""
    pair, steps = EnginePair(suite, seeded("work")), 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return step

    pair.measure(3)
    before = sys.gettrace()
    sys.settrace(step)
    try:
        pair.connect()
    finally:
        sys.settrace(before)
    return steps


def test_a_handshake_takes_as_much_work_among_5000_rules_as_with_one() -> None:
    alone, among = work(PLAIN), work(PLAIN._replace(rules=5000))
    assert alone > 1000
    assert among < 1.03 * alone


def test_sas_come_and_go_while_they_are_listed() -> None:
    pair = EnginePair(PLAIN, seeded("listed"))
    pair.measure(6)
    host = pair.responder.engine
    all_ = host.ike_sas()
    assert host.totals() == (6, 6)
    listing = host.each_ike_sa()
    seen = [next(listing), next(listing)]
    for view in (all_[0], all_[4]):
        pair.hear(Delete(view.local_spi))
    pair.connect()
    seen += listing
    assert [view.local_spi for view in seen] == [all_[number].local_spi for number in (0, 1, 2, 3, 5)]
    assert host.totals() == (5, 5)


def test_an_sa_is_found_by_the_spi_of_either_end_and_by_its_peer() -> None:
    pair = EnginePair(PLAIN, seeded("found"))
    pair.measure(3)
    host = pair.responder.engine
    views = host.ike_sas()
    for view in views:
        (child,) = view.children
        own_child, its_child = child.spi_in.to_bytes(4), child.spi_out.to_bytes(4)
        for spi, own in ((view.local_spi, view.local_spi), (view.remote_spi, view.local_spi), (its_child, own_child)):
            assert host.own_spi(spi) == own
            assert list(host.each_ike_sa(spi=own)) == [view]
            assert list(host.each_ike_sa(view.remote.address, own)) == [view]
        assert list(host.each_ike_sa(view.remote.address)) == [view]
    assert list(host.each_ike_sa(views[0].remote.address, views[1].local_spi)) == []
    gone = views[0]
    pair.hear(Delete(gone.local_spi))
    ends = (gone.local_spi, gone.remote_spi, *(n.to_bytes(4) for c in gone.children for n in (c.spi_in, c.spi_out)))
    for spi in (b"", b"1234", b"12345678", *ends):
        assert host.own_spi(spi) == b""
    assert list(host.each_ike_sa(spi=gone.local_spi)) == list(host.each_ike_sa(gone.remote.address)) == []


def test_what_begins_in_one_moment_is_not_rekeyed_in_one() -> None:
    pair = EnginePair(PLAIN, seeded("spread"))
    soft: list[int] = []

    handle = pair.responder.engine.handle

    def heard(event: Any, now: float) -> Any:
        effects = handle(event, now)
        soft.extend(effect.sa.soft.seconds for effect in effects if isinstance(effect, InstallSa))
        return effects

    pair.responder.engine = _Heard(heard)  # type: ignore[assignment]  # as much of an engine as is asked for here
    for _ in range(100):
        pair.connect()
    ike = [view.rekey_at - view.created for view in pair.initiator.engine.ike_sas() if view.rekey_at is not None]
    window = 0.08 * 28800
    for times in (ike, soft):
        assert len(times) >= 100
        assert max(times) - min(times) > window
        assert max(sum(begin <= one < begin + window / 10 for one in times) for begin in times) < 0.25 * len(times)


class _Heard:
    def __init__(self, handle: Callable[[Any, float], Any]) -> None:
        self.handle = handle
