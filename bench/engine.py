# SPDX-License-Identifier: GPL-2.0-or-later
"""Handshakes per second and CPU per handshake of the IKE engine alone: no network, no kernel, no journal.

Both ends run in this process, in turn, on one core. A handshake is IKE_SA_INIT and IKE_AUTH with a pre-shared key and a
child SA pair, each from a client never seen before; the SAs stay, as they would on a server. Each run begins with new
engines and is preceded by handshakes that are not counted; the figures are medians of all runs.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import statistics
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

from bench.pair import EnginePair, Suite

# fmt: off
SUITES: Final = (
    #     encryption           integrity prf       key exchange
    Suite("AES128-GCM",        "",       "SHA256", "X25519"),
    Suite("AES128",            "SHA256", "SHA256", "MODP2048"),
    Suite("AES128-GCM",        "",       "SHA256", "ECP256"),
    Suite("CHACHA20-POLY1305", "",       "SHA256", "X25519"),
    Suite("AES256-GCM",        "",       "SHA384", "ECP384"),
    Suite("AES128-GCM",        "",       "SHA256", "X25519",    rules=5000),
)
# fmt: on
WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class Result:
    """One row: milliseconds of CPU per handshake, handshakes per second of both ends on one core."""

    suite: str
    handshakes: int
    runs: int
    initiator_ms: float
    responder_ms: float
    responder_best_ms: float
    """The best run: what the code costs when nothing disturbs it."""
    per_second: float
    kilobytes_per_sa: float
    """Resident memory per IKE SA with its child SA pair, at one end."""

    def to_json(self) -> dict[str, float | str]:
        """The row with its columns' names."""
        return asdict(self)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (read twice per run, no path to compute)
        return int(file.read().split()[1]) * resource.getpagesize()


def measure_all(suites: Iterable[Suite], handshakes: int, runs: int) -> list[Result]:
    """Measure suites one after the other, each in a fresh process, so that none finds the memory of another."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as processes:
        return [processes.submit(measure, suite, handshakes, runs).result() for suite in suites]


def measure(suite: Suite, handshakes: int, runs: int) -> Result:
    """Measure one suite. RuntimeError if a handshake fails."""
    costs, grown = [], []
    for _ in range(runs):
        pair = EnginePair(suite, os.urandom)
        pair.measure(WARM_UP)
        gc.collect()
        before = _resident()
        costs.append(pair.measure(handshakes))
        grown.append((_resident() - before) / handshakes / 2)
        del pair
    responder = [cost.responder / cost.handshakes * 1e3 for cost in costs]
    return Result(
        suite=suite.name,
        handshakes=handshakes,
        runs=runs,
        initiator_ms=statistics.median(cost.initiator / cost.handshakes * 1e3 for cost in costs),
        responder_ms=statistics.median(responder),
        responder_best_ms=min(responder),
        per_second=statistics.median(cost.handshakes / cost.elapsed for cost in costs),
        kilobytes_per_sa=grown[0] / 1000,  # later runs reuse the memory of the first
    )
