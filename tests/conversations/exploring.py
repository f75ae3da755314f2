# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.conversations.exploring`: orders of events by the hundred thousand, on all processors, and a table.

First all orders of each set of wishes to a depth, then orders drawn by lot, with more wishes, faults and early timers,
to a far greater one, and with other nonces each time. What ends badly is told with its wishes and steps (of lots also
by its number, with which it can be run again), and the exit status is 1.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.conversations.interleavings import WISHES, Bounds, HeldNetwork, Order, Wish, connected, orders
from tests.conversations.mortal import Wire
from tests.conversations.plans import Settings

RANDOM = Bounds(depth=40, faults=4, ticks=3)
EPISODE = 20
"""Orders that two hosts live through one after the other."""
CHUNK = 20
"""Such episodes in one job."""
LASTING = Settings(ike_seconds=10_000_000, child_seconds=10_000_000)
"""Nothing is rekeyed but on a wish."""


class Job(NamedTuple):
    """All orders of some wishes to a depth, or (wishes are empty) so many drawn by lot from the number `first` on."""

    kind: str
    wishes: tuple[Wish, ...]
    bounds: Bounds
    first: int = 0


class Outcome(NamedTuple):
    """How many ended well, and how those did that did not."""

    kind: str
    lived: int
    bad: tuple[str, ...]


def wishes_by_lot(lots: random.Random) -> tuple[Wish, ...]:
    """Two to five, at either host."""
    return tuple(Wish(lots.randrange(2), lots.choice(list(WISHES))) for _ in range(lots.randint(2, 5)))


def by_lot(number: int) -> None:
    """EPISODE orders of two hosts, one after the other, the same for the same number. AssertionError when one ends
    badly.
    """
    lots = random.Random(number)
    network = HeldNetwork(steady=True, seed=number)
    scene, wire = connected(network, LASTING), Wire()
    for place in range(EPISODE):
        wishes = wishes_by_lot(lots)
        network.steady = not any(wish.name.startswith("delete") for wish in wishes)
        order = Order(scene, network, wishes, RANDOM, (), lots, wire=wire)
        try:
            order.live()
        except Exception as error:
            raise AssertionError(f"order {place + 1} of {EPISODE}: {order}: {error}") from error


def done(job: Job) -> Outcome:
    """A job, in a process of its own."""
    count, bad = 0, []
    if job.wishes:
        try:
            for _ in orders(job.wishes, job.bounds):
                count += 1
        except AssertionError as error:
            bad.append(str(error))
        return Outcome(job.kind, count, tuple(bad))
    for number in range(job.first, job.first + CHUNK):
        try:
            by_lot(number)
            count += EPISODE
        except AssertionError as error:
            bad.append(f"number {number}: {error}")
    return Outcome(job.kind, count, tuple(bad))


def whole(depth: int) -> Iterator[Job]:
    """All orders to a depth: of two wishes with two faults, or one and an early timer; of three with one fault."""
    names = list(WISHES)
    pairs: list[tuple[Wish, ...]] = [(Wish(0, one), Wish(1, other)) for one, other in itertools.product(names, names)]
    pairs += [(Wish(0, one), Wish(0, other)) for one, other in itertools.combinations_with_replacement(names, 2)]
    triples: list[tuple[Wish, ...]] = [
        (Wish(0, one), Wish(0, more), Wish(1, other))
        for (one, more), other in itertools.product(itertools.combinations_with_replacement(names, 2), names)
    ]
    for wishes in pairs:
        yield Job("two wishes, two lost or doubled", wishes, Bounds(depth, faults=2))
        yield Job("two wishes, one lost or doubled, one timer early", wishes, Bounds(depth, faults=1, ticks=1))
    for wishes in triples:
        yield Job("three wishes, one lost or doubled", wishes, Bounds(depth, faults=1))


def lots(first: int, count: int) -> Iterator[Job]:
    """At least so many drawn by lot."""
    for number in range(first, first + -(-count // EPISODE), CHUNK):
        yield Job(f"by lot, to depth {RANDOM.depth}", (), RANDOM, number)


def run(jobs: Sequence[Job]) -> bool:
    """All of them; a line a minute, and the table. False when one ended badly."""
    counts: dict[str, int] = {}
    begun = told = time.monotonic()
    fine = True
    with multiprocessing.Pool() as pool:
        for number, outcome in enumerate(pool.imap_unordered(done, jobs), 1):
            counts[outcome.kind] = counts.get(outcome.kind, 0) + outcome.lived
            for text in outcome.bad:
                fine = False
                print(f"BAD: {text}", flush=True)
            if time.monotonic() > told + 60:
                told = time.monotonic()
                done_so_far = f"{number} of {len(jobs)} jobs, {sum(counts.values())} orders"
                print(f"{done_so_far} after {(told - begun) / 60:.0f} min: {counts}", file=sys.stderr, flush=True)
    print("| orders | lived through |\n|---|--:|")
    for kind, count in counts.items():
        print(f"| {kind} | {count} |")
    print(f"| **sum** | **{sum(counts.values())}** |")
    return fine


def main() -> int:
    """As the first lines say."""
    parser = argparse.ArgumentParser(prog="exploring", description="Orders of events of two engines.")
    parser.add_argument("--depth", type=int, default=8, help="events to which all orders are tried (8); 0: none")
    parser.add_argument("--lots", type=int, default=100_000, help="orders drawn by lot (100,000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first episode of those (0)")
    options = parser.parse_args()
    jobs = [*(whole(options.depth) if options.depth else ()), *lots(options.first, options.lots)]
    return 0 if run(jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
