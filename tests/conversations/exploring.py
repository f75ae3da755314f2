# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.conversations.exploring`: orders of events by the hundred thousand, on all processors, and a table.

First all orders of each set of wishes to a depth, then orders drawn by lot, with more wishes, faults and early timers,
to a far greater one, and with other nonces each time; with `--additional` all rekeys have an additional key exchange
(RFC 9370). What ends badly is told with its wishes and steps (of lots also by its number, with which it can be run
again), and the exit status is 1.

Sets of wishes have numbers (`--list`). Each that is done is told with its own; `--sets` runs some of them, in the order
that is asked for, so that a run that was broken off goes on with the others.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.conversations.interleavings import WISHES, Bounds, HeldNetwork, Order, Wish, connected, orders, renewable
from tests.conversations.mortal import Wire
from tests.conversations.plans import GCM_X25519, Settings
from xfrmd.model.proposals import Transform

RANDOM = Bounds(depth=40, faults=4, ticks=3)
EPISODE = 20
"""Orders that two hosts live through one after the other."""
CHUNK = 20
"""Such episodes in one job."""
LASTING = Settings(ike_seconds=10_000_000, child_seconds=10_000_000)
"""Nothing is rekeyed but on a wish."""
HYBRID = replace(LASTING, ike=((*GCM_X25519, Transform(6, 36)),), pfs=True)
"""The same, and each rekey of IKE and child SAs has an IKE_FOLLOWUP_KE with ML-KEM-768."""

TWO = (("two wishes, two lost or doubled", 2, 0), ("two wishes, one lost or doubled, one timer early", 1, 1))
"""Faults and early timers that two wishes meet."""


class Job(NamedTuple):
    """All orders of some wishes to a depth, or (wishes are empty) so many drawn by lot. `number`: of the set, or of the
    first episode.
    """

    number: int
    kind: str
    wishes: tuple[Wish, ...]
    bounds: Bounds
    settings: Settings = LASTING

    def __str__(self) -> str:
        return f"set {self.number}, {', '.join(map(str, self.wishes))}: {self.kind}"


class Outcome(NamedTuple):
    """How many of a job ended well, and how those did that did not."""

    job: Job
    lived: int
    bad: tuple[str, ...]


def wishes_by_lot(lots: random.Random) -> tuple[Wish, ...]:
    """Two to five, at either host."""
    return tuple(Wish(lots.randrange(2), lots.choice(list(WISHES))) for _ in range(lots.randint(2, 5)))


def by_lot(number: int, settings: Settings = LASTING) -> None:
    """EPISODE orders of two hosts, one after the other, the same for the same number; and what is left can be rekeyed.
    AssertionError when one ends badly.
    """
    lots = random.Random(number)
    network = HeldNetwork(steady=True, seed=number)
    scene, wire = connected(network, settings), Wire()
    for place in range(EPISODE):
        wishes = wishes_by_lot(lots)
        network.steady = not any(wish.name.startswith("delete") for wish in wishes)
        order = Order(scene, network, wishes, RANDOM, (), lots, wire=wire)
        try:
            order.live()
        except Exception as error:
            raise AssertionError(f"order {place + 1} of {EPISODE}: {order}: {error}") from error
    renewable(scene)


def done(job: Job) -> Outcome:
    """A job, in a process of its own."""
    count, bad = 0, []
    if job.wishes:
        try:
            for _ in orders(job.wishes, job.bounds, settings=job.settings):
                count += 1
        except AssertionError as error:
            bad.append(str(error))
        return Outcome(job, count, tuple(bad))
    for number in range(job.number, job.number + CHUNK):
        try:
            by_lot(number, job.settings)
            count += EPISODE
        except AssertionError as error:
            bad.append(f"number {number}: {error}")
    return Outcome(job, count, tuple(bad))


