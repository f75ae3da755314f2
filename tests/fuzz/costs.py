# SPDX-License-Identifier: GPL-2.0-or-later
"""What hostile octets cost, for each kind: calls of functions, Python's and C's, and the peak of memory that Python
allocates. Neither depends on the machine, nor on what else it does. `python -m tests.fuzz.costs` makes the table of
docs/reliability.md.

Not counted: what a single call does in C (ciphers, hashes, signatures: these are long in proportion to their octets, or
counted elsewhere), and memory of OpenSSL's own.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NamedTuple

Step = Callable[[], object]
Dose = tuple[int, Step]
"""Octets of an input, and what is done with it."""
LONG = 1000
"""Octets from which on it is told what one of them costs."""


class Cost(NamedTuple):
    """Of one input."""

    octets: int
    calls: int
    memory: int
    """Octets at the peak, above what there was before."""


class Bound(NamedTuple):
    """What a message may cost at most: something for each, and something for each octet."""

    calls: int
    calls_each: float
    memory: int
    memory_each: float

    def exceeded(self, cost: Cost) -> str:
        """What is too much, "" when nothing is."""
        calls = self.calls + self.calls_each * cost.octets
        memory = self.memory + self.memory_each * cost.octets
        return "" if cost.calls <= calls and cost.memory <= memory else f"{cost} of {calls:.0f} calls, {memory:.0f}"


def measure(octets: int, step: Step) -> Cost:
    """What a step costs. tracemalloc must run."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    sys.setprofile(count)
    try:
        step()
    finally:
        sys.setprofile(None)
    return Cost(octets, calls, tracemalloc.get_traced_memory()[1] - before)


def measured(doses: Iterable[Dose]) -> list[Cost]:
    """What each of them costs, without garbage that others have left."""
    found = []
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for octets, step in doses:
            found.append(measure(octets, step))
    finally:
        tracemalloc.stop()
        gc.enable()
    return found


def row(kind: str, costs: list[Cost]) -> str:
    """A row of the table: the worst, and what an octet of long inputs costs."""
    calls, memory = max(costs, key=lambda one: one.calls), max(costs, key=lambda one: one.memory)
    long = [one for one in costs if one.octets >= LONG]
    each = max((one.calls / one.octets for one in long), default=0.0)
    filled = max((one.memory / one.octets for one in long), default=0.0)
    return (
        f"| {kind} | {len(costs):,} | {max(one.octets for one in costs):,} | {calls.calls:,} ({calls.octets:,}) | "
        f"{memory.memory / 1024:,.0f} ({memory.octets:,}) | {each:.1f} | {filled:.0f} |"
    )


def main() -> int:
    """Print the table."""
    from tests.fuzz.doses import KINDS  # noqa: PLC0415 (these know what is measured, this file how)

    print(
        "| octets | inputs | longest | most calls (octets) | most memory in KB (octets) "
        "| calls for each octet from 1,000 on | octets of memory for each |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind, (doses, _) in KINDS.items():
        print(row(kind, measured(doses())), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
