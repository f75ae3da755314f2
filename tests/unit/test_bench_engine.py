# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of the engine measures real handshakes, and tells when there are none."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

import pytest

from bench import engine
from bench.pair import EnginePair, Suite


def seeded(seed: str) -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda count: hashlib.shake_256(f"{seed} {next(numbers)}".encode()).digest(count)


@pytest.mark.parametrize("suite", engine.SUITES, ids=lambda s: s.name)
def test_every_suite_connects(suite: Suite) -> None:
    pair = EnginePair(suite, seeded(suite.name))
    cost = pair.measure(2)
    assert pair.initiator.installed == pair.responder.installed == 4, "two SA pairs"
    assert cost.handshakes == 2
    assert 0 < cost.responder < cost.elapsed * 2
    assert 0 < cost.initiator < cost.elapsed * 2


def test_a_handshake_that_fails_is_no_measurement() -> None:
    pair = EnginePair(engine.SUITES[0], seeded("one"))
    stranger = EnginePair(engine.SUITES[2], seeded("other"))
    pair.responder = stranger.responder
    with pytest.raises(RuntimeError, match="handshake 1"):
        pair.connect()