def whole(depth: int, settings: Settings = LASTING) -> Iterator[Job]:
    """All orders to a depth: of two wishes with two faults, or one and an early timer; of three with one fault."""
    names = list(WISHES)
    pairs: list[tuple[Wish, ...]] = [(Wish(0, one), Wish(1, other)) for one, other in itertools.product(names, names)]
    pairs += [(Wish(0, one), Wish(0, other)) for one, other in itertools.combinations_with_replacement(names, 2)]
    triples: list[tuple[Wish, ...]] = [
        (Wish(0, one), Wish(0, more), Wish(1, other))
        for (one, more), other in itertools.product(itertools.combinations_with_replacement(names, 2), names)
    ]
    sets = [(wishes, *fault) for wishes in pairs for fault in TWO]
    sets += [(wishes, "three wishes, one lost or doubled", 1, 0) for wishes in triples]
    for number, (wishes, kind, faults, ticks) in enumerate(sets, 1):
        yield Job(number, kind, wishes, Bounds(depth, faults, ticks), settings)


def lots(first: int, count: int, settings: Settings = LASTING) -> Iterator[Job]:
    """At least so many drawn by lot."""
    for number in range(first, first + -(-count // EPISODE), CHUNK):
        yield Job(number, f"by lot, to depth {RANDOM.depth}", (), RANDOM, settings)


def chosen(text: str, count: int) -> list[int]:
    """Numbers of sets as they are asked for: `60,53-55` is 60, 53, 54, 55. ValueError for what is none of `count`."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers or min(numbers) < 1 or max(numbers) > count:
        raise ValueError(f"there are sets 1 to {count}")
    return numbers


def run(jobs: Sequence[Job]) -> bool:
    """All of them; a line for each set that is done, one a minute, and the table. False when one ended badly."""
    counts: dict[str, int] = {}
    begun = told = time.monotonic()
    fine = True
    with multiprocessing.Pool() as pool:
        for number, (job, lived, bad) in enumerate(pool.imap_unordered(done, jobs), 1):
            counts[job.kind] = counts.get(job.kind, 0) + lived
            for text in bad:
                fine = False
                print(f"BAD: {text}", flush=True)
            if job.wishes:
                print(f"{job}: {lived} orders", flush=True)
            if time.monotonic() > told + 60:
                told = time.monotonic()
                done_so_far = f"{number} of {len(jobs)} jobs, {sum(counts.values())} orders"
                print(f"{done_so_far} after {(told - begun) / 60:.0f} min: {counts}", file=sys.stderr, flush=True)
    print("\n".join(table(counts)))
    return fine


def table(counts: dict[str, int]) -> Iterable[str]:
    """What was lived through, by kind."""
    yield "| orders | lived through |\n|---|--:|"
    yield from (f"| {kind} | {count} |" for kind, count in counts.items())
    yield f"| **sum** | **{sum(counts.values())}** |"


def main() -> int:
    """As the first lines say."""
    parser = argparse.ArgumentParser(prog="exploring", description="Orders of events of two engines.")
    parser.add_argument("--depth", type=int, default=8, help="events to which all orders are tried (8); 0: none")
    parser.add_argument("--sets", help="numbers of the sets whose orders are tried (all), as 60,53-55")
    parser.add_argument("--list", action="store_true", help="show the sets and their numbers, and run nothing")
    parser.add_argument("--additional", action="store_true", help="each rekey has an additional key exchange")
    parser.add_argument("--lots", type=int, default=100_000, help="orders drawn by lot (100,000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first episode of those (0)")
    options = parser.parse_args()
    settings = HYBRID if options.additional else LASTING
    sets = list(whole(options.depth, settings)) if options.depth else []
    if options.list:
        print("\n".join(map(str, sets)))
        return 0
    if options.sets:
        sets = [sets[number - 1] for number in chosen(options.sets, len(sets))]
    return 0 if run([*sets, *lots(options.first, options.lots, settings)]) else 1


if __name__ == "__main__":
    sys.exit(main())
