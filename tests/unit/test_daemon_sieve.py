# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel lets in of first messages follows from whether they can be heard."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.properties.simulated_loop import simulate
from xfrmd.adapters.sieve import Shares
from xfrmd.daemon.sieve import Sieve
from xfrmd.limits import floods
from xfrmd.model.notice import Level, Notice

BARE, SHOWN, OTHER = range(3)
LESS = floods.SIEVE_LESS


class Kernel:
    """What was applied, and what was told."""

    def __init__(self) -> None:
        self.applied: list[Shares | None] = []
        self.told: list[Notice] = []


def lived(scene: Callable[[Sieve], Awaitable[None]]) -> Kernel:
    kernel = Kernel()

    async def run() -> None:
        await scene(Sieve(kernel.applied.append, kernel.told.append))

    simulate(run)
    return kernel


async def pressed(sieve: Sieve, steps: int, kind: int, by: int = floods.SIEVE_PRESSURE) -> None:
    """So many steps under pressure, by messages of a kind."""
    for _ in range(steps):
        sieve.pressed(by)
        sieve.come[kind] += 1000
        await asyncio.sleep(floods.SIEVE_STEP * 1.001)


def test_under_pressure_each_step_lets_in_less_and_never_nothing() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, BARE)

    applied = lived(scene).applied
    assert applied[:3] == [Shares(LESS), Shares(LESS * LESS), Shares(LESS * LESS * LESS)]
    assert applied[-1] == Shares(floods.SIEVE_LEAST)


def test_without_pressure_more_comes_in_until_all_does_and_nothing_is_left_to_do() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 3, BARE)
        await asyncio.sleep(floods.SIEVE_STEP * 5)
        assert LESS**3 < sieve.shares.bare < LESS
        await asyncio.sleep(60)
        assert sieve.shares == Shares()
        await pressed(sieve, 1, BARE)

    applied = lived(scene).applied
    rising = applied[2 : applied.index(None)]
    assert all(one and other and one.bare < other.bare for one, other in itertools.pairwise(rising))
    assert applied[-1] == Shares(LESS), "and again"
    assert applied.count(None) == 1


@pytest.mark.parametrize(("kind", "shares"), [(BARE, Shares(LESS, 1.0)), (SHOWN, Shares(1.0, LESS))])
def test_the_kind_that_comes_most_is_kept_out(kind: int, shares: Shares) -> None:
    async def scene(sieve: Sieve) -> None:
        sieve.come = [10, 10, 10]
        await pressed(sieve, 1, kind)

    assert lived(scene).applied == [shares]


def test_a_flood_under_spis_keeps_no_honest_beginner_out() -> None:
    async def scene(sieve: Sieve) -> None:
        for _ in range(5):
            sieve.pressed(floods.SIEVE_PRESSURE)
            sieve.come[BARE] += 999
            sieve.come[OTHER] += 1000
            await asyncio.sleep(floods.SIEVE_STEP * 1.001)

    assert lived(scene).applied == []


def test_a_flood_under_spis_holds_nobody_out_whom_another_flood_has_kept_out() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, BARE)
        await pressed(sieve, 100, OTHER)

    assert lived(scene).applied[-1] is None


def test_what_is_kept_out_of_one_kind_holds_nobody_of_the_other_out() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 25, SHOWN)
        await pressed(sieve, 100, BARE)

    assert lived(scene).applied[-1] == Shares(bare=floods.SIEVE_LEAST)


def test_a_flood_of_both_kinds_is_kept_out_of_both() -> None:
    async def scene(sieve: Sieve) -> None:
        for _ in range(40):
            sieve.pressed(floods.SIEVE_PRESSURE)
            for kind, share in enumerate(sieve.shares):
                sieve.come[kind] += round(30_000 * share)
            await asyncio.sleep(floods.SIEVE_STEP * 1.001)
        assert max(sieve.shares) < 0.1

    lived(scene)


def test_a_crowd_that_is_read_late_once_or_twice_is_no_flood() -> None:
    async def scene(sieve: Sieve) -> None:
        await pressed(sieve, 5, BARE, floods.SIEVE_PRESSURE - 1)

    assert lived(scene).applied == []


def test_a_flood_is_told_once_and_another_one_later() -> None:
    async def scene(sieve: Sieve) -> None:
        for pause in (10, floods.SIEVE_TELL, 0):
            await pressed(sieve, 3, BARE)
            await asyncio.sleep(pause)

    told = lived(scene).told
    assert [notice.code for notice in told] == ["first-messages-sieved"] * 2
    assert told[0].level == Level.WARNING
