# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of the engine measures real handshakes, and tells when there are none."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import engine
from bench.pair import EnginePair, Suite

ROOT = Path(__file__).parents[2]


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


def test_the_command_prints_json() -> None:
    command = [sys.executable, "-m", "bench", "--json", "--handshakes", "2", "--runs", "1", "chacha"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1
    assert answer["machine"]["cores"] >= 1
    assert [row["suite"] for row in answer["engine"]] == ["CHACHA20-POLY1305-SHA256-X25519"]
    assert answer["engine"][0]["responder_ms"] > 0


def test_an_unknown_suite_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "rot13"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "AES128-GCM-SHA256-X25519" in done.stderr
